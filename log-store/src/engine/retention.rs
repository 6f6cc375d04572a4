//! Drops the segments that retention has chosen.

use std::sync::Arc;
use std::time::Duration;

use crate::engine::state::{Engine, Writer};
use crate::error::{Error, Result};
use crate::partition::Partition;
use crate::retention::{RetainedSegment, expired, is_expired};
use crate::segment::Segment;
use crate::types::Timestamp;

/// A wall clock that moved this much more or less than the monotonic one was set by somebody. Far
/// less than an hour, by which clocks are set wrongly most often.
const CLOCK_JUMP_MAX: Duration = Duration::from_secs(10 * 60);

impl Engine {
    /// Drops what is past its time or size, in all topics, and returns how many segments went.
    pub(crate) fn enforce_retention(&self) -> Result<usize> {
        let writer = self.writer("enforce_retention")?;
        writer.check("enforce_retention")?;
        let now = self.clock.now();
        if !self.trusts_clock(writer, now) {
            tracing::warn!(store = %self.dir.display(), "the clock was set: retention waits");
            return Ok(0);
        }
        let mut dropped = 0;
        for topic in self.topics() {
            for partition in &topic.partitions {
                dropped += self.retain(writer, partition, now)?;
            }
        }
        let kept = writer.reserve.keep(&*self.storage);
        kept.map_err(|error| writer.poison_after_sync(error))?;
        Ok(dropped)
    }

    fn retain(&self, writer: &Writer, partition: &Partition, now: Timestamp) -> Result<usize> {
        match self.seal_if_expired(writer, partition, now) {
            // There may be room for it once other segments are gone.
            Err(Error::DiskFull { .. }) => {
                let dropped = self.drop_expired(writer, partition, now)?;
                match self.seal_if_expired(writer, partition, now) {
                    Err(Error::DiskFull { .. }) => Ok(dropped),
                    sealed => sealed
                        .and_then(|()| self.drop_expired(writer, partition, now))
                        .map(|more| dropped + more),
                }
            }
            sealed => sealed.and_then(|()| self.drop_expired(writer, partition, now)),
        }
    }

    fn drop_expired(
        &self,
        writer: &Writer,
        partition: &Partition,
        now: Timestamp,
    ) -> Result<usize> {
        let mut segments = partition.segments();
        let Some(active) = segments.pop() else { return Ok(0) };
        let retained: Vec<_> = segments.iter().map(facts).collect();
        // A segment may have been sealed after its last record was deleted.
        let start = partition.start();
        let deleted = segments.iter().take_while(|segment| segment.end_offset() <= start).count();
        let count = expired(&retained, facts(&active).bytes, now, &partition.config()).max(deleted);
        let Some(last) = count.checked_sub(1).and_then(|last| segments.get(last)) else {
            return Ok(0);
        };
        if count > deleted {
            self.delete_records(partition, last.end_offset())?;
        } else {
            let _admin = writer.admin.lock();
            writer.check("enforce_retention")?;
            self.drop_before_start(writer, partition)?;
        }
        Ok(count)
    }

    /// A partition that nobody appends to any more loses its records too, in time.
    fn seal_if_expired(
        &self,
        writer: &Writer,
        partition: &Partition,
        now: Timestamp,
    ) -> Result<()> {
        let config = partition.config();
        let mut appender = partition.appender.lock();
        let active = facts(&appender.active);
        let idle = active.bytes > 0 && appender.next == appender.active.end();
        if idle && !appender.closed && config.delete && is_expired(&active, now, &config) {
            writer.reserve.lend(|| self.roll(writer, partition, &mut appender))?;
        }
        Ok(())
    }

    /// Whether the wall clock has gone on as the monotonic one since the last time; if not, it is
    /// believed again the next time.
    fn trusts_clock(&self, writer: &Writer, now: Timestamp) -> bool {
        let monotonic = self.clock.monotonic();
        let last = writer.work.lock().retained_at.replace((now, monotonic));
        last.is_none_or(|(wall, mono)| {
            let wall_ms = i128::from(now.as_millis()) - i128::from(wall.as_millis());
            let mono_ms = monotonic.saturating_sub(mono).as_millis();
            let mono_ms = i128::try_from(mono_ms).unwrap_or(i128::MAX);
            wall_ms.saturating_sub(mono_ms).unsigned_abs() <= CLOCK_JUMP_MAX.as_millis()
        })
    }
}

fn facts(segment: &Arc<Segment>) -> RetainedSegment {
    RetainedSegment { bytes: u64::from(segment.end().position), append_time: segment.append_time() }
}
