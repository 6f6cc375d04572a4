//! Consumer groups: how far each has come, who is in it and who takes what.
mod offsets;
mod assignment;
mod membership;
mod coordinator;
mod reset;

pub(crate) use coordinator::{CommitGuard, Coordinator};
pub(crate) use membership::{GroupView, JoinRequest, Step};
pub(crate) use offsets::{OffsetCommit, OffsetsCache};
pub use reset::{OffsetReset, OffsetResetPlan, PartitionReset, ResetNote};
