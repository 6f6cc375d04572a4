//! A place in a segment: between two batches.

/// A place between two batches; most often, how far a segment goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct SegmentEnd {
    /// The offset after the last one, counted from the segment's base.
    pub(crate) relative_offset: u32,
    /// The file position after the last batch.
    pub(crate) position: u32,
}

impl SegmentEnd {
    /// Both in one number, so that they change together.
    pub(crate) fn pack(self) -> u64 {
        u64::from(self.relative_offset) << 32 | u64::from(self.position)
    }

    pub(crate) fn unpack(packed: u64) -> Self {
        Self {
            relative_offset: u32::try_from(packed >> 32).expect("shifted to 32 bits"),
            position: u32::try_from(packed & u64::from(u32::MAX)).expect("masked to 32 bits"),
        }
    }
}
