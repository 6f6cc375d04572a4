//! A child process that is listened to, and that does not outlive its test.

use std::io::BufReader;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::failure::{Context as _, Failure, Result, violation};
use crate::message::Message;

/// A child that says nothing for so long hangs.
const SILENCE_MAX: Duration = Duration::from_secs(120);

/// A child that writes [`Message`]s. It is killed when this is dropped.
#[derive(Debug)]
pub(crate) struct Writer {
    child: Child,
    lines: Receiver<String>,
    reader: Option<JoinHandle<()>>,
    /// What it has said so far.
    pub(crate) messages: Vec<Message>,
    deadline: Instant,
}

/// How a child has ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) messages: Vec<Message>,
    pub(crate) status: ExitStatus,
}

/// This program again, with other arguments.
pub(crate) fn this_program(arguments: &[String]) -> Result<Command> {
    let program = std::env::current_exe().to("find its own program")?;
    let mut command = Command::new(program);
    command.args(arguments);
    Ok(command)
}

impl Writer {
    /// Starts the program, which says [`Message`]s on its standard output.
    pub(crate) fn start(mut command: Command) -> Result<Self> {
        let command = command.stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = command.spawn().to("start a writer")?;
        let stdout = child.stdout.take().expect("it is a pipe");
        let (sender, lines) = channel();
        let reader = std::thread::spawn(move || pass_on(BufReader::new(stdout), &sender));
        let deadline = Instant::now() + SILENCE_MAX;
        Ok(Self { child, lines, reader: Some(reader), messages: Vec::new(), deadline })
    }

    /// Listens until this is true of what was said, or `limit` has passed; false when the writer
    /// ends before.
    pub(crate) fn listen(
        &mut self,
        limit: Duration,
        mut until: impl FnMut(&Message) -> bool,
    ) -> Result<bool> {
        let stop = Instant::now() + limit;
        loop {
            let now = Instant::now();
            if now >= self.deadline {
                return violation(format!(
                    "a writer said nothing for {SILENCE_MAX:?} after {:?}",
                    self.messages.last()
                ));
            }
            match self.lines.recv_timeout(stop.min(self.deadline).saturating_duration_since(now)) {
                Ok(line) => {
                    self.hear(&line)?;
                    if self.messages.last().is_some_and(&mut until) {
                        return Ok(true);
                    }
                }
                Err(RecvTimeoutError::Timeout) if Instant::now() >= stop => return Ok(true),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return Ok(false),
            }
        }
    }

    /// The number of its process.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Ends it with SIGKILL, and hears what it had said by then.
    pub(crate) fn kill(mut self) -> Result<Ended> {
        self.child.kill().to("kill a writer")?;
        self.wait()
    }

    /// Waits for its end, and hears everything.
    pub(crate) fn wait(mut self) -> Result<Ended> {
        self.listen(SILENCE_MAX * 2, |_| false)?;
        let status = self.child.wait().to("wait for a writer")?;
        if let Some(reader) = self.reader.take() {
            reader.join().map_err(|_| Failure::Setup {
                what: "read what a writer says".to_owned(),
                why: "the reading thread has panicked".to_owned(),
            })?;
        }
        Ok(Ended { messages: std::mem::take(&mut self.messages), status })
    }

    fn hear(&mut self, line: &str) -> Result {
        self.deadline = Instant::now() + SILENCE_MAX;
        match line.parse() {
            Ok(Message::Violation(text)) => violation(format!("a writer says: {text}")),
            Ok(message) => {
                self.messages.push(message);
                Ok(())
            }
            Err(why) => Err(Failure::Setup { what: "understand a writer".to_owned(), why }),
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        // It may be gone already; and what is gone cannot be killed, which is what was wanted.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Ended {
    /// What signal it died of, if it did.
    pub(crate) fn signal(&self) -> Option<i32> {
        self.status.signal()
    }

    /// Nothing has ended it but SIGKILL or itself.
    pub(crate) fn check_no_crash(&self) -> Result {
        self.check_no_panic()?;
        match self.status.signal() {
            None | Some(9) => Ok(()),
            Some(signal) => violation(format!("a writer died of signal {signal}")),
        }
    }

    /// It has not panicked.
    pub(crate) fn check_no_panic(&self) -> Result {
        match self.status.code() {
            Some(101) => violation("a writer has panicked"),
            _ => Ok(()),
        }
    }
}

/// Sends whole lines; what a kill has cut off is dropped.
fn pass_on(mut from: impl std::io::BufRead, to: &Sender<String>) {
    let mut line = String::new();
    while from.read_line(&mut line).is_ok_and(|read| read > 0) {
        let Some(whole) = line.strip_suffix('\n') else { return };
        if to.send(whole.to_owned()).is_err() {
            return;
        }
        line.clear();
    }
}
