//! Answers back at the left side of a foreign-key join: joined if they are about the current row.

use std::sync::Arc;

use crate::context::{Context, Step};
use crate::error::BoxError;
use crate::error_handler::FailureKind;
use crate::graph::node::NodeFactory;
use crate::metrics::DropReason;
use crate::operators::foreign_key::messages::{Response, RowHash, row_hash};
use crate::operators::value_getter::{ValueGetter, View};
use crate::processor::{AnyReceiver, Outputs, Receiver};
use crate::record::Record;
use crate::serdes::SerdeRef;
use crate::types::NodeId;

/// What the end of the join needs beside its closure.
pub(crate) struct ResolveOptions<K, V> {
    pub(crate) node: NodeId,
    pub(crate) value_serde: SerdeRef<V>,
    pub(crate) left: View<K, V>,
}

struct Resolve<K, V, R, J> {
    options: Arc<ResolveOptions<K, V>>,
    rows: Box<dyn ValueGetter<K, V>>,
    join: Arc<J>,
    outputs: Outputs<K, Option<R>>,
}

/// Builds the node that joins answers with the rows of the left side; `join` gives the row, or
/// `None` where there is none. Answers about a row of before are dropped and counted.
pub(crate) fn factory<K, V, V2, R, J>(options: ResolveOptions<K, V>, join: J) -> NodeFactory
where
    K: Clone + 'static,
    V: 'static,
    V2: 'static,
    R: Clone + 'static,
    J: Fn(&K, V, Option<V2>) -> Option<R> + Send + Sync + 'static,
{
    let (options, join) = (Arc::new(options), Arc::new(join));
    Arc::new(move |parts| {
        AnyReceiver::new::<K, Response<V2>>(Resolve {
            rows: options.left.open(parts),
            options: Arc::clone(&options),
            join: Arc::clone(&join),
            outputs: parts.outputs(),
        })
    })
}

impl<K, V, V2, R, J> Receiver<K, Response<V2>> for Resolve<K, V, R, J>
where
    K: Clone,
    V: 'static,
    R: Clone,
    J: Fn(&K, V, Option<V2>) -> Option<R>,
{
    fn receive(&mut self, record: Record<K, Response<V2>>, context: &mut Context) -> Step {
        context.enter(self.options.node);
        let Record { key, value: response, timestamp, headers } = record;
        let row = self.rows.get(&key).map(|row| row.value);
        match self.hash(row.as_ref()) {
            Ok(hash) if hash == response.hash => {}
            Ok(_) => {
                context.drop_record(DropReason::Stale);
                return Ok(());
            }
            Err(reason) => return context.fail(FailureKind::Processing, reason),
        }
        let value = row.and_then(|row| (self.join)(&key, row, response.foreign));
        self.outputs.forward(Record { key, value, timestamp, headers }, context)
    }
}

impl<K, V: 'static, R, J> Resolve<K, V, R, J> {
    fn hash(&self, row: Option<&V>) -> Result<Option<RowHash>, BoxError> {
        let Some(row) = row else { return Ok(None) };
        let mut bytes = Vec::new();
        self.options.value_serde.serialize(row, &mut bytes)?;
        Ok(Some(row_hash(&bytes)))
    }
}
