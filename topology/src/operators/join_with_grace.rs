//! Lets the records of a stream wait for the rows of a versioned table before they are joined.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use crate::context::{Context, Step};
use crate::error_handler::FailureKind;
use crate::graph::node::NodeFactory;
use crate::processor::{AnyReceiver, Receiver};
use crate::record::Record;
use crate::serdes::SerdeRef;
use crate::store::join_buffer::JoinBuffer;
use crate::types::NodeId;

/// What a join needs to let records wait.
pub(crate) struct GraceOptions<K, V> {
    pub(crate) node: NodeId,
    pub(crate) store: String,
    pub(crate) key_serde: SerdeRef<K>,
    pub(crate) value_serde: SerdeRef<V>,
    pub(crate) left: bool,
    pub(crate) kafka_compat: bool,
}

struct JoinWithGrace<K, V> {
    options: Arc<GraceOptions<K, V>>,
    buffer: Rc<RefCell<JoinBuffer<K, V>>>,
    join: Box<dyn Receiver<K, V>>,
}

/// Builds a node that passes records on to `join` when they have waited. Null keys and null values
/// do not wait.
pub(crate) fn factory<K, V>(options: GraceOptions<K, V>, join: NodeFactory) -> NodeFactory
where
    K: Clone + 'static,
    V: Clone + 'static,
{
    let options = Arc::new(options);
    Arc::new(move |parts| {
        let join = join(parts).typed();
        let buffer = parts.store(&options.store);
        AnyReceiver::new(JoinWithGrace { options: Arc::clone(&options), buffer, join })
    })
}

impl<K, V> Receiver<K, V> for JoinWithGrace<K, V>
where
    K: Clone + 'static,
    V: Clone + 'static,
{
    fn receive(&mut self, record: Record<K, V>, context: &mut Context) -> Step {
        context.enter(self.options.node);
        let GraceOptions { key_serde, value_serde, left, kafka_compat, .. } = &*self.options;
        if value_serde.is_null(&record.value) {
            return self.join.receive(record, context);
        }
        if key_serde.is_null(&record.key) {
            if *left && *kafka_compat {
                return context.fail(FailureKind::Processing, "a null key cannot wait for a row");
            }
            return self.join.receive(record, context);
        }
        if self.buffer.borrow().is_late(record.timestamp) {
            return self.join.receive(record, context);
        }
        let put = self.buffer.borrow_mut().put(record);
        if let Err(reason) = put {
            return context.fail(FailureKind::Processing, reason);
        }
        loop {
            let due = self.buffer.borrow_mut().take_due();
            match due {
                Some(record) => self.join.receive(record, context)?,
                None => return Ok(()),
            }
        }
    }
}
