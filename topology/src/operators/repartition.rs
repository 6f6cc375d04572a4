//! The step before a repartition topic: records without a key have no partition and are dropped,
//! unless an operator below has a use for them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::context::{Context, Step};
use crate::graph::node::NodeFactory;
use crate::metrics::DropReason;
use crate::processor::{AnyReceiver, Outputs, Receiver};
use crate::record::Record;
use crate::serdes::SerdeRef;

struct KeyFilter<K, V> {
    key_serde: SerdeRef<K>,
    null_keys_pass: bool,
    outputs: Outputs<K, V>,
}

/// Builds a node that drops records whose key is null, unless `null_keys_pass` is set by the time
/// the topology is complete.
pub(crate) fn key_filter<K: Clone + 'static, V: Clone + 'static>(
    key_serde: SerdeRef<K>,
    null_keys_pass: Arc<AtomicBool>,
) -> NodeFactory {
    Arc::new(move |parts| {
        let outputs = parts.outputs::<K, V>();
        AnyReceiver::new(KeyFilter {
            key_serde: Arc::clone(&key_serde),
            null_keys_pass: null_keys_pass.load(Ordering::Relaxed),
            outputs,
        })
    })
}

impl<K: Clone + 'static, V: Clone> Receiver<K, V> for KeyFilter<K, V> {
    fn receive(&mut self, record: Record<K, V>, context: &mut Context) -> Step {
        self.receive_from(&mut Some(record), context)
    }

    fn receive_from(&mut self, slot: &mut Option<Record<K, V>>, context: &mut Context) -> Step {
        let is_null = |record: &Record<K, V>| self.key_serde.is_null(&record.key);
        if !self.null_keys_pass && slot.as_ref().is_some_and(is_null) {
            context.drop_record(DropReason::NullKey);
            return Ok(());
        }
        self.outputs.forward_from(slot, context)
    }
}
