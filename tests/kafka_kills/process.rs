//! A process of the application: started, listened to, stopped and killed.

use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use headwater_histories::Operation;

use crate::PATIENCE;
use crate::history::{Told, of_process};

/// What a process is started as, in its environment: the name of the application, and its number.
pub const CHILD: &str = "HEADWATER_KAFKA_CHILD";
/// What it says once it has its tasks; all else that it says is what it reads and writes.
pub const RUNNING: &str = "running";

/// See the module.
pub struct Process {
    child: Child,
    running: Receiver<()>,
    is_running: bool,
    listening: JoinHandle<Vec<Told>>,
}

impl Process {
    /// Starts the n-th process; what it tells is heard at times since `begun`.
    pub fn start(name: &str, number: u32, begun: Instant) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .env(CHILD, format!("{name} {number}"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let (says, running) = channel();
        let listening = std::thread::spawn(move || listen(stdout, &says, begun));
        Self { child, running, is_running: false, listening }
    }

    /// Kills it after that time. Returns how far it had come, and what it has done.
    pub fn kill_after(mut self, after: Duration) -> (&'static str, Vec<Operation>) {
        let started = Instant::now();
        let mut said = if self.is_running { "was running" } else { "was starting" };
        loop {
            match self.running.recv_timeout(after.saturating_sub(started.elapsed())) {
                Ok(()) => said = "was running",
                Err(RecvTimeoutError::Timeout) => break,
                Err(RecvTimeoutError::Disconnected) => panic!("a process has ended by itself"),
            }
        }
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        (said, of_process(&self.listening.join().unwrap()))
    }

    /// Waits until it has its tasks.
    pub fn wait_until_running(&mut self) {
        while !self.is_running {
            let said = self.running.recv_timeout(PATIENCE);
            assert!(said.is_ok(), "a process does not start: {said:?}");
            self.is_running = true;
        }
    }

    /// Stops it where it is, and lets it go on after that time.
    pub fn stop_for(&self, time: Duration) {
        self.signal("STOP");
        let (_never, nothing) = channel::<()>();
        assert_eq!(nothing.recv_timeout(time), Err(RecvTimeoutError::Timeout));
        self.signal("CONT");
    }

    fn signal(&self, signal: &str) {
        let command = format!("kill -{signal} {}", self.child.id());
        assert!(Command::new("sh").arg("-c").arg(command).status().unwrap().success());
    }

    /// Lets it end by itself. Returns what it has done.
    pub fn close(mut self) -> Vec<Operation> {
        drop(self.child.stdin.take());
        assert!(self.child.wait().unwrap().success());
        of_process(&self.listening.join().unwrap())
    }
}

/// What a process tells until it ends; a line that a kill has cut off is none.
fn listen(mut from: BufReader<ChildStdout>, running: &Sender<()>, begun: Instant) -> Vec<Told> {
    let mut told = Vec::new();
    loop {
        let mut line = String::new();
        from.read_line(&mut line).unwrap();
        match line.strip_suffix('\n') {
            Some(RUNNING) => running.send(()).unwrap_or_default(),
            Some(line) => told.push((begun.elapsed(), line.to_owned())),
            None => return told,
        }
    }
}
