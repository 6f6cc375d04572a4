//! `KStream::split`: one stream into several, record by record.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::dsl::handles::KStream;
use crate::graph::node::NodeKind;
use crate::operators::branch::{self, Predicates};
use crate::operators::merge;

/// What becomes of a branch: its name, which is the short form, and what it is to go through.
pub struct Branched<K, V> {
    name: Option<String>,
    chain: Option<Chain<K, V>>,
}

/// What a branch goes through.
type Chain<K, V> = Box<dyn FnOnce(KStream<K, V>) -> Option<KStream<K, V>>>;

impl<K, V> Branched<K, V> {
    /// A branch of that name, which is found under the name of the split and its own.
    #[must_use]
    pub fn named(name: impl Into<String>) -> Self {
        Self { name: Some(name.into()), chain: None }
    }

    /// A branch that is named by its number: 1 for the first one, 0 for the default branch.
    #[must_use]
    pub fn numbered() -> Self {
        Self { name: None, chain: None }
    }

    /// What is found under the name is the stream that the closure returns.
    #[must_use]
    pub fn with_function(
        self,
        chain: impl FnOnce(KStream<K, V>) -> KStream<K, V> + 'static,
    ) -> Self {
        Self { chain: Some(Box::new(|stream| Some(chain(stream)))), ..self }
    }

    /// The closure takes the branch, and nothing is found under its name.
    #[must_use]
    pub fn with_consumer(self, consume: impl FnOnce(KStream<K, V>) + 'static) -> Self {
        let chain: Chain<K, V> = Box::new(|stream| {
            consume(stream);
            None
        });
        Self { chain: Some(chain), ..self }
    }
}

impl<K, V> From<&str> for Branched<K, V> {
    fn from(name: &str) -> Self {
        Self::named(name)
    }
}

impl<K, V> fmt::Debug for Branched<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Branched").field("name", &self.name).finish_non_exhaustive()
    }
}

/// A stream on its way to being split: see [`KStream::split`].
pub struct BranchedKStream<K, V> {
    splitter: KStream<K, V>,
    name: String,
    predicates: Predicates<K, V>,
    branches: BTreeMap<String, KStream<K, V>>,
}

impl<K, V> fmt::Debug for BranchedKStream<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BranchedKStream").field("name", &self.name).finish_non_exhaustive()
    }
}

impl<K, V> KStream<K, V>
where
    K: Clone + Send + 'static,
    V: Clone + Send + 'static,
{
    /// Splits the stream: each record goes to the first branch whose predicate it satisfies, or to
    /// the default branch, or nowhere. Null keys and values, times and headers pass as they are.
    ///
    /// The branches are found by name: that of the split's node, `KSTREAM-BRANCH-` and a number,
    /// and the branch's own. [`split_named`](Self::split_named) gives the split a name.
    ///
    /// ```
    /// # use headwater_topology::{StreamsBuilder, TopologyTestDriver};
    /// let builder = StreamsBuilder::new();
    /// let branches = builder
    ///     .stream::<String, i64>("amounts")
    ///     .split_named("amounts-")
    ///     .branch_with(|_, amount| *amount < 0, "negative")
    ///     .branch_with(|_, amount| *amount > 1_000, "large")
    ///     .default_branch_with("other");
    /// branches["amounts-large"].to("large");
    /// branches["amounts-other"].to("other");
    /// let driver = TopologyTestDriver::new(&builder.build()?)?;
    /// driver.input_topic::<String, i64>("amounts").pipe_input_at("k", 5_000, 1)?;
    /// let large = driver.output_topic::<String, i64>("large")?;
    /// assert_eq!(large.read_key_values()?, [("k".to_owned(), 5_000)]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn split(&self) -> BranchedKStream<K, V> {
        self.add_split(None)
    }

    /// As [`split`](Self::split), with a name for the node, which begins the names of its branches.
    #[must_use]
    pub fn split_named(&self, name: impl Into<String>) -> BranchedKStream<K, V> {
        self.add_split(Some(name.into()))
    }

    fn add_split(&self, name: Option<String>) -> BranchedKStream<K, V> {
        let name = self.scope.name_or_next(name.as_ref(), "KSTREAM-BRANCH-");
        let predicates = Arc::new(Mutex::new(Vec::new()));
        let factory = branch::factory(self.scope.next_id(), Arc::clone(&predicates));
        let kind = NodeKind::Processor { stores: Vec::new(), factory };
        let node = self.scope.add_node(name.clone(), &[self.node], kind);
        let splitter = Self::new(self.scope.clone(), node, self.repartition_required);
        BranchedKStream { splitter, name, predicates, branches: BTreeMap::new() }
    }
}

impl<K, V> BranchedKStream<K, V>
where
    K: Clone + Send + 'static,
    V: Clone + Send + 'static,
{
    /// A branch for the records that satisfy the predicate and none before it, named by its number
    /// from 1 on.
    #[must_use]
    pub fn branch(self, predicate: impl Fn(&K, &V) -> bool + Send + Sync + 'static) -> Self {
        self.branch_with(predicate, Branched::numbered())
    }

    /// As [`branch`](Self::branch), as `branched` (or its name) says.
    #[must_use]
    pub fn branch_with(
        mut self,
        predicate: impl Fn(&K, &V) -> bool + Send + Sync + 'static,
        branched: impl Into<Branched<K, V>>,
    ) -> Self {
        let number = {
            let mut predicates = self.predicates.lock();
            predicates.push(Some(Arc::new(predicate)));
            predicates.len()
        };
        self.add(branched.into(), number);
        self
    }

    /// The branches by their names, and one more, named 0, for the records that satisfy none of
    /// the predicates.
    #[must_use]
    pub fn default_branch(self) -> BTreeMap<String, KStream<K, V>> {
        self.default_branch_with(Branched::numbered())
    }

    /// As [`default_branch`](Self::default_branch), as `branched` (or its name) says.
    #[must_use]
    pub fn default_branch_with(
        mut self,
        branched: impl Into<Branched<K, V>>,
    ) -> BTreeMap<String, KStream<K, V>> {
        self.predicates.lock().push(None);
        self.add(branched.into(), 0);
        self.branches
    }

    /// The branches by their names. Records that satisfy none of the predicates are dropped.
    #[must_use]
    pub fn no_default_branch(self) -> BTreeMap<String, KStream<K, V>> {
        self.branches
    }

    fn add(&mut self, branched: Branched<K, V>, number: usize) {
        let KStream { scope, node, repartition_required, .. } = &self.splitter;
        let own = branched.name.unwrap_or_else(|| number.to_string());
        let name = format!("{}{own}", self.name);
        // As in Kafka Streams a branch uses up a number, which no name shows.
        scope.next_name("");
        let kind = NodeKind::Processor { stores: Vec::new(), factory: merge::factory::<K, V>() };
        let node = scope.add_node(name.clone(), &[*node], kind);
        let stream = KStream::new(scope.clone(), node, *repartition_required);
        let found = match branched.chain {
            Some(chain) => chain(stream),
            None => Some(stream),
        };
        self.branches.extend(found.map(|stream| (name, stream)));
    }
}
