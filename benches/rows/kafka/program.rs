//! A process that is measured: what it is told, what it says, and what it takes.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Instant;

/// Of the times in `/proc`, so many are a second.
const TICKS_PER_SECOND: f64 = 100.0;

/// See the module.
pub struct Program {
    pub spawned: Instant,
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

impl Program {
    pub fn spawn(command: &mut Command) -> Self {
        let spawned = Instant::now();
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let input = child.stdin.take();
        let output = BufReader::new(child.stdout.take().unwrap());
        Self { spawned, child, input, output }
    }

    pub fn tell(&mut self, command: &str) {
        writeln!(self.input.as_mut().unwrap(), "{command}").unwrap();
    }

    /// The next line that it says: its first word, and the rest.
    pub fn hear(&mut self) -> (String, String) {
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        assert!(!line.is_empty(), "the program has ended");
        let (word, rest) = line.trim().split_once(' ').unwrap_or((line.trim(), ""));
        (word.to_owned(), rest.to_owned())
    }

    /// Hears up to a line with that first word, and returns the rest of it.
    pub fn hear_until(&mut self, wanted: &str) -> String {
        loop {
            let (word, rest) = self.hear();
            if word == wanted {
                return rest;
            }
        }
    }

    /// The processor time that it has taken, in seconds.
    pub fn cpu_seconds(&self) -> f64 {
        cpu_seconds(self.child.id())
    }

    /// The most memory that it had, in MiB, files that are mapped included.
    pub fn peak_mib(&self) -> f64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        let kib: f64 = peak.trim().trim_end_matches(" kB").parse().unwrap();
        kib / 1024.0
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // The end of its input ends it.
        self.input = None;
        let _ = self.child.wait();
    }
}

/// The processor time that a process has taken, in seconds.
pub fn cpu_seconds(id: u32) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).unwrap();
    // Behind the name, which may hold anything, the times are the 12th and 13th fields.
    let (_, fields) = stat.rsplit_once(')').unwrap();
    let ticks = fields.split_whitespace().skip(11).take(2);
    ticks.map(|ticks| ticks.parse::<f64>().unwrap()).sum::<f64>() / TICKS_PER_SECOND
}
