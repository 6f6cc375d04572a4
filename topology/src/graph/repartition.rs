//! The repartition steps of a graph in the making: which are there already, and which let records
//! without a key pass.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::types::NodeId;

/// A repartition step: from the node above it to the source that reads its topic.
#[derive(Debug)]
struct Repartition {
    above: NodeId,
    topic: String,
    null_keys_pass: Arc<AtomicBool>,
}

/// The steps by their sources.
#[derive(Debug, Default)]
pub(crate) struct Repartitions(BTreeMap<NodeId, Repartition>);

impl Repartitions {
    /// The source of a step that takes the records of that node through that topic.
    pub(crate) fn find(&self, above: NodeId, topic: &str) -> Option<NodeId> {
        let mut steps = self.0.iter();
        let step = steps.find(|(_, step)| step.above == above && step.topic == topic);
        step.map(|(source, _)| *source)
    }

    pub(crate) fn add(
        &mut self,
        source: NodeId,
        above: NodeId,
        topic: String,
        null_keys_pass: Arc<AtomicBool>,
    ) {
        self.0.insert(source, Repartition { above, topic, null_keys_pass });
    }

    /// Lets null keys pass the step with that source, because an operator below has a use for
    /// them. Returns the node above the step.
    pub(crate) fn let_null_keys_pass(&self, source: NodeId) -> Option<NodeId> {
        let step = self.0.get(&source)?;
        step.null_keys_pass.store(true, Ordering::Relaxed);
        Some(step.above)
    }
}
