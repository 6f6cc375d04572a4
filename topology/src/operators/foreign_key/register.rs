//! The left side of a foreign-key join: each change is registered with the old and the new key.

use std::marker::PhantomData;
use std::sync::Arc;

use crate::context::{Context, Step};
use crate::error::BoxError;
use crate::error_handler::FailureKind;
use crate::graph::node::NodeFactory;
use crate::metrics::DropReason;
use crate::operators::foreign_key::messages::{Instruction, Registration, row_hash};
use crate::processor::{AnyReceiver, Outputs, Receiver};
use crate::record::{Change, Record};
use crate::serdes::SerdeRef;
use crate::types::NodeId;

/// What the left side needs beside its closure.
pub(crate) struct RegisterOptions<V, F> {
    pub(crate) node: NodeId,
    pub(crate) value_serde: SerdeRef<V>,
    pub(crate) foreign_key_serde: SerdeRef<F>,
    /// Whether rows without a foreign key have a result.
    pub(crate) left: bool,
}

struct Register<K, V, F, E> {
    options: Arc<RegisterOptions<V, F>>,
    extract: Arc<E>,
    outputs: Outputs<Option<F>, Registration<K>>,
    input: PhantomData<fn(K)>,
}

/// Builds the node that sends registrations.
pub(crate) fn factory<K, V, F, E>(options: RegisterOptions<V, F>, extract: E) -> NodeFactory
where
    K: Clone + 'static,
    V: 'static,
    F: Clone + 'static,
    E: Fn(&K, &V) -> Option<F> + Send + Sync + 'static,
{
    let (options, extract) = (Arc::new(options), Arc::new(extract));
    Arc::new(move |parts| {
        AnyReceiver::new(Register::<K, V, F, E> {
            options: Arc::clone(&options),
            extract: Arc::clone(&extract),
            outputs: parts.outputs(),
            input: PhantomData,
        })
    })
}

impl<K, V, F, E> Receiver<K, Change<V>> for Register<K, V, F, E>
where
    K: Clone,
    V: 'static,
    F: Clone + 'static,
    E: Fn(&K, &V) -> Option<F>,
{
    fn receive(&mut self, record: Record<K, Change<V>>, context: &mut Context) -> Step {
        context.enter(self.options.node);
        let Record { key, value: change, timestamp, headers } = record;
        if !change.is_latest {
            // Only the newest rows are joined.
            return Ok(());
        }
        let partition = context.current.task.partition;
        let messages = match self.messages(&key, &change, partition) {
            Ok(messages) => messages,
            Err(reason) => return context.fail(FailureKind::Processing, reason),
        };
        if messages.is_empty() && change.new.is_some() {
            context.drop_record(DropReason::NullKey);
        }
        for (foreign_key, value) in messages {
            let headers = headers.clone();
            self.outputs
                .forward(Record { key: foreign_key, value, timestamp, headers }, context)?;
        }
        Ok(())
    }
}

/// A registration with the foreign key that it goes to.
type Message<K, F> = (Option<F>, Registration<K>);

impl<K: Clone, V: 'static, F: Clone + 'static, E: Fn(&K, &V) -> Option<F>> Register<K, V, F, E> {
    fn messages(
        &self,
        key: &K,
        change: &Change<V>,
        primary_partition: u32,
    ) -> Result<Vec<Message<K, F>>, BoxError> {
        use Instruction::{
            DeleteKeyAndPropagate, DeleteKeyNoPropagate, PropagateNullIfNoForeignValue,
            PropagateOnlyIfForeignValue,
        };
        if change.old.is_none() && change.new.is_none() {
            return Ok(Vec::new());
        }
        let extract = |value: &Option<V>| (self.extract)(key, value.as_ref()?);
        let (old, new) = (extract(&change.old), extract(&change.new));
        let moved = match (&old, &new) {
            (Some(old), Some(new)) => self.bytes(old)? != self.bytes(new)?,
            _ => true,
        };
        let mut messages = Vec::new();
        if self.options.left {
            if let Some(old) = old.filter(|_| moved) {
                messages.push((Some(old), DeleteKeyNoPropagate));
            }
            messages.push((new, PropagateNullIfNoForeignValue));
        } else {
            match (old, new) {
                (None, None) => {}
                (None, new) => messages.push((new, PropagateOnlyIfForeignValue)),
                (old, None) => messages.push((old, DeleteKeyAndPropagate)),
                (old, new) if moved => {
                    messages.push((old, DeleteKeyNoPropagate));
                    // What the old key has given is void, whether the new one gives something
                    // or not.
                    messages.push((new, PropagateNullIfNoForeignValue));
                }
                (_, new) => messages.push((new, PropagateOnlyIfForeignValue)),
            }
        }
        let hash = match &change.new {
            Some(value) => {
                let mut bytes = Vec::new();
                self.options.value_serde.serialize(value, &mut bytes)?;
                Some(row_hash(&bytes))
            }
            None => None,
        };
        let register = |(foreign_key, instruction)| {
            let primary_key = key.clone();
            (foreign_key, Registration { hash, instruction, primary_key, primary_partition })
        };
        Ok(messages.into_iter().map(register).collect())
    }

    fn bytes(&self, key: &F) -> Result<Vec<u8>, BoxError> {
        let mut bytes = Vec::new();
        self.options.foreign_key_serde.serialize(key, &mut bytes)?;
        Ok(bytes)
    }
}
