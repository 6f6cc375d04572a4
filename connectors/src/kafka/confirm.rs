//! Where a partition ends for a reader of what was committed.
//!
//! The last offsets of a partition may be marks of transactions, which are no records. librdkafka
//! says that a fetch has come to the end, not at which offset. So whoever wants to know gets it in
//! two steps: the end is asked for, and after that the fetch is begun anew; when it comes to the
//! end without a record, all before the end that was asked for is read.

use std::time::Duration;

use headwater_log_store::Result;

use crate::kafka::cluster::Cluster;
use crate::kafka::partition::Assigned;

/// How long the end is not looked at again, while a transaction holds it back.
const LOOK_INTERVAL: Duration = Duration::from_millis(50);
/// How long a lag that was asked for stays good enough.
const LAG_INTERVAL: Duration = Duration::from_secs(5);

impl Assigned {
    /// Looks for the end, if somebody has asked for the position there.
    pub(super) fn confirm_end(&mut self, cluster: &Cluster) -> Result<()> {
        if !self.at_end || !self.asked.get() || self.confirming.is_some() {
            return Ok(());
        }
        let now = cluster.now();
        if self.looked.is_some_and(|looked| now.saturating_sub(looked) < LOOK_INTERVAL) {
            return Ok(());
        }
        self.looked = Some(now);
        let Some(position) = self.position else { return Ok(()) };
        let end = cluster.stable_watermarks(&self.topic_partition)?.end;
        if end > position {
            self.confirming = Some(end);
            self.at_end = false;
            self.restart = true;
        }
        Ok(())
    }

    /// How many offsets lie ahead; none after a fetch that came to the end.
    pub(super) fn lag(&self, cluster: &Cluster) -> Result<Option<u64>> {
        let Some(position) = self.position else { return Ok(None) };
        if self.at_end {
            return Ok(Some(0));
        }
        let now = cluster.now();
        let known = self.known_end.get();
        let known = known.filter(|(asked, _)| now.saturating_sub(*asked) < LAG_INTERVAL);
        let end = match known {
            Some((_, end)) => end,
            None => {
                let end = cluster.stable_watermarks(&self.topic_partition)?.end;
                self.known_end.set(Some((now, end)));
                end
            }
        };
        Ok(Some(end - position))
    }
}
