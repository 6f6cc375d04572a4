//! Reads a segment only to see whether it is still what was written.

use crate::batch::{BatchHeader, Fault, HEADER_BYTES, Place};
use crate::error::{Error, Result};
use crate::segment::position::SegmentEnd;
use crate::segment::state::Segment;
use crate::types::TopicPartition;

/// How far a look at a segment went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Scrubbed {
    /// Where the next one begins.
    pub(crate) end: SegmentEnd,
    /// How many batches were looked at.
    pub(crate) batches: u64,
}

impl Segment {
    /// Checks the batches from `begin` on, each with all of its checksums and its place behind the
    /// one before, until `bytes_max` are looked at; at least one, up to the end of what is published.
    ///
    /// # Errors
    /// `Corrupt` for the first batch that is not what was written, or a failed system call.
    pub(crate) fn scrub(
        &self,
        begin: SegmentEnd,
        bytes_max: u32,
        place: &Place,
        topic_partition: &TopicPartition,
    ) -> Result<Scrubbed> {
        let end = self.end();
        let mut scrubbed = Scrubbed { end: begin, batches: 0 };
        while scrubbed.end.position < end.position {
            if scrubbed.end.position - begin.position >= bytes_max {
                return Ok(scrubbed);
            }
            let at = scrubbed.end;
            scrubbed.end = self.scrub_batch(at, end, place).map_err(|unsound| match unsound {
                Unsound::Damaged(fault) => {
                    let offset = self.base() + u64::from(at.relative_offset);
                    self.corrupt(topic_partition, offset, at.position, &fault)
                }
                Unsound::Unreadable(source) => Error::io("read", self.path(), source),
            })?;
            scrubbed.batches += 1;
        }
        if self.is_dense() && scrubbed.end != end {
            let fault = Fault::Header("its last offset is not the one that the checkpoint says");
            let at = scrubbed.end;
            let offset = self.base() + u64::from(at.relative_offset);
            return Err(self.corrupt(topic_partition, offset, at.position, &fault));
        }
        Ok(Scrubbed { end, ..scrubbed })
    }

    fn scrub_batch(
        &self,
        at: SegmentEnd,
        end: SegmentEnd,
        place: &Place,
    ) -> Result<SegmentEnd, Unsound> {
        let available = (end.position - at.position) as usize;
        let read = |len: usize| {
            // Never through a mapping: a sector that cannot be read would end the process.
            self.file().read_copy(u64::from(at.position), len).map_err(Unsound::Unreadable)
        };
        let header = BatchHeader::parse(&read(HEADER_BYTES.min(available))?)?;
        if header.bytes_len > available {
            return Err(Fault::Truncated.into());
        }
        header.verify(&read(header.bytes_len)?, place)?;
        let expected = self.base() + u64::from(at.relative_offset);
        let follows = match self.is_dense() {
            true => header.base_offset == expected,
            false => header.base_offset >= expected,
        };
        if !follows {
            return Err(Fault::Header("its offset does not follow the batch before").into());
        }
        let next = u32::try_from(header.next_offset() - self.base()).ok();
        let position =
            u32::try_from(header.bytes_len).ok().and_then(|len| at.position.checked_add(len));
        match next.zip(position) {
            Some((relative_offset, position)) => Ok(SegmentEnd { relative_offset, position }),
            None => Err(Fault::Header("its offsets are past those of its segment").into()),
        }
    }
}

enum Unsound {
    Damaged(Fault),
    Unreadable(std::io::Error),
}

impl From<Fault> for Unsound {
    fn from(fault: Fault) -> Self {
        Self::Damaged(fault)
    }
}
