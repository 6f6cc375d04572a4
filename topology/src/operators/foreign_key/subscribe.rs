//! Registrations at the task of their foreign key: remembered in a store, then answered with the
//! current row.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use crate::context::{Context, Step};
use crate::error::BoxError;
use crate::error_handler::FailureKind;
use crate::graph::node::NodeFactory;
use crate::metrics::DropReason;
use crate::operators::foreign_key::messages::{
    Instruction, Registration, RegistrationSerde, Response,
};
use crate::operators::value_getter::{ValueGetter, View};
use crate::processor::{AnyReceiver, Outputs, Receiver};
use crate::record::Record;
use crate::serdes::{Serde, SerdeRef};
use crate::store::bytes_store::{BytesRow, BytesStore};
use crate::types::NodeId;

/// The bytes that all subscriptions of a foreign key begin with: its length and itself.
pub(crate) fn prefix<F: 'static>(
    serde: &dyn Serde<F>,
    foreign_key: &F,
) -> Result<Vec<u8>, BoxError> {
    let mut bytes = vec![0; 4];
    serde.serialize(foreign_key, &mut bytes)?;
    let length = u32::try_from(bytes.len() - 4)?;
    let (head, _) = bytes.split_first_chunk_mut::<4>().expect("it began with 4 bytes");
    *head = length.to_be_bytes();
    Ok(bytes)
}

/// What the store of subscriptions needs.
pub(crate) struct SubscriptionOptions<K, F> {
    pub(crate) node: NodeId,
    pub(crate) store: String,
    pub(crate) foreign_key_serde: SerdeRef<F>,
    pub(crate) primary_key_serde: SerdeRef<K>,
}

struct Receive<K, F> {
    options: Arc<SubscriptionOptions<K, F>>,
    value_serde: RegistrationSerde<K>,
    store: Rc<RefCell<BytesStore>>,
    outputs: Outputs<Option<F>, Registration<K>>,
}

/// Builds the node that remembers registrations.
pub(crate) fn receive<K, F>(options: SubscriptionOptions<K, F>) -> NodeFactory
where
    K: Clone + 'static,
    F: Clone + 'static,
{
    let options = Arc::new(options);
    Arc::new(move |parts| {
        AnyReceiver::new(Receive {
            store: parts.store(&options.store),
            value_serde: RegistrationSerde(Arc::clone(&options.primary_key_serde)),
            outputs: parts.outputs(),
            options: Arc::clone(&options),
        })
    })
}

impl<K: Clone + 'static, F: Clone + 'static> Receiver<Option<F>, Registration<K>>
    for Receive<K, F>
{
    fn receive(
        &mut self,
        record: Record<Option<F>, Registration<K>>,
        context: &mut Context,
    ) -> Step {
        context.enter(self.options.node);
        match &record.key {
            Some(foreign_key) => {
                if let Err(reason) = self.remember(foreign_key, &record) {
                    return context.fail(FailureKind::Processing, reason);
                }
            }
            None if record.value.instruction == Instruction::PropagateNullIfNoForeignValue => {}
            None => {
                context.drop_record(DropReason::NullKey);
                return Ok(());
            }
        }
        self.outputs.forward(record, context)
    }
}

impl<K: 'static, F: 'static> Receive<K, F> {
    fn remember(
        &self,
        foreign_key: &F,
        record: &Record<Option<F>, Registration<K>>,
    ) -> Result<(), BoxError> {
        let mut key = prefix(&*self.options.foreign_key_serde, foreign_key)?;
        self.options.primary_key_serde.serialize(&record.value.primary_key, &mut key)?;
        let row = match record.value.instruction {
            Instruction::DeleteKeyNoPropagate | Instruction::DeleteKeyAndPropagate => None,
            Instruction::PropagateNullIfNoForeignValue
            | Instruction::PropagateOnlyIfForeignValue => {
                let mut value = Vec::new();
                self.value_serde.serialize(&record.value, &mut value)?;
                Some(BytesRow { value, timestamp: record.timestamp })
            }
        };
        self.store.borrow_mut().put(&key, row);
        Ok(())
    }
}

struct Answer<K, F, V2> {
    node: NodeId,
    rows: Box<dyn ValueGetter<F, V2>>,
    outputs: Outputs<K, Response<V2>>,
}

/// Builds the node that answers registrations with the rows of the right side.
pub(crate) fn answer<K, F, V2>(node: NodeId, right: View<F, V2>) -> NodeFactory
where
    K: Clone + 'static,
    F: 'static,
    V2: Clone + 'static,
{
    Arc::new(move |parts| {
        AnyReceiver::new(Answer::<K, F, V2> {
            node,
            rows: right.open(parts),
            outputs: parts.outputs(),
        })
    })
}

impl<K: Clone, F, V2: Clone> Receiver<Option<F>, Registration<K>> for Answer<K, F, V2> {
    fn receive(
        &mut self,
        record: Record<Option<F>, Registration<K>>,
        context: &mut Context,
    ) -> Step {
        context.enter(self.node);
        let Record { key: foreign_key, value: registration, timestamp, headers } = record;
        let row = foreign_key.and_then(|foreign_key| self.rows.get(&foreign_key));
        let timestamp = row.as_ref().map_or(timestamp, |row| timestamp.max(row.timestamp));
        let found = row.map(|row| row.value);
        let foreign = match registration.instruction {
            Instruction::DeleteKeyNoPropagate => return Ok(()),
            Instruction::PropagateOnlyIfForeignValue if found.is_none() => return Ok(()),
            Instruction::DeleteKeyAndPropagate => None,
            Instruction::PropagateNullIfNoForeignValue
            | Instruction::PropagateOnlyIfForeignValue => found,
        };
        let Registration { hash, primary_key: key, primary_partition, .. } = registration;
        let value = Response { hash, foreign, primary_partition };
        self.outputs.forward(Record { key, value, timestamp, headers }, context)
    }
}
