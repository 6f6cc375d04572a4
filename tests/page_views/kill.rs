//! Kills the program at random moments.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::expected::Expected;
use crate::program::{self, Ended, Moment};

/// A run that was killed, or was done before it could be.
pub struct Killed {
    pub after: Duration,
    pub was_alive: bool,
    pub said: String,
}

/// Starts the program, and kills it with SIGKILL after that time.
pub fn run_and_kill(dir: &Path, args: &[&str], after: Duration) -> Killed {
    let mut command = program::command(dir, args);
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let started = Instant::now();
    let stderr = BufReader::new(child.stderr.take().unwrap());
    let (said, heard) = channel();
    let listener = std::thread::spawn(move || {
        for line in stderr.lines().map_while(Result::ok) {
            // Nobody listens any more once the program was killed.
            let _ = said.send(line);
        }
    });
    let mut lines = Vec::new();
    let was_alive = loop {
        match heard.recv_timeout(after.saturating_sub(started.elapsed())) {
            Ok(line) => lines.push(line),
            Err(RecvTimeoutError::Timeout) => break true,
            Err(RecvTimeoutError::Disconnected) => break false,
        }
    };
    child.kill().unwrap();
    let after = started.elapsed();
    child.wait().unwrap();
    listener.join().unwrap();
    lines.extend(heard.try_iter());
    Killed { after, was_alive, said: lines.join("; ") }
}

/// Starts the program, and presses Ctrl-C as soon as it says a line that begins so.
pub fn interrupt(dir: &Path, args: &[&str], when: &str) -> Ended {
    let mut command = program::command(dir, args);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map(Result::unwrap);
    let mut said: Vec<String> = Vec::new();
    while !said.last().is_some_and(|line| line.starts_with(when)) {
        said.push(lines.next().unwrap_or_else(|| panic!("it ended without {when:?}: {said:?}")));
    }
    let pid = child.id();
    let sent = Command::new("sh").arg("-c").arg(format!("kill -INT {pid}")).status().unwrap();
    assert!(sent.success());
    said.extend(lines);
    let output = child.wait_with_output().unwrap();
    let stdout = String::from_utf8(output.stdout).unwrap();
    Ended { code: output.status.code(), stdout, stderr: said.join("\n") }
}

/// A job for the kills: how long it takes when nobody disturbs it, and how often it was hit.
pub struct Job<'a> {
    pub repeat: &'a str,
    pub expected: &'a Expected,
    pub random: fastrand::Rng,
    pub duration: Duration,
}

impl Job<'_> {
    /// Kills a first run, and lets a second one finish. Returns where the kill hit.
    pub fn kill_a_first_run(&mut self, number: usize) -> Moment {
        let folder = TempDir::new().unwrap();
        let dir = program::store_in(&folder);
        let args = ["--repeat", self.repeat];
        let killed = self.kill(&dir, &args);
        let lines = self.expected.lines.len() as u64 * self.expected.repeat;
        let hit = Moment::of(&dir, lines);
        program::run_and_check(&dir, &args, self.expected);
        println!("kill {number:>3} after {:>5} ms: {hit:?}", killed.after.as_millis());
        hit
    }

    /// Kills a replay of a store that was finished, and lets a run without arguments finish it.
    /// Returns whether the kill hit the replay.
    pub fn kill_a_replay(&mut self, number: usize, dir: &Path) -> bool {
        let killed = self.kill(dir, &["--replay"]);
        let hit = killed.was_alive && killed.said.contains("replay:");
        program::run_and_check(dir, &[], self.expected);
        let what = if hit { "replaying" } else { "not replaying" };
        println!("kill {number:>3} of a replay after {:>5} ms: {what}", killed.after.as_millis());
        hit
    }

    fn kill(&mut self, dir: &Path, args: &[&str]) -> Killed {
        let killed = run_and_kill(dir, args, self.duration.mul_f64(self.random.f64()));
        if !killed.was_alive {
            // The machine had more to do when the duration was taken.
            self.duration = self.duration.min(killed.after);
        }
        killed
    }
}
