//! A file of the simulated disk: what readers see, what is durable, and what lies between.

use std::ops::Range;

/// What a disk writes whole.
const SECTOR_BYTES: usize = 512;

/// A file: as readers see it, as it was synced last, and what came since.
#[derive(Clone, Debug, Default)]
pub(super) struct Inode {
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

impl Inode {
    /// The bytes, as readers see them.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub(super) fn write(&mut self, position: usize, bytes: &[u8]) {
        put(&mut self.bytes, position, bytes);
        self.pending.push(Change::Write(position, bytes.to_vec()));
    }

    pub(super) fn set_len(&mut self, len: usize) {
        self.bytes.resize(len, 0);
        // The system forgets what it knew of what is cut off.
        self.sectors.truncate(len.div_ceil(SECTOR_BYTES));
        self.pending.push(Change::Length(len));
    }

    pub(super) fn sync(&mut self) {
        self.flush(|| true);
    }

    /// The disk never gets what was not synced, though readers still see it.
    pub(super) fn fail_sync(&mut self) {
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

    /// Makes durable what readers see there, whatever has failed before.
    pub(super) fn settle(&mut self, position: usize, len: usize) {
        self.sync();
        self.forget_failures(position..position + len);
        let seen = self.bytes.get(position..position + len).unwrap_or_default().to_vec();
        self.write(position, &seen);
        self.sync();
    }

    /// Fills bytes with zeros, and forgets what has failed in whole sectors of them. The sector in
    /// which they begin is dropped from the page cache, as some file systems do.
    pub(super) fn clear(&mut self, position: usize, len: usize) {
        self.drop_sector_of(position);
        self.write(position, &vec![0; len]);
        let mut end = position + len;
        // The last sector of the file ends with it.
        if end < self.bytes.len() {
            end -= end % SECTOR_BYTES;
        }
        self.forget_failures(position.next_multiple_of(SECTOR_BYTES)..end);
    }

    pub(super) fn lose_power(&mut self, odds: usize, choose: &mut impl FnMut(usize) -> usize) {
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
