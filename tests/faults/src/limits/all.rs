//! The commands that run the tests of limits.

use std::fs::create_dir;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use clap::ValueEnum;
use fastrand::Rng;
use rustix::mount::{MountFlags, UnmountFlags, mount, mount_remount, unmount};

use crate::child::this_program;
use crate::disk::{check_root, disk_folder};
use crate::failure::{Context as _, Failure, Result, violation};
use crate::limits::file_size;
use crate::limits::full_disk;
use crate::limits::large_record;
use crate::limits::memory;
use crate::limits::no_space;
use crate::limits::open_files;
use crate::limits::read_only;
use crate::limits::state_disk;
use crate::place::{folder_in, memory as memory_folder, temporary};
use crate::tally::Tally;

/// How large the file system is that fills up.
const SMALL_BYTES: &str = "1m";
/// How large that of stores of applications is: their journals take 128 MiB of it.
const STATE_BYTES: &str = "384m";

/// Which limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Limit {
    /// 64 open files, and 1,000 partitions.
    OpenFiles,
    /// `RLIMIT_FSIZE`.
    FileSize,
    /// A disk that fills up and is freed.
    FullDisk,
    /// Not a byte left when a store is opened.
    NoSpace,
    /// A disk of an application's stores that fills up.
    StateDisk,
    /// A read-only file system.
    ReadOnly,
    /// A record of a gibibyte.
    LargeRecord,
    /// 256 MiB of memory.
    Memory,
}

/// What is tested.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct LimitArgs {
    /// Which limit.
    #[arg(value_enum)]
    limit: Limit,
    /// How often the disk is filled.
    #[arg(long, default_value_t = 30)]
    times: u64,
    /// How large the log is that is to be read in little memory.
    #[arg(long, default_value_t = 512)]
    mib: u64,
}

/// What a process does that has a limit.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct LimitedArgs {
    /// What to do.
    #[arg(long)]
    which: String,
    /// The folder of the store.
    #[arg(long)]
    dir: PathBuf,
    /// How large the log is to be.
    #[arg(long, default_value_t = 0)]
    mib: u64,
    /// The control group to join.
    #[arg(long)]
    group: Option<PathBuf>,
}

/// Runs the test of one limit.
pub(crate) fn run(args: &LimitArgs, seed: u64) -> Result<Tally> {
    let mut tally = Tally::default();
    let rng = &mut Rng::with_seed(seed);
    let base = match args.limit {
        // A thousand folders, and what takes memory.
        Limit::OpenFiles | Limit::LargeRecord => memory_folder().unwrap_or_else(temporary),
        _ => temporary(),
    };
    let folder = folder_in(&base, "limits")?;
    let dir = folder.path();
    match args.limit {
        Limit::OpenFiles => open_files::run(dir, start_limited, &mut tally)?,
        Limit::FileSize => file_size::run(dir, seed, &mut tally)?,
        Limit::FullDisk => {
            let small = SmallDisk::mount(SMALL_BYTES)?;
            full_disk::run(&small.path, args.times, rng, &mut tally)?;
        }
        Limit::NoSpace => {
            let small = SmallDisk::mount(SMALL_BYTES)?;
            no_space::run(&small.path, rng, &mut tally)?;
        }
        Limit::StateDisk => {
            let small = SmallDisk::mount(STATE_BYTES)?;
            state_disk::run(dir, &small.path, args.times, rng, &mut tally)?;
        }
        Limit::ReadOnly => {
            let small = SmallDisk::mount(SMALL_BYTES)?;
            let remount = |read_only| small.remount(read_only);
            read_only::run(&small.path, remount, rng, &mut tally)?;
        }
        Limit::LargeRecord => large_record::run(dir, &mut tally)?,
        Limit::Memory => memory::run(dir, args.mib, start, &mut tally)?,
    }
    Ok(tally)
}

/// Runs as the process with a limit.
pub(crate) fn run_limited(args: &LimitedArgs) -> Result {
    match args.which.as_str() {
        "open-files" => open_files::limited(&args.dir),
        "open-files-open" => open_files::limited_open(&args.dir),
        "memory" => {
            let group = args.group.as_deref().ok_or("there is none").to("join a control group")?;
            memory::limited(&args.dir, args.mib, group)
        }
        other => violation(format!("nothing is called {other}")),
    }
}

fn start_limited(which: &str, dir: &Path) -> Result {
    start(&[format!("--which={which}"), format!("--dir={}", dir.display())])
}

/// Runs this program as a limited process, which prints what is wrong and ends with 1.
fn start(arguments: &[String]) -> Result {
    let mut all = vec!["limited".to_owned()];
    all.extend_from_slice(arguments);
    let output = this_program(&all)?.stdin(Stdio::null()).output().to("start a limited process")?;
    let said = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&said);
    match output.status.success() {
        true => Ok(()),
        false => violation(format!("a limited process ended with {}: {text}", output.status)),
    }
}

/// A small file system in memory. It goes when this is dropped.
struct SmallDisk {
    path: PathBuf,
    _folder: tempfile::TempDir,
}

impl SmallDisk {
    fn mount(size: &str) -> Result<Self> {
        check_root()?;
        let folder = disk_folder()?;
        let path = folder.path().join("small");
        create_dir(&path).to("create a mount point")?;
        let size = format!("size={size}");
        let options = std::ffi::CString::new(size).to("name a size")?;
        mount("tmpfs", &path, "tmpfs", MountFlags::empty(), Some(options.as_c_str()))
            .map_err(|error| Failure::Skipped(format!("tmpfs cannot be mounted: {error}")))?;
        Ok(Self { path, _folder: folder })
    }

    fn remount(&self, read_only: bool) -> Result {
        let flags = if read_only { MountFlags::RDONLY } else { MountFlags::empty() };
        mount_remount(&self.path, flags, "").to("mount a file system again")
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        if let Err(error) = unmount(&self.path, UnmountFlags::DETACH) {
            eprintln!("{} stays mounted: {error}", self.path.display());
        }
    }
}
