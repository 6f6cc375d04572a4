//! What the handles of cogrouped streams hold. Their operations are in `cogrouped`.

use std::fmt;
use std::rc::Rc;
use std::sync::Arc;

use crate::dsl::handles::TimeWindowKind;
use crate::dsl::scope::Scope;
use crate::graph::node::NodeFactory;
use crate::operators::table_state::TableState;
use crate::operators::window_aggregate::AlignedWindows;
use crate::serdes::SerdeRef;
use crate::types::NodeId;
use crate::window::session_windows::SessionWindows;
use crate::window::sliding_windows::SlidingWindows;

/// Makes the aggregate that a key starts from.
pub(crate) type Initializer<A> = Arc<dyn Fn() -> A + Send + Sync>;

/// Makes one aggregate of two sessions'.
pub(crate) type SessionMerger<K, A> = Arc<dyn Fn(&K, A, A) -> A + Send + Sync>;

/// What the operators of a cogroup do beside calling their aggregators.
pub(crate) enum Kind<K, A> {
    Plain,
    Aligned(AlignedWindows),
    Sliding(SlidingWindows),
    Sessions(SessionWindows, SessionMerger<K, A>),
}

/// What the operators of a cogroup share.
pub(crate) struct Shared<K, A> {
    pub(crate) kind: Kind<K, A>,
    pub(crate) initializer: Initializer<A>,
    pub(crate) key_serde: SerdeRef<K>,
    pub(crate) aggregate_serde: SerdeRef<A>,
    pub(crate) state: Arc<TableState>,
}

/// One of the grouped streams, its values' type erased.
pub(crate) trait CogroupInput<K, A> {
    /// The node that the operator hangs below.
    fn parent(&self, store: &str) -> NodeId;

    /// The operator: the `operator`th of the cogroup, and the next node of the graph.
    fn factory(&self, shared: &Shared<K, A>, node: NodeId, operator: usize) -> NodeFactory;

    fn scope(&self) -> &Scope;

    fn key_serde(&self) -> SerdeRef<K>;
}

/// Several grouped streams, to be folded into one aggregate per key.
///
/// Null keys and null values are dropped and counted; in windows null values are aggregated, but
/// for sliding ones.
pub struct CogroupedKStream<K, A> {
    pub(crate) inputs: Vec<Rc<dyn CogroupInput<K, A>>>,
    pub(crate) name: Option<String>,
}

impl<K, A> Clone for CogroupedKStream<K, A> {
    fn clone(&self) -> Self {
        Self { inputs: self.inputs.clone(), name: self.name.clone() }
    }
}

impl<K, A> fmt::Debug for CogroupedKStream<K, A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CogroupedKStream")
            .field("inputs", &self.inputs.len())
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// Several streams grouped by key and window: see [`CogroupedKStream::windowed_by`].
#[derive(Debug)]
pub struct TimeWindowedCogroupedKStream<K, A> {
    pub(crate) cogrouped: CogroupedKStream<K, A>,
    pub(crate) windows: TimeWindowKind,
}

/// Several streams grouped by key and session: see [`CogroupedKStream::windowed_by`].
#[derive(Debug)]
pub struct SessionWindowedCogroupedKStream<K, A> {
    pub(crate) cogrouped: CogroupedKStream<K, A>,
    pub(crate) windows: SessionWindows,
}
