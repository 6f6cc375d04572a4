//! Builds tasks: the nodes of a sub-topology with their typed edges, its stores and queues.

use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;
use std::sync::Arc;

use headwater_log_store::{
    AutoOffsetReset, GroupOffsets, Log, Offset, PartitionId, TopicName, TopicPartition,
};

use crate::config::StreamsConfig;
use crate::error::{Error, Result};
use crate::graph::node::NodeKind;
use crate::graph::plan::Graph;
use crate::processor::{AnyReceiver, StoreHandle, TaskParts};
use crate::runtime::application::Application;
use crate::runtime::commit_metadata::CommitMetadata;
use crate::runtime::global::GlobalTables;
use crate::runtime::record_queue::{Committed, RecordQueue};
use crate::runtime::resolve::{Resolved, internal_name};
use crate::runtime::task::{Task, TaskStore};
use crate::store::record_cache::CacheBudget;
use crate::types::{NodeId, TaskId, TopicRef};

/// What tasks are built from.
pub(crate) struct Blueprint<'a> {
    graph: &'a Graph,
    resolved: &'a Resolved,
    config: &'a StreamsConfig,
    log: &'a dyn Log,
    offsets: &'a GroupOffsets,
}

/// The stores of a task, for the runtime, and as its nodes find them.
pub(crate) struct BuiltStores {
    pub(crate) stores: Vec<TaskStore>,
    handles: HashMap<String, StoreHandle>,
}

impl<'a> Blueprint<'a> {
    /// For an application that has committed these offsets.
    pub(crate) fn new(application: &'a Application, offsets: &'a GroupOffsets) -> Self {
        let Application { log, graph, config, resolved, .. } = application;
        Self { graph, resolved, config, log: log.as_ref(), offsets }
    }

    /// Builds the stores of a task, still empty.
    pub(crate) fn stores_of(&self, id: TaskId) -> BuiltStores {
        self.stores(id.subtopology as usize)
    }

    /// Builds one task around its stores. `cache` is what their record caches may hold, if there
    /// are any.
    pub(crate) fn build(
        &self,
        id: TaskId,
        globals: &GlobalTables,
        cache: Option<&Rc<CacheBudget>>,
        stores: BuiltStores,
    ) -> Result<Task> {
        let index = id.subtopology as usize;
        let mut parts = self.parts(globals.handles.clone());
        let BuiltStores { stores, handles } = stores;
        parts.stores.extend(handles);
        if let Some(budget) = cache {
            self.add_caches(index, &parts, budget);
        }
        let mut wiring = Wiring { graph: self.graph, parts, shared: BTreeMap::new() };
        let mut queues = Vec::new();
        for (node, topic) in self.graph.source_topics(index) {
            if id.partition < self.resolved.topic(topic).partitions {
                queues.push(self.queue(&mut wiring, node, topic, id.partition)?);
            }
        }
        Ok(Task::new(id, queues, stores, wiring.parts))
    }

    fn add_caches(&self, index: usize, parts: &TaskParts, budget: &Rc<CacheBudget>) {
        for definition in self.graph.stores_of(index) {
            let is_cached = definition.cached.unwrap_or(self.graph.caching_enabled);
            if let Some(handle) = parts.stores.get(&definition.name).filter(|_| is_cached) {
                handle.managed.borrow_mut().cache_within(budget);
            }
        }
    }

    /// Builds the global tables, still empty.
    pub(crate) fn build_globals(&self) -> Result<GlobalTables> {
        let (mut handles, mut stores, mut queues) = (HashMap::new(), Vec::new(), Vec::new());
        let indexes = 0..self.graph.subtopologies.len();
        for index in indexes.filter(|index| self.graph.is_global(*index)) {
            let built = self.stores(index);
            stores.extend(built.stores);
            handles.extend(built.handles.clone());
            for (node, topic) in self.graph.source_topics(index) {
                for partition in 0..self.resolved.topic(topic).partitions {
                    let parts = self.parts(built.handles.clone());
                    let mut wiring = Wiring { graph: self.graph, parts, shared: BTreeMap::new() };
                    queues.push(self.queue(&mut wiring, node, topic, partition)?);
                }
            }
        }
        GlobalTables::new(handles, stores, queues, self.log)
    }

    fn parts(&self, stores: HashMap<String, StoreHandle>) -> TaskParts {
        TaskParts::new(stores, Arc::clone(&self.resolved.topics))
    }

    /// Builds the stores of a sub-topology.
    fn stores(&self, index: usize) -> BuiltStores {
        let definitions = self.graph.stores_of(index).into_iter();
        let mut handles = HashMap::new();
        let stores = definitions
            .map(|definition| {
                let handle = (definition.factory)();
                let changelog = definition.logged.then(|| {
                    internal_name(&self.config.application_id, &definition.changelog()).into()
                });
                let store = Rc::clone(&handle.managed);
                handles.insert(definition.name.clone(), handle);
                TaskStore { name: definition.name.clone(), store, changelog }
            })
            .collect();
        BuiltStores { stores, handles }
    }

    fn queue(
        &self,
        wiring: &mut Wiring<'_>,
        node: NodeId,
        topic: &TopicRef,
        partition: u32,
    ) -> Result<RecordQueue> {
        let NodeKind::Source { reset, factory, .. } = &self.graph.node(node).kind else {
            unreachable!("source topics belong to sources");
        };
        wiring.parts.children = wiring.children(node);
        wiring.parts.child_names = wiring.child_names(node);
        let source = factory(&mut wiring.parts);
        let name = &self.resolved.topic(topic).name;
        let name = TopicName::new(name).map_err(Error::log(format!("a look at topic {name}")))?;
        let topic_partition = TopicPartition::new(name, PartitionId::new(partition));
        let reset = if topic.internal {
            AutoOffsetReset::Earliest
        } else {
            reset.unwrap_or(self.config.auto_offset_reset)
        };
        let committed = self.committed(&topic_partition, reset)?;
        Ok(RecordQueue::new(topic_partition, topic.internal, source, committed))
    }

    fn committed(
        &self,
        topic_partition: &TopicPartition,
        reset: AutoOffsetReset,
    ) -> Result<Committed> {
        let watermarks = self
            .log
            .watermarks(topic_partition)
            .map_err(Error::log(format!("a look at {topic_partition}")))?;
        if let Some(committed) = self.offsets.get(topic_partition) {
            let metadata = CommitMetadata::parse(&committed.metadata);
            // What was deleted since the commit cannot be read any more.
            let offset = committed.offset.max(watermarks.start);
            return Ok(Committed { offset, metadata });
        }
        let offset: Offset = match reset {
            AutoOffsetReset::Latest => watermarks.end,
            AutoOffsetReset::None => {
                return Err(Error::InvalidConfig {
                    key: "auto.offset.reset".to_owned(),
                    value: "none".to_owned(),
                    reason: format!("no offset is committed for {topic_partition}"),
                });
            }
            _ => watermarks.start,
        };
        Ok(Committed { offset, metadata: CommitMetadata::default() })
    }
}

/// Builds nodes from the sinks up, each once.
struct Wiring<'a> {
    graph: &'a Graph,
    parts: TaskParts,
    /// Handles on nodes that have several parents, for the parents to come.
    shared: BTreeMap<NodeId, AnyReceiver>,
}

impl Wiring<'_> {
    fn children(&mut self, node: NodeId) -> Vec<AnyReceiver> {
        self.graph.main_children(node).map(|child| self.receiver(child)).collect()
    }

    fn child_names(&self, node: NodeId) -> Vec<String> {
        let children = self.graph.main_children(node);
        children.map(|child| self.graph.node(child).name.clone()).collect()
    }

    fn receiver(&mut self, node: NodeId) -> AnyReceiver {
        if let Some(shared) = self.shared.remove(&node) {
            let (one, other) = shared.share();
            self.shared.insert(node, other);
            return one;
        }
        let side = self.graph.side_children(node).map(|child| self.receiver(child)).collect();
        let children = self.children(node);
        (self.parts.children, self.parts.side) = (children, side);
        self.parts.child_names = self.child_names(node);
        let receiver = match &self.graph.node(node).kind {
            NodeKind::Processor { factory, .. }
            | NodeKind::Sink { factory, .. }
            | NodeKind::DynamicSink { factory } => factory(&mut self.parts),
            NodeKind::Source { .. } => unreachable!("a source has no parent"),
        };
        if !self.has_several_parents(node) {
            return receiver;
        }
        let (one, other) = receiver.share();
        self.shared.insert(node, other);
        one
    }

    /// Counts a parent that reads several topics once for each, because each has its own queue.
    fn has_several_parents(&self, node: NodeId) -> bool {
        let parents = self.graph.node(node).parents.iter();
        let edges: usize = parents
            .map(|parent| match &self.graph.node(*parent).kind {
                NodeKind::Source { topics, .. } => topics.len(),
                NodeKind::Processor { .. }
                | NodeKind::Sink { .. }
                | NodeKind::DynamicSink { .. } => 1,
            })
            .sum();
        edges > 1
    }
}
