//! A disk whose writes fail when it is told so: a file served through FUSE, behind a loop device.

use std::ffi::OsStr;
use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, UNIX_EPOCH};

use fuser::{
    BackgroundSession, Config, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags,
    Generation, INodeNo, LockOwner, MountOption, OpenFlags, ReplyAttr, ReplyData, ReplyEmpty,
    ReplyEntry, ReplyOpen, ReplyWrite, Request, WriteFlags,
};
use tempfile::TempDir;

use crate::disk::{Disk, FileSystem, disk_folder};
use crate::failure::{Context as _, Failure, Result};
use crate::plan::VALUE_MARK;

/// How large the disk is: the smallest XFS has 300 MiB.
const DISK_BYTES: u64 = 512 << 20;
/// The name of the file that is the disk.
const NAME: &str = "image";
const FILE: INodeNo = INodeNo(2);
/// The largest write. A request must not come here in several pieces: if one behind the first
/// fails, the loop device takes the short write for a whole one.
const REQUEST_KIB_MAX: u64 = 64;
/// How long the kernel may remember what it was told.
const TTL: Duration = Duration::from_secs(3600);
/// What an entry of the journal begins with, at a multiple of 512 bytes.
const JOURNAL_MAGIC: &[u8; 4] = b"HWJE";

/// Which writes fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    /// Those that begin a journal entry.
    JournalEntries,
    /// Those with values in them: segments, and the rest of journal entries.
    Values,
    /// Any, the file system's own included.
    Any,
}

impl Target {
    pub(crate) const ALL: [Self; 3] = [Self::JournalEntries, Self::Values, Self::Any];

    fn is_hit(self, data: &[u8]) -> bool {
        match self {
            Self::JournalEntries => {
                data.chunks(512).any(|sector| sector.starts_with(JOURNAL_MAGIC))
            }
            Self::Values => data.windows(VALUE_MARK.len()).any(|bytes| bytes == VALUE_MARK),
            Self::Any => true,
        }
    }
}

/// Makes writes fail.
#[derive(Debug, Default)]
pub(crate) struct Injector {
    /// A number in [`Target::ALL`].
    target: AtomicU64,
    /// How many more writes fail.
    left: AtomicU64,
    failed: AtomicU64,
}

impl Injector {
    /// Lets the next writes of that kind fail.
    pub(crate) fn arm(&self, target: Target, count: u64) {
        let number = Target::ALL.iter().position(|other| *other == target).unwrap_or_default();
        self.target.store(number as u64, Ordering::SeqCst);
        self.failed.store(0, Ordering::SeqCst);
        self.left.store(count, Ordering::SeqCst);
    }

    /// Lets all writes succeed, and says how many have failed.
    pub(crate) fn disarm(&self) -> u64 {
        self.left.store(0, Ordering::SeqCst);
        self.failed.load(Ordering::SeqCst)
    }

    fn strikes(&self, data: &[u8]) -> bool {
        let target = usize::try_from(self.target.load(Ordering::SeqCst)).unwrap_or_default();
        let armed = self.left.load(Ordering::SeqCst) > 0 && Target::ALL[target].is_hit(data);
        if !armed {
            return false;
        }
        let less = |left: u64| left.checked_sub(1);
        let struck = self.left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, less).is_ok();
        self.failed.fetch_add(u64::from(struck), Ordering::SeqCst);
        struck
    }
}

/// A mounted file system on a disk that fails when it is told so.
#[derive(Debug)]
pub(crate) struct FaultyDisk {
    // Dropped in this order: the file system lies on the file, and that in the folder.
    pub(crate) disk: Disk,
    _session: Session,
    _folder: TempDir,
    pub(crate) injector: Arc<Injector>,
}

impl FaultyDisk {
    /// Makes one.
    pub(crate) fn create(file_system: FileSystem) -> Result<Self> {
        let folder = disk_folder()?;
        let (backing, mount_point) = (folder.path().join("backing"), folder.path().join("fuse"));
        std::fs::create_dir(&mount_point).to("create a mount point")?;
        let file = File::options().read(true).write(true).create_new(true).open(&backing);
        let file = file.to("create a disk")?;
        file.set_len(DISK_BYTES).to("size a disk")?;
        let injector = Arc::new(Injector::default());
        let served = ServedFile { file, injector: Arc::clone(&injector) };
        let session = Session::start(served, &mount_point)?;
        let disk = Disk::on(file_system, &mount_point.join(NAME), disk_folder()?)?;
        disk.limit_requests(REQUEST_KIB_MAX)?;
        Ok(Self { disk, _session: session, _folder: folder, injector })
    }
}

/// The thread that serves the file.
struct Session(Option<BackgroundSession>);

impl Session {
    fn start(served: ServedFile, mount_point: &Path) -> Result<Self> {
        let mut config = Config::default();
        config.mount_options = vec![MountOption::FSName("headwater-faults".to_owned())];
        match fuser::spawn_mount(served, mount_point, &config) {
            Ok(session) => Ok(Self(Some(session))),
            Err(error) => Err(Failure::Skipped(format!("FUSE cannot be mounted: {error}"))),
        }
    }
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Session")
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if let Some(session) = self.0.take()
            && let Err(error) = session.umount_and_join()
        {
            eprintln!("a FUSE file system stays mounted: {error}");
        }
    }
}

/// A folder with one file.
struct ServedFile {
    file: File,
    injector: Arc<Injector>,
}

fn attributes(ino: INodeNo) -> FileAttr {
    let is_file = ino == FILE;
    FileAttr {
        ino,
        size: if is_file { DISK_BYTES } else { 0 },
        blocks: if is_file { DISK_BYTES / 512 } else { 0 },
        atime: UNIX_EPOCH,
        mtime: UNIX_EPOCH,
        ctime: UNIX_EPOCH,
        crtime: UNIX_EPOCH,
        kind: if is_file { FileType::RegularFile } else { FileType::Directory },
        perm: if is_file { 0o600 } else { 0o700 },
        nlink: 1,
        uid: 0,
        gid: 0,
        rdev: 0,
        blksize: 4096,
        flags: 0,
    }
}

impl Filesystem for ServedFile {
    fn lookup(&self, _req: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        if parent == INodeNo::ROOT && name == NAME {
            reply.entry(&TTL, &attributes(FILE), Generation(0));
        } else {
            reply.error(Errno::ENOENT);
        }
    }

    fn getattr(&self, _req: &Request, ino: INodeNo, _fh: Option<FileHandle>, reply: ReplyAttr) {
        reply.attr(&TTL, &attributes(ino));
    }

    fn open(&self, _req: &Request, _ino: INodeNo, _flags: OpenFlags, reply: ReplyOpen) {
        // Past the page cache of this file: an error has to reach the one who writes.
        reply.opened(FileHandle(0), FopenFlags::FOPEN_DIRECT_IO);
    }

    fn read(
        &self,
        _req: &Request,
        _ino: INodeNo,
        _fh: FileHandle,
        offset: u64,
        size: u32,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let left = DISK_BYTES.saturating_sub(offset).min(size.into());
        let mut bytes = vec![0; usize::try_from(left).unwrap_or_default()];
        match self.file.read_exact_at(&mut bytes, offset) {
            Ok(()) => reply.data(&bytes),
            Err(_) => reply.error(Errno::EIO),
        }
    }

    fn write(
        &self,
        _req: &Request,
        _ino: INodeNo,
        _fh: FileHandle,
        offset: u64,
        data: &[u8],
        _write_flags: WriteFlags,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        let written = u32::try_from(data.len());
        match (self.injector.strikes(data), written) {
            (false, Ok(written)) if self.file.write_all_at(data, offset).is_ok() => {
                reply.written(written);
            }
            _ => reply.error(Errno::EIO),
        }
    }

    fn fsync(
        &self,
        _req: &Request,
        _ino: INodeNo,
        _fh: FileHandle,
        _datasync: bool,
        reply: ReplyEmpty,
    ) {
        reply.ok();
    }
}

#[cfg(test)]
mod tests {
    use super::{Injector, JOURNAL_MAGIC, Target};
    use crate::plan::VALUE_MARK;

    #[test]
    fn only_armed_writes_of_the_kind_fail_and_only_so_many() {
        let mut entry = vec![0; 1024];
        entry[512..516].copy_from_slice(JOURNAL_MAGIC);
        let mut value = vec![0; 100];
        value[77..85].copy_from_slice(VALUE_MARK);
        let injector = Injector::default();
        assert!(!injector.strikes(&entry));
        injector.arm(Target::JournalEntries, 1);
        assert!(!injector.strikes(&value));
        assert!(injector.strikes(&entry) && !injector.strikes(&entry));
        assert_eq!(injector.disarm(), 1);
        injector.arm(Target::Values, 5);
        assert!(injector.strikes(&value) && !injector.strikes(&entry));
        injector.arm(Target::Any, 1);
        assert!(injector.strikes(&[]));
    }
}
