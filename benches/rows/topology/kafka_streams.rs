//! Kafka Streams itself, in a process of its own that runs a topology when it is told to.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

/// Where `scripts/bench` says that Maven has built it; not set where there is no JDK.
const BUILT: &str = "HEADWATER_KAFKA_STREAMS";

/// A process for one row.
pub struct KafkaStreams {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

/// What a run has come to.
#[derive(Clone, Copy, Debug)]
pub struct Run {
    /// The processor time of the whole process.
    pub seconds: f64,
    pub written: u64,
}

impl KafkaStreams {
    /// The folder that it was built into, if it was.
    pub fn built() -> Option<PathBuf> {
        std::env::var_os(BUILT).map(PathBuf::from)
    }

    /// Starts it with files of frames as input topics, and runs the topology once, so that it is
    /// compiled by then.
    pub fn start(built: &Path, topology: &str, inputs: &[(&str, PathBuf)]) -> Self {
        let jars = std::fs::read_to_string(built.join("classpath")).unwrap();
        let classes = built.join("classes");
        let mut java = Command::new("java");
        java.args(["-Xmx4g", "-cp"]).arg(format!("{}:{}", classes.display(), jars.trim()));
        java.args(["headwater.bench.Bench", topology]);
        for (topic, path) in inputs {
            java.arg(format!("{topic}={}", path.display()));
        }
        let mut child = java.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let input = child.stdin.take();
        let output = BufReader::new(child.stdout.take().unwrap());
        let mut started = Self { child, input, output };
        started.run();
        started
    }

    /// Runs the topology as a new application.
    pub fn run(&mut self) -> Run {
        writeln!(self.input.as_mut().unwrap(), "run").unwrap();
        let mut answer = String::new();
        self.output.read_line(&mut answer).unwrap();
        let (seconds, written) =
            answer.trim().split_once(' ').expect("it answers with two numbers");
        Run { seconds: seconds.parse().unwrap(), written: written.parse().unwrap() }
    }
}

impl Drop for KafkaStreams {
    fn drop(&mut self) {
        // The end of its input ends it.
        self.input = None;
        let _ = self.child.wait();
    }
}
