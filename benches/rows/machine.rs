//! The machine that rows were measured on, as a line to print beside them.

use std::fs::read_to_string;
use std::process::Command;

/// Processor, cores, memory, kernel, compiler, and how busy it is.
pub fn line() -> String {
    let cpus = read_to_string("/proc/cpuinfo").unwrap_or_default();
    let cpu = cpus.lines().find_map(|line| line.strip_prefix("model name"));
    let memory = read_to_string("/proc/meminfo").unwrap_or_default();
    let memory_kib = memory.split_whitespace().nth(1).and_then(|kib| kib.parse::<u64>().ok());
    let kernel = read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let load = read_to_string("/proc/loadavg").unwrap_or_default();
    let load: Vec<&str> = load.split_whitespace().take(3).collect();
    let rustc = Command::new("rustc").arg("--version").output();
    let rustc = rustc.map(|out| String::from_utf8_lossy(&out.stdout).trim().to_owned());
    format!(
        "machine: {}, {} cores, {} GiB, Linux {}, {}, load {}",
        cpu.map_or("unknown", |cpu| cpu.trim_start_matches([' ', '\t', ':'])),
        std::thread::available_parallelism().map_or(1, usize::from),
        memory_kib.unwrap_or_default() >> 20,
        kernel.trim(),
        rustc.unwrap_or_default(),
        load.join(" "),
    )
}
