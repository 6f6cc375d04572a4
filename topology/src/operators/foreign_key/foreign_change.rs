//! The right side of a foreign-key join: a change goes to every row that is registered for it.

use std::cell::RefCell;
use std::marker::PhantomData;
use std::rc::Rc;
use std::sync::Arc;

use crate::context::{Context, Step};
use crate::error::BoxError;
use crate::error_handler::FailureKind;
use crate::graph::node::NodeFactory;
use crate::operators::foreign_key::messages::{Registration, RegistrationSerde, Response};
use crate::operators::foreign_key::subscribe::{SubscriptionOptions, prefix};
use crate::processor::{AnyReceiver, Outputs, Receiver};
use crate::record::{Change, Record};
use crate::serdes::Serde;
use crate::store::bytes_store::BytesStore;

struct ForeignChange<K, F, V2> {
    options: Arc<SubscriptionOptions<K, F>>,
    value_serde: RegistrationSerde<K>,
    store: Rc<RefCell<BytesStore>>,
    outputs: Outputs<K, Response<V2>>,
    input: PhantomData<fn(F)>,
}

/// Builds the node that sends changes of the right side to the rows of the left side.
pub(crate) fn factory<K, F, V2>(options: SubscriptionOptions<K, F>) -> NodeFactory
where
    K: Clone + 'static,
    F: 'static,
    V2: Clone + 'static,
{
    let options = Arc::new(options);
    Arc::new(move |parts| {
        AnyReceiver::new(ForeignChange::<K, F, V2> {
            store: parts.store(&options.store),
            value_serde: RegistrationSerde(Arc::clone(&options.primary_key_serde)),
            outputs: parts.outputs(),
            options: Arc::clone(&options),
            input: PhantomData,
        })
    })
}

impl<K, F, V2> Receiver<F, Change<V2>> for ForeignChange<K, F, V2>
where
    K: Clone + 'static,
    F: 'static,
    V2: Clone + 'static,
{
    fn receive(&mut self, record: Record<F, Change<V2>>, context: &mut Context) -> Step {
        context.enter(self.options.node);
        let Record { key, value: change, timestamp, headers } = record;
        if !change.is_latest {
            return Ok(());
        }
        let registered = match self.registered(&key) {
            Ok(registered) => registered,
            Err(reason) => return context.fail(FailureKind::Processing, reason),
        };
        for Registration { hash, primary_key: key, primary_partition, .. } in registered {
            let value = Response { hash, foreign: change.new.clone(), primary_partition };
            let headers = headers.clone();
            self.outputs.forward(Record { key, value, timestamp, headers }, context)?;
        }
        Ok(())
    }
}

impl<K: 'static, F: 'static, V2> ForeignChange<K, F, V2> {
    fn registered(&self, foreign_key: &F) -> Result<Vec<Registration<K>>, BoxError> {
        let prefix = prefix(&*self.options.foreign_key_serde, foreign_key)?;
        let store = self.store.borrow();
        store
            .prefix_scan(&prefix)
            .map(|(_, row)| self.value_serde.deserialize(&row.value))
            .collect()
    }
}
