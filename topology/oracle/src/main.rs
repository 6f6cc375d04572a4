//! Runs cases here and on the real Kafka Streams and prints where they differ.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use headwater_oracle::{
    Case, CaseFile, Java, Outcome, description_difference, difference, random_case, run, shrink,
};

#[derive(Debug, Parser)]
#[command(name = "headwater-oracle")]
struct Args {
    /// The folder into which Maven built the Java program.
    #[arg(long, default_value = "target/oracle")]
    built: PathBuf,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs the cases of files on both sides, and compares both with what the files expect.
    Files {
        /// The files.
        files: Vec<PathBuf>,
    },
    /// Writes the descriptions of the topologies of a folder, as Kafka Streams gives them.
    Record {
        /// The folder.
        #[arg(default_value = "topology/tests/describe")]
        folder: PathBuf,
    },
    /// Writes into the cases of a file what Kafka Streams gives for them.
    Expect {
        /// The file.
        file: PathBuf,
    },
    /// Runs random cases on both sides and compares them.
    Random {
        /// How many cases.
        count: u64,
        /// The seed of the first; the next ones count on.
        seed: u64,
    },
}

fn main() -> ExitCode {
    let args = Args::parse();
    let done =
        Java::start(&args.built).map_err(Into::into).and_then(|mut java| match &args.command {
            Command::Files { files } => run_files(&mut java, files),
            Command::Expect { file } => expect(&mut java, file),
            Command::Record { folder } => record(&mut java, folder),
            Command::Random { count, seed } => {
                run_random(&mut java, *seed..seed.saturating_add(*count))
            }
        });
    match done {
        Ok(0) => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("headwater-oracle: {error}");
            ExitCode::FAILURE
        }
    }
}

/// What the DSL makes of a case; what it refuses to build is an error in the outcome, as it is on
/// the other side.
fn headwater(case: &Case) -> Outcome {
    run(case, true)
        .unwrap_or_else(|error| Outcome { error: Some(error.to_string()), ..Outcome::default() })
}

#[expect(clippy::print_stdout, reason = "this is the program's answer")]
fn run_files(java: &mut Java, files: &[PathBuf]) -> Result<usize, Box<dyn Error>> {
    let mut differing = 0;
    for path in files {
        for case in &read(path)?.cases {
            let expected = Outcome { expected: case.expected.clone(), ..Outcome::default() };
            for (side, found) in
                [("Kafka Streams", java.run(case)?), ("Headwater", headwater(case))]
            {
                if let Some(difference) = difference(&expected, &found) {
                    differing += 1;
                    let error = found.error.unwrap_or_default();
                    println!("{} {}: {side}: {difference} {error}", path.display(), case.name);
                }
            }
        }
    }
    Ok(differing)
}

fn compare(case: &Case, kafka: &Outcome, ours: &Outcome) -> Option<String> {
    difference(kafka, ours).or_else(|| description_difference(case, kafka, ours))
}

fn record(java: &mut Java, folder: &Path) -> Result<usize, Box<dyn Error>> {
    for case in &read(&folder.join("topologies.json"))?.cases {
        let described = succeeded(case, java.run(case)?)?.describe;
        std::fs::write(folder.join(format!("{}.txt", case.name)), described)?;
    }
    Ok(0)
}

fn expect(java: &mut Java, path: &Path) -> Result<usize, Box<dyn Error>> {
    let mut file = read(path)?;
    for case in &mut file.cases {
        case.expected = succeeded(case, java.run(case)?)?.expected;
    }
    std::fs::write(path, file.to_lines()?)?;
    Ok(0)
}

fn read(path: &Path) -> Result<CaseFile, Box<dyn Error>> {
    Ok(serde_json::from_str(&std::fs::read_to_string(path)?)?)
}

fn succeeded(case: &Case, outcome: Outcome) -> Result<Outcome, Box<dyn Error>> {
    match outcome.error {
        Some(error) => Err(format!("{}: {error}", case.name).into()),
        None => Ok(outcome),
    }
}

#[expect(clippy::print_stdout, reason = "this is the program's answer")]
fn run_random(java: &mut Java, seeds: std::ops::Range<u64>) -> Result<usize, Box<dyn Error>> {
    let (mut differing, mut refused, mut records, count) = (0, 0, 0, seeds.end - seeds.start);
    for seed in seeds {
        let case = random_case(seed);
        let (kafka, ours) = (java.run(&case)?, headwater(&case));
        records += kafka.expected.len();
        refused += usize::from(kafka.error.is_some() && ours.error.is_some());
        let Some(found) = compare(&case, &kafka, &ours) else { continue };
        differing += 1;
        println!("seed {seed}: {found}");
        let failed = [kafka.error.is_some(), ours.error.is_some()];
        let described = found.starts_with("description");
        let smallest = shrink(case, |case| {
            let Ok(kafka) = java.run(case) else { return false };
            let ours = headwater(case);
            [kafka.error.is_some(), ours.error.is_some()] == failed
                && compare(case, &kafka, &ours)
                    .is_some_and(|found| found.starts_with("description") == described)
        });
        let (kafka, ours) = (java.run(&smallest)?, headwater(&smallest));
        let still = compare(&smallest, &kafka, &ours).unwrap_or(found);
        println!("  {still}");
        for error in kafka.error.iter().chain(&ours.error) {
            println!("  error: {error}");
        }
        for op in &smallest.operators {
            println!("  {}", serde_json::to_string(op)?);
        }
        for input in &smallest.inputs {
            println!("  {}", serde_json::to_string(input)?);
        }
    }
    println!(
        "{count} cases, {differing} differ; {records} records compared, {refused} cases refused by both"
    );
    Ok(differing)
}
