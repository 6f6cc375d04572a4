//! What the simulated file system holds: as readers see it, and as a crash leaves it.

use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::path::{Component, Path};

/// What a disk writes whole.
const SECTOR_BYTES: usize = 512;
/// What a name takes.
const NAME_BYTES: u64 = 4096;

/// How a machine stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CrashKind {
    /// The process is gone, the page cache is not.
    Kill,
    /// The machine is gone, and what was not synced is so in part.
    PowerCut,
}

/// Names and files.
#[derive(Clone, Debug, Default)]
pub(super) struct Disk {
    inodes: Vec<Inode>,
    /// How many folders there ever were; the root is the folder 0.
    dirs: usize,
    names: Names,
    durable_names: Names,
    pending_names: Vec<NameChange>,
    /// For how many more bytes there is space; none for any number.
    free: Option<u64>,
}

/// A name in a folder, by the folder's number.
type Name = (usize, String);
type Names = BTreeMap<Name, Node>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Node {
    File(usize),
    Dir(usize),
}

#[derive(Clone, Debug)]
enum NameChange {
    Add(Name, Node),
    Remove(Name),
    Rename(Name, Name),
}

/// A file: as readers see it, as it was synced last, and what came since.
#[derive(Clone, Debug, Default)]
struct Inode {
    bytes: Vec<u8>,
    durable: Vec<u8>,
    pending: Vec<Change>,
    sectors: Vec<Sector>,
}

/// What a sector of a file has come to on the disk. Beyond the known ones: unwritten.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Sector {
    /// There is space, but nothing was ever written to it.
    #[default]
    Unwritten,
    /// The first write to it has failed. The system takes it for written, the disk does not: as on
    /// ext4, whatever goes there reads as zeros after a power cut, however well it is synced, until
    /// the system has forgotten about it.
    Stuck,
    /// Something is there.
    Written,
}

#[derive(Clone, Debug)]
enum Change {
    Write(usize, Vec<u8>),
    Length(usize),
}

impl Disk {
    /// What the next process finds.
    pub(super) fn crash(&mut self, kind: CrashKind, choose: &mut impl FnMut(usize) -> usize) {
        // After a kill, what is there may still be in the page cache only.
        if kind == CrashKind::Kill {
            return;
        }
        let mut names = std::mem::take(&mut self.durable_names);
        for change in std::mem::take(&mut self.pending_names) {
            if choose(2) == 0 {
                apply(&mut names, &change);
            }
        }
        self.durable_names = names.clone();
        self.names = names;
        // Some crashes lose nearly everything, some nearly nothing.
        let odds = choose(5);
        for inode in &mut self.inodes {
            inode.lose_power(odds, choose);
        }
    }

    /// Says for how many more bytes there is space; none for any number.
    pub(super) fn set_free_bytes(&mut self, free: Option<u64>) {
        self.free = free;
    }

    /// For how many more bytes there is space; none for any number.
    pub(super) fn free_bytes(&self) -> Option<u64> {
        self.free
    }

    /// The file of that name.
    pub(super) fn file(&self, path: &Path) -> Option<usize> {
        match self.names.get(&self.name(path).ok()?) {
            Some(Node::File(inode)) => Some(*inode),
            _ => None,
        }
    }

    /// The bytes of a file, as readers see them.
    pub(super) fn bytes(&self, inode: usize) -> &[u8] {
        self.inodes.get(inode).map_or(&[], |inode| &inode.bytes)
    }

    /// The names in a folder, in order.
    pub(super) fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let dir = self.dir(dir).ok_or(io::ErrorKind::NotFound)?;
        let inside = self.names.keys().filter(|name| name.0 == dir);
        Ok(inside.map(|(_, name)| name.clone()).collect())
    }

    pub(super) fn create_file(&mut self, path: &Path) -> io::Result<usize> {
        let name = self.name(path)?;
        self.take(NAME_BYTES)?;
        self.inodes.push(Inode::default());
        let inode = self.inodes.len() - 1;
        self.change_name(NameChange::Add(name, Node::File(inode)));
        Ok(inode)
    }

    pub(super) fn create_dir(&mut self, path: &Path) -> io::Result<()> {
        let mut dirs: Vec<&Path> =
            path.ancestors().filter(|dir| !dir.as_os_str().is_empty()).collect();
        dirs.reverse();
        for dir in dirs {
            if self.dir(dir).is_none() {
                let name = self.name(dir)?;
                self.take(NAME_BYTES)?;
                self.dirs += 1;
                let node = Node::Dir(self.dirs);
                self.change_name(NameChange::Add(name, node));
            }
        }
        Ok(())
    }

    pub(super) fn remove(&mut self, path: &Path) -> io::Result<()> {
        let inode = self.file(path).ok_or(io::ErrorKind::NotFound)?;
        let name = self.name(path)?;
        self.give_back(Node::File(inode));
        self.change_name(NameChange::Remove(name));
        Ok(())
    }

    pub(super) fn remove_dir(&mut self, path: &Path) -> io::Result<()> {
        let name = self.name(path)?;
        if let Some(node) = self.names.get(&name).copied() {
            self.give_back(node);
        }
        self.change_name(NameChange::Remove(name));
        Ok(())
    }

    pub(super) fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        let (from, to) = (self.name(from)?, self.name(to)?);
        if !self.names.contains_key(&from) {
            return Err(io::ErrorKind::NotFound.into());
        }
        if let Some(node) = self.names.get(&to).copied() {
            self.give_back(node);
        }
        self.change_name(NameChange::Rename(from, to));
        Ok(())
    }

    pub(super) fn sync_dir(&mut self, dir: &Path) -> io::Result<()> {
        let dir = self.dir(dir).ok_or(io::ErrorKind::NotFound)?;
        for change in std::mem::take(&mut self.pending_names) {
            if change.is_in(dir) {
                apply(&mut self.durable_names, &change);
            } else {
                self.pending_names.push(change);
            }
        }
        Ok(())
    }

    pub(super) fn write(&mut self, inode: usize, position: usize, bytes: &[u8]) -> io::Result<()> {
        let end = (position + bytes.len()).max(self.bytes(inode).len());
        self.take_space(inode, end)?;
        let inode = self.inode(inode);
        put(&mut inode.bytes, position, bytes);
        inode.pending.push(Change::Write(position, bytes.to_vec()));
        Ok(())
    }

    pub(super) fn set_len(&mut self, inode: usize, len: usize) -> io::Result<()> {
        self.take_space(inode, len)?;
        let inode = self.inode(inode);
        inode.bytes.resize(len, 0);
        // The system forgets what it knew of what is cut off.
        inode.sectors.truncate(len.div_ceil(SECTOR_BYTES));
        inode.pending.push(Change::Length(len));
        Ok(())
    }

    pub(super) fn sync(&mut self, inode: usize) {
        self.inode(inode).flush(|| true);
    }

    /// The disk never gets what was not synced, though readers still see it.
    pub(super) fn fail_sync(&mut self, inode: usize) {
        self.inode(inode).drop_pending();
    }

    /// Makes durable what readers see there, whatever has failed before.
    pub(super) fn settle(&mut self, inode: usize, position: usize, len: usize) {
        let inode = self.inode(inode);
        inode.flush(|| true);
        inode.forget_failures(position..position + len);
        let seen = inode.bytes.get(position..position + len).unwrap_or_default().to_vec();
        inode.pending.push(Change::Write(position, seen));
        inode.flush(|| true);
    }

    /// Fills bytes of a file with zeros, and forgets what has failed in whole sectors of them. The
    /// sector in which they begin is dropped from the page cache, as some file systems do.
    pub(super) fn clear(&mut self, inode: usize, position: usize, len: usize) -> io::Result<()> {
        self.inode(inode).drop_sector_of(position);
        self.write(inode, position, &vec![0; len])?;
        let (mut end, inode) = (position + len, self.inode(inode));
        // The last sector of the file ends with it.
        if end < inode.bytes.len() {
            end -= end % SECTOR_BYTES;
        }
        inode.forget_failures(position.next_multiple_of(SECTOR_BYTES)..end);
        Ok(())
    }

    /// Takes the space for a file of that length, or gives it back.
    fn take_space(&mut self, inode: usize, len: usize) -> io::Result<()> {
        let (before, after) = (self.bytes(inode).len() as u64, len as u64);
        self.take(after.saturating_sub(before))?;
        self.free = self.free.map(|free| free + before.saturating_sub(after));
        Ok(())
    }

    fn take(&mut self, bytes: u64) -> io::Result<()> {
        if let Some(free) = &mut self.free {
            *free = free.checked_sub(bytes).ok_or(io::ErrorKind::StorageFull)?;
        }
        Ok(())
    }

    /// Gives back what a name takes that goes, with all that is behind it.
    fn give_back(&mut self, node: Node) {
        let bytes = match node {
            Node::File(inode) => self.bytes(inode).len() as u64,
            Node::Dir(dir) => {
                let inside = self.names.iter().filter(|((parent, _), _)| *parent == dir);
                let nodes: Vec<Node> = inside.map(|(_, node)| *node).collect();
                nodes.into_iter().for_each(|node| self.give_back(node));
                0
            }
        };
        self.free = self.free.map(|free| free + bytes + NAME_BYTES);
    }

    /// The folder that a path names.
    fn dir(&self, path: &Path) -> Option<usize> {
        path.components().filter(|part| *part != Component::CurDir).try_fold(0, |dir, part| {
            match self.names.get(&(dir, part.as_os_str().to_str()?.to_owned())) {
                Some(Node::Dir(dir)) => Some(*dir),
                _ => None,
            }
        })
    }

    /// The name at the end of a path, in its folder.
    fn name(&self, path: &Path) -> io::Result<Name> {
        let dir = self.dir(path.parent().unwrap_or(Path::new("")));
        let name = path.file_name().and_then(|name| name.to_str());
        dir.zip(name.map(str::to_owned)).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn change_name(&mut self, change: NameChange) {
        apply(&mut self.names, &change);
        self.pending_names.push(change);
    }

    fn inode(&mut self, inode: usize) -> &mut Inode {
        self.inodes.get_mut(inode).expect("inodes are never removed")
    }
}

fn apply(names: &mut Names, change: &NameChange) {
    match change {
        NameChange::Add(name, node) => {
            names.insert(name.clone(), *node);
        }
        NameChange::Remove(name) => {
            names.remove(name);
        }
        NameChange::Rename(from, to) => {
            if let Some(node) = names.remove(from) {
                names.insert(to.clone(), node);
            }
        }
    }
}

impl NameChange {
    fn is_in(&self, dir: usize) -> bool {
        match self {
            Self::Add(name, _) | Self::Remove(name) => name.0 == dir,
            Self::Rename(from, to) => from.0 == dir || to.0 == dir,
        }
    }
}

impl Inode {
    fn lose_power(&mut self, odds: usize, choose: &mut impl FnMut(usize) -> usize) {
        // Out of 4: how likely an unsynced sector is there all the same.
        self.flush(|| choose(4) < odds);
        self.forget_failures(0..usize::MAX);
        self.bytes.clone_from(&self.durable);
    }

    /// Brings what was not synced to the disk: of each sector what survives.
    fn flush(&mut self, mut survives: impl FnMut() -> bool) {
        for change in std::mem::take(&mut self.pending) {
            match change {
                Change::Length(len) if survives() => self.durable.resize(len, 0),
                Change::Length(_) => {}
                Change::Write(position, content) => {
                    for (at, part) in sectors_of(position, &content) {
                        if survives() {
                            self.write_sector(at, part);
                        }
                    }
                }
            }
        }
    }

    fn write_sector(&mut self, position: usize, part: &[u8]) {
        let sector = self.sector(position / SECTOR_BYTES);
        if *sector == Sector::Stuck {
            // The length is there, and zeros.
            let end = self.durable.len().max(position + part.len());
            self.durable.resize(end, 0);
        } else {
            *sector = Sector::Written;
            put(&mut self.durable, position, part);
        }
    }

    fn drop_pending(&mut self) {
        for change in std::mem::take(&mut self.pending) {
            let Change::Write(position, content) = change else { continue };
            for (at, _) in sectors_of(position, &content) {
                let sector = self.sector(at / SECTOR_BYTES);
                if *sector == Sector::Unwritten {
                    *sector = Sector::Stuck;
                }
            }
        }
    }

    fn forget_failures(&mut self, bytes: Range<usize>) {
        let sectors = bytes.start / SECTOR_BYTES..bytes.end.div_ceil(SECTOR_BYTES);
        for sector in self.sectors.iter_mut().take(sectors.end).skip(sectors.start) {
            if *sector == Sector::Stuck {
                *sector = Sector::Unwritten;
            }
        }
    }

    /// Shows a sector as it is on the disk, unless something is on its way there.
    fn drop_sector_of(&mut self, position: usize) {
        let sector = position - position % SECTOR_BYTES..position;
        let is_pending = self.pending.iter().any(|change| match change {
            Change::Write(at, bytes) => *at < sector.end && at + bytes.len() > sector.start,
            Change::Length(_) => true,
        });
        if !is_pending && let Some(seen) = self.bytes.get_mut(sector.clone()) {
            seen.fill(0);
            for (to, from) in seen.iter_mut().zip(self.durable.iter().skip(sector.start)) {
                *to = *from;
            }
        }
    }

    fn sector(&mut self, number: usize) -> &mut Sector {
        if self.sectors.len() <= number {
            self.sectors.resize(number + 1, Sector::Unwritten);
        }
        self.sectors.get_mut(number).expect("long enough now")
    }
}

/// What is to be written, sector by sector.
fn sectors_of(position: usize, content: &[u8]) -> impl Iterator<Item = (usize, &[u8])> {
    let mut at = position;
    let mut rest = content;
    std::iter::from_fn(move || {
        let len = (SECTOR_BYTES - at % SECTOR_BYTES).min(rest.len());
        let (part, behind) = rest.split_at(len);
        let begin = at;
        (at, rest) = (at + len, behind);
        (!part.is_empty()).then_some((begin, part))
    })
}

fn put(bytes: &mut Vec<u8>, position: usize, content: &[u8]) {
    let end = position + content.len();
    if bytes.len() < end {
        bytes.resize(end, 0);
    }
    bytes.get_mut(position..end).expect("long enough now").copy_from_slice(content);
}
