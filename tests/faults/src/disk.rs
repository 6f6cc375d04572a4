//! Disks that can lose power: images behind loop devices, with a real file system on them.

use std::ffi::CString;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use clap::ValueEnum;
use rustix::fs::Mode;
use rustix::ioctl::{Opcode, Setter, ioctl, opcode};
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
use tempfile::TempDir;

use crate::failure::{Context as _, Failure, Result};
use crate::place::{memory, temporary};

/// What the folders of disks begin with; the number of the process that made them follows.
const PREFIX: &str = "headwater-faults-disk-";
/// `_IOR('X', 125, u32)`: stop a file system at once.
const SHUTDOWN: Opcode = opcode::read::<u32>(b'X', 125);
/// What was not written goes: not even the file system's own journal is flushed.
const NO_LOG_FLUSH: u32 = 2;

/// Which file system is on a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum FileSystem {
    Ext4,
    Xfs,
}

impl FileSystem {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Ext4 => "ext4",
            Self::Xfs => "xfs",
        }
    }

    /// The smallest XFS has 300 MiB.
    fn image_bytes(self) -> u64 {
        512 << 20
    }
}

/// A disk with a mounted file system. Dropping it takes everything away again.
#[derive(Debug)]
pub(crate) struct Disk {
    file_system: FileSystem,
    device: String,
    mount_point: PathBuf,
    is_mounted: bool,
    _folder: TempDir,
}

impl Disk {
    /// Makes an image of its own and mounts it.
    pub(crate) fn create(file_system: FileSystem) -> Result<Self> {
        let folder = disk_folder()?;
        let image = folder.path().join("image");
        let file = File::create(&image).to("create an image")?;
        file.set_len(file_system.image_bytes()).to("size an image")?;
        Self::on(file_system, &image, folder)
    }

    /// Makes a file system on a file that is there, and mounts it.
    pub(crate) fn on(file_system: FileSystem, image: &Path, folder: TempDir) -> Result<Self> {
        let mount_point = folder.path().join("mounted");
        std::fs::create_dir(&mount_point).to("create a mount point")?;
        let mkfs = format!("mkfs.{}", file_system.name());
        let force = if file_system == FileSystem::Ext4 { "-F" } else { "-f" };
        tool(&mkfs, &["-q".as_ref(), force.as_ref(), image])?;
        let device = tool("losetup", &["--find".as_ref(), "--show".as_ref(), image])?;
        let device = device.trim().to_owned();
        let mut disk =
            Self { file_system, device, mount_point, is_mounted: false, _folder: folder };
        disk.mount()?;
        Ok(disk)
    }

    /// Where the file system is.
    pub(crate) fn path(&self) -> &Path {
        &self.mount_point
    }

    pub(crate) fn mount(&mut self) -> Result {
        let name = self.file_system.name();
        // XFS refuses a second mount of an id that is mounted; each image has its own.
        let mounted = mount(
            self.device.as_str(),
            &self.mount_point,
            name,
            MountFlags::NOATIME,
            None::<&std::ffi::CStr>,
        );
        mounted.map_err(|error| Failure::Skipped(format!("{name} cannot be mounted: {error}")))?;
        self.is_mounted = true;
        Ok(())
    }

    /// Takes the file system away, and with it the page cache.
    pub(crate) fn unmount(&mut self) -> Result {
        unmount(&self.mount_point, UnmountFlags::empty()).to("unmount a file system")?;
        self.is_mounted = false;
        Ok(())
    }

    /// Limits how much goes to the device at a time.
    pub(crate) fn limit_requests(&self, kib: u64) -> Result {
        let name = self.device.trim_start_matches("/dev/");
        let setting = Path::new("/sys/block").join(name).join("queue/max_sectors_kb");
        std::fs::write(setting, kib.to_string()).to("limit the requests of a disk")
    }

    /// Cuts the power: nothing reaches the disk any more that is not there.
    pub(crate) fn cut_power(&self) -> Result {
        shut_down(&self.mount_point)
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        if self.is_mounted && unmount(&self.mount_point, UnmountFlags::empty()).is_err() {
            // Somebody has a file open there; it goes when that one does.
            if let Err(error) = unmount(&self.mount_point, UnmountFlags::DETACH) {
                eprintln!("{} stays mounted: {error}", self.mount_point.display());
            }
        }
        if let Err(failure) = tool("losetup", &["--detach".as_ref(), self.device.as_ref()]) {
            eprintln!("{failure}");
        }
    }
}

/// A folder for a disk, in memory if there is some: the speed of disks is not what is tested.
pub(crate) fn disk_folder() -> Result<TempDir> {
    let prefix = format!("{PREFIX}{}-", std::process::id());
    let base = memory().unwrap_or_else(temporary);
    tempfile::Builder::new().prefix(&prefix).tempdir_in(base).to("create a folder")
}

/// Whether this process may mount at all.
pub(crate) fn check_root() -> Result {
    if rustix::process::geteuid().is_root() {
        return Ok(());
    }
    Err(Failure::Skipped("mounting needs root".to_owned()))
}

/// Shuts the file system down at once, without a word to its journal.
fn shut_down(mount_point: &Path) -> Result {
    let flags = rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::DIRECTORY;
    let dir = rustix::fs::open(mount_point, flags, Mode::empty()).to("open a mount point")?;
    #[expect(unsafe_code, reason = "there is no safe function for this ioctl")]
    // SAFETY: the kernel reads a u32 behind the pointer, and writes nothing.
    let done = unsafe { ioctl(&dir, Setter::<SHUTDOWN, u32>::new(NO_LOG_FLUSH)) };
    done.to("shut a file system down")
}

/// Runs a tool of the system and returns what it prints.
pub(crate) fn tool(program: &str, arguments: &[&Path]) -> Result<String> {
    // Such tools are not on the path of every user.
    let path = std::env::var("PATH").unwrap_or_default() + ":/usr/sbin:/sbin";
    let output = Command::new(program)
        .args(arguments)
        .env("PATH", path)
        .stdin(Stdio::null())
        .output()
        .map_err(|error| Failure::Skipped(format!("{program} cannot be run: {error}")))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let text = String::from_utf8_lossy(&output.stderr);
    Err(Failure::Skipped(format!("{program} ended with {}: {}", output.status, text.trim())))
}

/// Takes away what tests have left behind whose processes are gone.
pub(crate) fn clean_up() {
    let mounts = std::fs::read_to_string("/proc/mounts").unwrap_or_default();
    // The last mount first: one may be on a file of another.
    for mounted in mounts.lines().rev().filter_map(|line| line.split(' ').nth(1)) {
        if is_left_over(mounted) {
            let Ok(path) = CString::new(mounted) else { continue };
            if let Err(error) = unmount(path.as_c_str(), UnmountFlags::DETACH) {
                eprintln!("{mounted} was left behind and stays mounted: {error}");
            }
        }
    }
    let Ok(blocks) = std::fs::read_dir("/sys/block") else { return };
    for block in blocks.filter_map(std::result::Result::ok) {
        let backing = std::fs::read_to_string(block.path().join("loop/backing_file"));
        if backing.is_ok_and(|file| is_left_over(&file)) {
            let device = Path::new("/dev").join(block.file_name());
            if let Err(failure) = tool("losetup", &["--detach".as_ref(), &device]) {
                eprintln!("{failure}");
            }
        }
    }
    for base in memory().into_iter().chain([temporary()]) {
        let Ok(entries) = std::fs::read_dir(base) else { continue };
        for entry in entries.filter_map(std::result::Result::ok) {
            if is_left_over(&entry.path().to_string_lossy())
                && let Err(error) = std::fs::remove_dir_all(entry.path())
            {
                eprintln!("{} was left behind and stays: {error}", entry.path().display());
            }
        }
    }
}

/// Whether a path is in a folder of [`disk_folder`] whose process is gone.
fn is_left_over(path: &str) -> bool {
    let Some((_, rest)) = path.split_once(PREFIX) else { return false };
    let pid = rest.split('-').next().unwrap_or_default();
    !pid.is_empty() && !Path::new("/proc").join(pid).exists()
}

#[cfg(test)]
mod tests {
    use super::is_left_over;

    #[test]
    fn only_what_a_gone_process_has_left_is_cleaned_up() {
        let own = format!("/tmp/headwater-faults-disk-{}-x/image", std::process::id());
        assert!(!is_left_over(&own));
        assert!(is_left_over("/tmp/headwater-faults-disk-999999999-x/image"));
        assert!(!is_left_over("/home/somebody/image"));
    }
}
