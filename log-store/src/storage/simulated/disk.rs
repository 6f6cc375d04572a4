//! What the simulated file system holds: as readers see it, and as a crash leaves it.

use std::collections::BTreeMap;
use std::io;
use std::path::{Component, Path};

use crate::storage::simulated::inode::Inode;

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
        self.inodes.get(inode).map_or(&[], Inode::bytes)
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
        self.inode(inode).write(position, bytes);
        Ok(())
    }

    pub(super) fn set_len(&mut self, inode: usize, len: usize) -> io::Result<()> {
        self.take_space(inode, len)?;
        self.inode(inode).set_len(len);
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

    pub(super) fn inode(&mut self, inode: usize) -> &mut Inode {
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
