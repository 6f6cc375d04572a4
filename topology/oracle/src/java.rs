//! The Java program that runs cases on the real Kafka Streams, as a child process.

use std::fs;
use std::io::{BufRead, BufReader, BufWriter, Error, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use crate::case::{Case, Outcome};
use crate::error::OracleError;

/// One Java process: it runs a case after the other.
#[derive(Debug)]
pub struct Java {
    child: Child,
    input: Option<BufWriter<ChildStdin>>,
    output: BufReader<ChildStdout>,
}

impl Java {
    /// Starts it from the folder into which Maven builds.
    ///
    /// # Errors
    /// `Java` where it has not been built, or cannot be started.
    pub fn start(built: &Path) -> Result<Self, OracleError> {
        let starting = "the start of the Java program";
        let jars = fs::read_to_string(built.join("classpath"));
        let jars = jars.map_err(OracleError::java("its class path (build it with Maven first)"))?;
        let classes = built.join("classes");
        let mut child = Command::new("java")
            // Many small topologies: a fast start and one thread for garbage.
            .args(["-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xmx1g", "-cp"])
            .arg(format!("{}:{}", classes.display(), jars.trim()))
            .arg("headwater.oracle.Oracle")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map_err(OracleError::java(starting))?;
        let pipes = child.stdin.take().zip(child.stdout.take());
        let (input, output) =
            pipes.ok_or_else(|| OracleError::java(starting)(Error::other("it has no pipes")))?;
        let (input, output) = (Some(BufWriter::new(input)), BufReader::new(output));
        Ok(Self { child, input, output })
    }

    /// What Kafka Streams makes of a case.
    ///
    /// # Errors
    /// `Java` where the process has gone, `Json` for an answer that is none.
    pub fn run(&mut self, case: &Case) -> Result<Outcome, OracleError> {
        let case = serde_json::to_string(case).map_err(OracleError::json("a case"))?;
        let input = self.input.as_mut();
        let input = input.ok_or_else(|| OracleError::java("a case")(Error::other("it ended")))?;
        let written = writeln!(input, "{case}").and_then(|()| input.flush());
        written.map_err(OracleError::java("sending it a case"))?;
        let mut answer = String::new();
        let read = self.output.read_line(&mut answer);
        read.map_err(OracleError::java("reading its answer"))?;
        serde_json::from_str(&answer).map_err(OracleError::json("the answer of the Java program"))
    }
}

impl Drop for Java {
    fn drop(&mut self) {
        // The end of its input ends it.
        self.input = None;
        let _ = self.child.wait();
    }
}
