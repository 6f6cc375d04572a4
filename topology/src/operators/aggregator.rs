//! What an aggregation does with a value: `count`, `reduce` and `aggregate` as one trait.

use std::marker::PhantomData;

/// Makes aggregates of values.
pub(crate) trait Aggregator<K, V, A>: Send + Sync + 'static {
    /// What a key starts from; `None` where the first value is taken as it is. As in Kafka Streams
    /// it is also the old value of the first update.
    fn initial(&self) -> Option<A>;

    /// The next aggregate; `None` removes the row.
    fn add(&self, key: &K, value: V, aggregate: Option<A>) -> Option<A>;
}

/// Counts.
pub(crate) struct Count;

impl<K, V> Aggregator<K, V, i64> for Count {
    fn initial(&self) -> Option<i64> {
        Some(0)
    }

    fn add(&self, _key: &K, _value: V, count: Option<i64>) -> Option<i64> {
        Some(count.unwrap_or(0) + 1)
    }
}

/// Combines values; the first is taken as it is.
pub(crate) struct Reduce<F>(pub(crate) F);

impl<K, V, F: Fn(V, V) -> V + Send + Sync + 'static> Aggregator<K, V, V> for Reduce<F> {
    fn initial(&self) -> Option<V> {
        None
    }

    fn add(&self, _key: &K, value: V, aggregate: Option<V>) -> Option<V> {
        Some(match aggregate {
            Some(aggregate) => (self.0)(aggregate, value),
            None => value,
        })
    }
}

/// Folds values from an initial aggregate on.
pub(crate) struct Fold<I, F, R> {
    initializer: I,
    aggregator: F,
    returned: PhantomData<fn() -> R>,
}

impl<I, F, R> Fold<I, F, R> {
    pub(crate) fn new(initializer: I, aggregator: F) -> Self {
        Self { initializer, aggregator, returned: PhantomData }
    }
}

impl<K, V, A, R, I, F> Aggregator<K, V, A> for Fold<I, F, R>
where
    R: Into<Option<A>> + 'static,
    I: Fn() -> A + Send + Sync + 'static,
    F: Fn(&K, V, A) -> R + Send + Sync + 'static,
{
    fn initial(&self) -> Option<A> {
        Some((self.initializer)())
    }

    fn add(&self, key: &K, value: V, aggregate: Option<A>) -> Option<A> {
        (self.aggregator)(key, value, aggregate.unwrap_or_else(&self.initializer)).into()
    }
}
