//! Nodes, stores and topics of a graph.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use headwater_log_store::AutoOffsetReset;

use crate::processor::{AnyReceiver, Source, StoreHandle, TaskParts};
use crate::types::{NodeId, StoreType, TopicRef};

/// Builds the source of a queue.
pub(crate) type SourceFactory = Arc<dyn Fn(&mut TaskParts) -> Box<dyn Source> + Send + Sync>;

/// Builds a node, given its children.
pub(crate) type NodeFactory = Arc<dyn Fn(&mut TaskParts) -> AnyReceiver + Send + Sync>;

/// Builds an empty store.
pub(crate) type StoreFactory = Arc<dyn Fn() -> StoreHandle + Send + Sync>;

/// What a node is.
#[derive(Clone)]
pub(crate) enum NodeKind {
    Source {
        topics: Vec<TopicRef>,
        reset: Option<AutoOffsetReset>,
        factory: SourceFactory,
    },
    Processor {
        stores: Vec<String>,
        factory: NodeFactory,
    },
    Sink {
        topic: TopicRef,
        /// The formats of the keys and values.
        format: String,
        factory: NodeFactory,
    },
    /// A sink that chooses a topic for each record.
    DynamicSink {
        factory: NodeFactory,
    },
}

impl fmt::Debug for NodeKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Source { topics, .. } => write!(f, "Source {topics:?}"),
            Self::Processor { stores, .. } => write!(f, "Processor {stores:?}"),
            Self::Sink { topic, .. } => write!(f, "Sink {topic:?}"),
            Self::DynamicSink { .. } => f.write_str("DynamicSink"),
        }
    }
}

/// A node with its edges.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) name: String,
    pub(crate) kind: NodeKind,
    pub(crate) parents: Vec<NodeId>,
    pub(crate) children: Vec<NodeId>,
}

/// What would be the store of the topic that keeps the formats of an application's stores: its name
/// is that of a changelog, so that whatever resets an application deletes it as well.
pub(crate) const FORMATS: &str = "__topology";

/// How long the rows of a store live, and so how its changelog is cleaned up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StoreKind {
    KeyValue,
    Versioned {
        history_ms: i64,
    },
    /// `size_ms` is that of the windows, where rows would be other windows with another one.
    Window {
        retention_ms: i64,
        size_ms: Option<i64>,
    },
}

/// A store of the topology.
#[derive(Clone)]
pub(crate) struct StoreDefinition {
    pub(crate) name: String,
    pub(crate) kind: StoreKind,
    /// Whether it has a changelog.
    pub(crate) logged: bool,
    /// Whether it holds updates back in a record cache; `None` as the topology says.
    pub(crate) cached: Option<bool>,
    /// Where its rows are; `None` as the topology says.
    pub(crate) store_type: Option<StoreType>,
    /// Configs of the changelog topic over the defaults.
    pub(crate) configs: BTreeMap<String, String>,
    pub(crate) factory: StoreFactory,
}

impl StoreDefinition {
    /// Whether its rows are on disk.
    pub(crate) fn is_persistent(&self) -> bool {
        self.store_type.is_some_and(StoreType::is_persistent)
    }

    /// The changelog's name, before it gets the application's prefix.
    pub(crate) fn changelog(&self) -> String {
        format!("{}-changelog", self.name)
    }
}

/// A store as a processor wants it to be.
#[derive(Clone)]
pub(crate) struct StoreUse {
    pub(crate) store: String,
    /// What it is to be, in the compiler's words.
    pub(crate) asked: &'static str,
    pub(crate) accepts: fn(&StoreHandle) -> bool,
}

impl fmt::Debug for StoreUse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} as {}", self.store, self.asked)
    }
}

impl fmt::Debug for StoreDefinition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoreDefinition")
            .field("name", &self.name)
            .field("kind", &self.kind)
            .finish_non_exhaustive()
    }
}
