//! The segments that a compaction writes.

use std::sync::Arc;

use crate::batch::BatchHeader;
use crate::error::{Error, Result};
use crate::partition::Partition;
use crate::segment::{Publication, Segment, SegmentEnd, SegmentId, SegmentSpec};
use crate::storage::{OpenMode, Storage};
use crate::types::{Offset, Timestamp};

/// New segments in the place of old ones, which nobody knows until a checkpoint does.
pub(super) struct Output<'a> {
    storage: &'a dyn Storage,
    partition: &'a Partition,
    /// What tells their files from those that they replace.
    revision: u32,
    segment_bytes: u32,
    /// The latest append to what they replace.
    append_time: Timestamp,
    /// When they are compacted; none while what is written was not compacted.
    clean_since: Option<Timestamp>,
    segments: Vec<Arc<Segment>>,
}

impl<'a> Output<'a> {
    /// An output in the place of `inputs`.
    pub(super) fn new(
        storage: &'a dyn Storage,
        partition: &'a Partition,
        inputs: &[Arc<Segment>],
        now: Timestamp,
    ) -> Self {
        let revision = inputs.iter().map(|segment| segment.id().revision).max();
        let append_time = inputs.iter().map(|segment| segment.append_time()).max();
        Self {
            storage,
            partition,
            revision: revision.unwrap_or_default() + 1,
            segment_bytes: partition.config().segment_bytes,
            append_time: append_time.unwrap_or_default(),
            clean_since: Some(now),
            segments: Vec::new(),
        }
    }

    /// Goes on in a new segment whose batches come as they were.
    pub(super) fn go_on_dirty(&mut self, base: Offset) -> Result<()> {
        self.finish_last(base)?;
        self.clean_since = None;
        self.begin(base)
    }

    /// Adds a batch, which is placed already.
    pub(super) fn push(&mut self, header: &BatchHeader, bytes: &[u8]) -> Result<()> {
        let len = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        let written = self.last().end().position;
        if written > 0 && written.saturating_add(len) > self.segment_bytes {
            self.finish_last(header.base_offset)?;
            self.begin(header.base_offset)?;
        }
        let segment = self.last();
        let position = segment.end().position;
        let relative = |offset: Offset| {
            let relative = u32::try_from(offset - segment.base());
            relative.expect("segments are put together by how many offsets they take")
        };
        let begin = SegmentEnd { relative_offset: relative(header.base_offset), position };
        let relative_offset = relative(header.next_offset());
        let end = SegmentEnd { relative_offset, position: position + len };
        segment.reserve(end.position, self.segment_bytes)?;
        segment.write(position, bytes)?;
        let (max_timestamp, append_time) = (header.max_timestamp, self.append_time);
        segment.publish(&Publication { begin, end, max_timestamp, append_time });
        Ok(())
    }

    /// Makes all of it durable; it goes up to `end`.
    pub(super) fn finish(&self, end: Offset) -> Result<()> {
        self.finish_last(end)?;
        let dir = &self.partition.dir;
        self.storage.sync_dir(dir).map_err(|e| Error::io("sync", dir, e))
    }

    /// What was written.
    pub(super) fn into_segments(self) -> Vec<Arc<Segment>> {
        self.segments
    }

    /// Removes what was written.
    pub(super) fn abandon(self) {
        for segment in &self.segments {
            if let Err(error) = segment.remove_files(self.storage) {
                let path = segment.path().display();
                tracing::warn!(%path, %error, "what an abandoned compaction wrote is left over");
            }
        }
    }

    fn last(&self) -> &Segment {
        self.segments.last().expect("an output begins with a segment")
    }

    /// Begins a segment.
    pub(super) fn begin(&mut self, base: Offset) -> Result<()> {
        let spec = SegmentSpec {
            id: SegmentId { base, revision: self.revision },
            clean_since: self.clean_since,
            ..SegmentSpec::empty(base)
        };
        let interval = self.partition.config().index_interval_bytes;
        let segment =
            Segment::open(self.storage, &self.partition.dir, &spec, OpenMode::Create, interval)?;
        // A file of this name can only be left over from a compaction that was abandoned.
        segment.trim()?;
        segment.note_append(self.append_time);
        self.segments.push(Arc::new(segment));
        Ok(())
    }

    /// Ends the last segment where the next begins, though its last batches may be gone.
    fn finish_last(&self, end: Offset) -> Result<()> {
        let segment = self.last();
        let position = segment.end().position;
        let relative = u32::try_from(end - segment.base());
        let relative_offset =
            relative.expect("segments are put together by how many offsets they take");
        segment.extend(SegmentEnd { relative_offset, position });
        segment.trim()?;
        segment.sync_published()?;
        segment.save_index(self.storage, &self.partition.place);
        Ok(())
    }
}
