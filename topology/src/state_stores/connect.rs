//! How stores are named for a processor, and opened for each of its tasks.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use crate::graph::node::StoreUse;
use crate::processor::{StoreHandle, TaskParts};

/// A store that can be opened: implemented by the stores of this crate.
pub trait OpenStore: Clone + Sized + 'static {
    /// Opens one of these in a task; `None` if the store of that name is of another kind.
    #[doc(hidden)]
    fn open(store: &OpenedStore<'_>) -> Option<Self>;
}

/// A store of a task, of a kind that is to be found out.
#[doc(hidden)]
pub struct OpenedStore<'a> {
    pub(crate) handle: &'a StoreHandle,
    pub(crate) time: crate::processor::RecordTime,
}

impl fmt::Debug for OpenedStore<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OpenedStore")
    }
}

/// A state store of the topology, to be connected to processors: made by
/// [`StreamsBuilder::add_state_store`](crate::StreamsBuilder::add_state_store), or
/// [`named`](Self::named) for a store that an operator of the DSL keeps.
///
/// `S` is what a processor is given: a [`KeyValueStore`](crate::KeyValueStore) and so on.
pub struct StateStore<S> {
    name: String,
    opens: PhantomData<fn() -> S>,
}

impl<S: OpenStore> StateStore<S> {
    /// The store of that name, such as that of a materialized table. It need not be there yet, but
    /// when the topology is built: a store that there is not, or of another kind or with other
    /// types, is a [`BuildError`](crate::BuildError).
    ///
    /// ```
    /// use headwater_topology::{KeyValueStore, StateStore, StreamsBuilder};
    ///
    /// let builder = StreamsBuilder::new();
    /// builder.stream::<String, String>("words").group_by_key().count("counts");
    /// let counts = StateStore::<KeyValueStore<String, i64>>::named("counts");
    /// # let _ = counts;
    /// ```
    #[must_use]
    pub fn named(name: impl Into<String>) -> Self {
        Self { name: name.into(), opens: PhantomData }
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl<S> Clone for StateStore<S> {
    fn clone(&self) -> Self {
        Self { name: self.name.clone(), opens: PhantomData }
    }
}

impl<S> fmt::Debug for StateStore<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StateStore").field("name", &self.name).finish_non_exhaustive()
    }
}

/// The stores of a processor: `()`, a [`StateStore`], a reference to one, or a tuple of those.
pub trait ConnectedStores {
    /// What the processor's supplier is given.
    type Opened: Clone + 'static;

    /// Notes the stores, and says how to open them.
    #[doc(hidden)]
    fn connect(&self, connections: &mut Connections) -> Opener<Self::Opened>;
}

/// The stores of a processor, as they are noted.
#[doc(hidden)]
#[derive(Debug, Default)]
pub struct Connections(pub(crate) Vec<StoreUse>);

/// Opens stores for a task.
#[doc(hidden)]
pub struct Opener<T>(Arc<dyn Fn(&TaskParts) -> T + Send + Sync>);

impl<T> Opener<T> {
    pub(crate) fn open(&self, parts: &TaskParts) -> T {
        (self.0)(parts)
    }
}

impl<T> fmt::Debug for Opener<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Opener")
    }
}

fn opened<S: OpenStore>(handle: &StoreHandle, parts: &TaskParts) -> Option<S> {
    S::open(&OpenedStore { handle, time: parts.time.clone() })
}

impl<S: OpenStore> ConnectedStores for StateStore<S> {
    type Opened = S;

    fn connect(&self, connections: &mut Connections) -> Opener<S> {
        connections.0.push(StoreUse {
            store: self.name.clone(),
            asked: std::any::type_name::<S>(),
            accepts: |handle| opened::<S>(handle, &TaskParts::empty()).is_some(),
        });
        let name = self.name.clone();
        Opener(Arc::new(move |parts| {
            let handle = parts.stores.get(&name).expect("a node's stores are built before it");
            opened(handle, parts).expect("the topology was checked when it was built")
        }))
    }
}

impl<S: ConnectedStores> ConnectedStores for &S {
    type Opened = S::Opened;

    fn connect(&self, connections: &mut Connections) -> Opener<Self::Opened> {
        (**self).connect(connections)
    }
}

macro_rules! connected_tuple {
    ($($name:ident $index:tt),*) => {
        impl<$($name: ConnectedStores),*> ConnectedStores for ($($name,)*) {
            type Opened = ($($name::Opened,)*);

            fn connect(&self, _connections: &mut Connections) -> Opener<Self::Opened> {
                let _openers = ($(self.$index.connect(_connections),)*);
                Opener(Arc::new(move |_parts| ($(_openers.$index.open(_parts),)*)))
            }
        }
    };
}

connected_tuple!();
connected_tuple!(A 0);
connected_tuple!(A 0, B 1);
connected_tuple!(A 0, B 1, C 2);
connected_tuple!(A 0, B 1, C 2, D 3);
connected_tuple!(A 0, B 1, C 2, D 3, E 4);
connected_tuple!(A 0, B 1, C 2, D 3, E 4, F 5);
