//! Which calls to the simulated file system fail, and how.

use std::io;

/// Which calls fail, and with what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CallFault {
    /// The number of the call, counted from 1, as [`SimulatedStorage::calls`] counts.
    ///
    /// [`SimulatedStorage::calls`]: crate::SimulatedStorage::calls
    pub at: u64,
    /// Whether all later ones fail too.
    pub from_then_on: bool,
    /// What they fail with.
    pub kind: io::ErrorKind,
}

/// Which calls do something else than they should.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CallEffect {
    /// The number of the call, counted from 1, as [`SimulatedStorage::calls`] counts.
    ///
    /// [`SimulatedStorage::calls`]: crate::SimulatedStorage::calls
    pub at: u64,
    /// Whether all later ones do so too.
    pub from_then_on: bool,
    /// What they do.
    pub effect: Effect,
}

/// What a call does instead of what it should. Calls that an effect is not for do as usual.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Effect {
    /// Every call: it fails with this. Half of what was to be written is there; a sync that fails
    /// once has dropped what it was to make durable, though readers go on seeing it.
    Fails(io::ErrorKind),
    /// Writes: all but the last byte is written, then they fail.
    WritesShort,
    /// Reads: the file ends too early.
    ReadsShort,
    /// Syncs of files and folders: as [`Fails`](Self::Fails).
    FailsToSync,
    /// Syncs of files and folders: they say that all is well and have done nothing.
    LiesAboutSync,
    /// Every call: it panics.
    Panics,
}

/// What was called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum CallKind {
    /// A file was opened or made.
    Open,
    /// Bytes were read.
    Read,
    /// Bytes were written.
    Write,
    /// Space was reserved.
    Reserve,
    /// A file was cut.
    Truncate,
    /// A file was synced.
    Sync,
    /// A folder was synced.
    SyncDir,
    /// Anything else: names were listed or changed, or the lock taken.
    Names,
}

/// How a call goes on.
#[derive(Debug)]
pub(super) enum Verdict {
    AsUsual,
    Lies,
    Fails(io::Error),
}

impl From<CallFault> for CallEffect {
    fn from(CallFault { at, from_then_on, kind }: CallFault) -> Self {
        Self { at, from_then_on, effect: Effect::Fails(kind) }
    }
}

impl Effect {
    /// Whether a call of this kind does something else under it.
    #[must_use]
    pub fn is_for(self, kind: CallKind) -> bool {
        match self {
            Self::Fails(_) | Self::Panics => true,
            Self::WritesShort => kind == CallKind::Write,
            Self::ReadsShort => kind == CallKind::Read,
            Self::FailsToSync | Self::LiesAboutSync => {
                matches!(kind, CallKind::Sync | CallKind::SyncDir)
            }
        }
    }
}

impl CallEffect {
    /// What becomes of the call of this number.
    ///
    /// # Panics
    /// If that is the effect.
    pub(super) fn judge(&self, call: u64, kind: CallKind) -> Verdict {
        let hit = call == self.at || (call > self.at && self.from_then_on);
        if !hit || !self.effect.is_for(kind) {
            return Verdict::AsUsual;
        }
        let fails = |kind| Verdict::Fails(io::Error::new(kind, format!("injected at call {call}")));
        match self.effect {
            Effect::Fails(kind) => fails(kind),
            Effect::WritesShort => fails(io::ErrorKind::WriteZero),
            Effect::ReadsShort => fails(io::ErrorKind::UnexpectedEof),
            Effect::FailsToSync => fails(io::ErrorKind::Other),
            Effect::LiesAboutSync => Verdict::Lies,
            Effect::Panics => panic!("injected at call {call}"),
        }
    }
}
