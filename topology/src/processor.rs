//! What a node of a running task is: a typed receiver, put together from its factories.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use headwater_log_store::{RecordView, Timestamp};

use crate::context::{Context, ResolvedTopic, Step};
use crate::punctuation::Punctuations;
use crate::record::Record;
use crate::store::managed::ManagedStore;
use crate::types::{NodeId, TopicRef};

/// A node, as its parents see it.
pub(crate) trait Receiver<K, V> {
    /// Processes one record, and with it all that follows from it downstream.
    fn receive(&mut self, record: Record<K, V>, context: &mut Context) -> Step;

    /// The same for a record that lies in a slot, where it may stay: a node that only looks at
    /// records hands them on where they lie. To move one costs as much as to look at it.
    fn receive_from(&mut self, slot: &mut Option<Record<K, V>>, context: &mut Context) -> Step {
        match slot.take() {
            Some(record) => self.receive(record, context),
            None => Ok(()),
        }
    }
}

impl<K, V, R: Receiver<K, V> + ?Sized> Receiver<K, V> for Rc<RefCell<Box<R>>> {
    fn receive(&mut self, record: Record<K, V>, context: &mut Context) -> Step {
        self.borrow_mut().receive(record, context)
    }

    fn receive_from(&mut self, slot: &mut Option<Record<K, V>>, context: &mut Context) -> Step {
        self.borrow_mut().receive_from(slot, context)
    }
}

/// A node that holds its output back until it is flushed.
pub(crate) trait Flush {
    /// Sends what is held back. Returns whether there was something.
    fn flush(&mut self, context: &mut Context) -> Step<bool>;
}

/// The children of a node.
pub(crate) struct Outputs<K, V> {
    others: Vec<Box<dyn Receiver<K, V>>>,
    last: Option<Box<dyn Receiver<K, V>>>,
}

impl<K: 'static, V: 'static> Outputs<K, V> {
    fn of(children: Vec<AnyReceiver>) -> Self {
        let mut others: Vec<_> = children.into_iter().map(AnyReceiver::typed).collect();
        let last = others.pop();
        Self { others, last }
    }
}

impl<K: Clone, V: Clone> Outputs<K, V> {
    /// Sends a record to each child in order; the last one takes it, the others get clones.
    #[inline]
    pub(crate) fn forward(&mut self, record: Record<K, V>, context: &mut Context) -> Step {
        self.forward_from(&mut Some(record), context)
    }

    /// The same for a record that lies in a slot, where it may stay.
    #[inline]
    pub(crate) fn forward_from(
        &mut self,
        slot: &mut Option<Record<K, V>>,
        context: &mut Context,
    ) -> Step {
        match &mut self.last {
            Some(child) if self.others.is_empty() => child.receive_from(slot, context),
            _ => self.forward_to_each(slot, context),
        }
    }

    fn forward_to_each(&mut self, slot: &mut Option<Record<K, V>>, context: &mut Context) -> Step {
        for child in &mut self.others {
            child.receive_from(&mut slot.clone(), context)?;
        }
        match &mut self.last {
            Some(child) => child.receive_from(slot, context),
            None => Ok(()),
        }
    }
}

/// The children of a node that can choose among them by their names.
pub(crate) struct NamedOutputs<K, V> {
    names: Vec<String>,
    outputs: Outputs<K, V>,
}

impl<K: Clone, V: Clone> NamedOutputs<K, V> {
    /// Sends a record to each child in order.
    pub(crate) fn forward(&mut self, record: Record<K, V>, context: &mut Context) -> Step {
        self.outputs.forward(record, context)
    }

    /// Sends a record to one child. `None` if there is none of that name.
    pub(crate) fn forward_to(
        &mut self,
        child: &str,
        record: Record<K, V>,
        context: &mut Context,
    ) -> Option<Step> {
        let index = self.names.iter().position(|name| name == child)?;
        let Outputs { others, last } = &mut self.outputs;
        let child = others.get_mut(index).or(last.as_mut())?;
        Some(child.receive(record, context))
    }
}

/// The time of the record or the punctuation that a processor of a task works on: what its stores
/// take for the time of a row that is put without one.
#[derive(Clone, Debug)]
pub(crate) struct RecordTime(Rc<Cell<Timestamp>>);

impl RecordTime {
    pub(crate) fn new() -> Self {
        Self(Rc::new(Cell::new(Timestamp::from_millis(0))))
    }

    pub(crate) fn set(&self, time: Timestamp) {
        self.0.set(time);
    }

    pub(crate) fn get(&self) -> Timestamp {
        self.0.get()
    }
}

/// A processor of the application, as the runtime sees it.
pub(crate) trait TaskProcessor {
    fn node(&self) -> NodeId;

    /// Makes a new one and calls its `init`.
    fn init(&mut self, context: &mut Context) -> Step;

    /// Calls a punctuator.
    fn punctuate(&mut self, number: u64, time: Timestamp, context: &mut Context) -> Step;

    /// Closes it and lets it go: its fields are as void as the work since the last commit.
    fn abort(&mut self);
}

/// A receiver whose types are erased while a task is put together.
pub(crate) struct AnyReceiver {
    receiver: Box<dyn Any>,
    share: Share,
}

/// Makes two handles of one.
type Share = fn(Box<dyn Any>) -> (Box<dyn Any>, Box<dyn Any>);

impl AnyReceiver {
    pub(crate) fn new<K: 'static, V: 'static>(receiver: impl Receiver<K, V> + 'static) -> Self {
        let receiver: Box<dyn Receiver<K, V>> = Box::new(receiver);
        Self { receiver: Box::new(receiver), share: share::<K, V> }
    }

    /// Splits it into two handles on one node: how paths meet.
    pub(crate) fn share(self) -> (Self, Self) {
        let (one, other) = (self.share)(self.receiver);
        (Self { receiver: one, share: self.share }, Self { receiver: other, share: self.share })
    }

    pub(crate) fn typed<K: 'static, V: 'static>(self) -> Box<dyn Receiver<K, V>> {
        // The DSL gives a node only children of its own output types.
        *self.receiver.downcast().expect("an edge joins nodes of the same types")
    }
}

fn share<K: 'static, V: 'static>(receiver: Box<dyn Any>) -> (Box<dyn Any>, Box<dyn Any>) {
    let receiver: Box<Box<dyn Receiver<K, V>>> =
        receiver.downcast().expect("made by AnyReceiver::new of the same types");
    let shared: Rc<RefCell<Box<dyn Receiver<K, V>>>> = Rc::new(RefCell::new(*receiver));
    let handle = |shared| -> Box<dyn Any> {
        let handle: Box<dyn Receiver<K, V>> = Box::new(shared);
        Box::new(handle)
    };
    (handle(Rc::clone(&shared)), handle(shared))
}

/// A store of a task: typed for its operator, managed by the runtime.
#[derive(Clone)]
pub(crate) struct StoreHandle {
    pub(crate) typed: Rc<dyn Any>,
    pub(crate) managed: Rc<RefCell<dyn ManagedStore>>,
}

impl StoreHandle {
    pub(crate) fn new<S: ManagedStore + 'static>(store: S) -> Self {
        let store = Rc::new(RefCell::new(store));
        Self { typed: Rc::clone(&store) as Rc<dyn Any>, managed: store }
    }
}

/// What a node's factory finds when a task is put together.
pub(crate) struct TaskParts {
    pub(crate) stores: HashMap<String, StoreHandle>,
    /// The names that the topics have in the log, and how many partitions.
    pub(crate) topics: Arc<HashMap<TopicRef, ResolvedTopic>>,
    /// The children of the node in question, in the order of their edges.
    pub(crate) children: Vec<AnyReceiver>,
    /// Their names.
    pub(crate) child_names: Vec<String>,
    /// The children that take its side output.
    pub(crate) side: Vec<AnyReceiver>,
    /// The processors of the application, as far as the task is built.
    pub(crate) processors: Vec<Rc<RefCell<dyn TaskProcessor>>>,
    pub(crate) punctuations: Rc<RefCell<Punctuations>>,
    pub(crate) time: RecordTime,
    /// The nodes built so far that hold output back.
    pub(crate) flushes: Vec<(NodeId, Rc<RefCell<dyn Flush>>)>,
}

impl TaskParts {
    /// Parts of a task with those stores and topics, nothing built yet.
    pub(crate) fn new(
        stores: HashMap<String, StoreHandle>,
        topics: Arc<HashMap<TopicRef, ResolvedTopic>>,
    ) -> Self {
        Self {
            stores,
            topics,
            children: Vec::new(),
            child_names: Vec::new(),
            side: Vec::new(),
            processors: Vec::new(),
            punctuations: Rc::default(),
            time: RecordTime::new(),
            flushes: Vec::new(),
        }
    }

    /// Parts of no task, to try out what a store is.
    pub(crate) fn empty() -> Self {
        Self::new(HashMap::new(), Arc::default())
    }

    /// The children, by their types and with their names.
    pub(crate) fn named_outputs<K: 'static, V: 'static>(&mut self) -> NamedOutputs<K, V> {
        NamedOutputs { names: std::mem::take(&mut self.child_names), outputs: self.outputs() }
    }

    /// The children, by their types.
    pub(crate) fn outputs<K: 'static, V: 'static>(&mut self) -> Outputs<K, V> {
        Outputs::of(std::mem::take(&mut self.children))
    }

    /// The children that take the side output, if there are any.
    pub(crate) fn side_outputs<K: 'static, V: 'static>(&mut self) -> Option<Outputs<K, V>> {
        let side = std::mem::take(&mut self.side);
        (!side.is_empty()).then(|| Outputs::of(side))
    }

    /// Each child by itself, in the order of their edges, for a node that chooses among them.
    pub(crate) fn each_output<K: 'static, V: 'static>(&mut self) -> Vec<Outputs<K, V>> {
        let children = std::mem::take(&mut self.children).into_iter();
        children
            .map(|child| Outputs { others: Vec::new(), last: Some(AnyReceiver::typed(child)) })
            .collect()
    }

    /// A store of the task.
    pub(crate) fn store<S: 'static>(&self, name: &str) -> Rc<RefCell<S>> {
        let handle = self.stores.get(name).expect("a node's stores are built before it");
        Rc::clone(&handle.typed).downcast().expect("a store has the types of its operator")
    }

    /// A topic as it is in the log.
    pub(crate) fn topic(&self, topic: &TopicRef) -> ResolvedTopic {
        self.topics.get(topic).cloned().expect("topics are resolved before tasks are built")
    }
}

/// The source of a queue: takes records off the log and keeps the decoded head.
pub(crate) trait Source {
    /// Decodes a record and keeps it as the head. Returns its event time, or `None` if the record
    /// was dropped.
    fn load(
        &mut self,
        view: &RecordView<'_>,
        partition_time: Option<Timestamp>,
        context: &mut Context,
    ) -> Step<Option<Timestamp>>;

    /// Sends the head downstream.
    fn process(&mut self, context: &mut Context) -> Step;

    /// Decodes a record and sends it downstream at once, the task's stream time brought up to it.
    /// Returns its event time, or `None` if the record was dropped.
    fn pass(
        &mut self,
        view: &RecordView<'_>,
        partition_time: Option<Timestamp>,
        context: &mut Context,
    ) -> Step<Option<Timestamp>>;

    /// Forgets the head.
    fn clear(&mut self);
}
