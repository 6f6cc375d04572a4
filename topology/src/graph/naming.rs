//! Generated names: a prefix and ten digits of the one counter of a builder, as in Kafka Streams.

/// Hands out the numbers.
#[derive(Debug, Default)]
pub(crate) struct Naming {
    next: u64,
}

impl Naming {
    /// The next generated name. Numbers are used up in the order of calls, also by nodes that are
    /// then given a name: so naming one node never renames another.
    pub(crate) fn next(&mut self, prefix: &str) -> String {
        let number = self.next;
        self.next += 1;
        format!("{prefix}{number:010}")
    }

    /// Gives the number of a generated name back, if it was the last one: a processor that is given
    /// a name uses none up, unlike other nodes.
    pub(crate) fn give_back(&mut self, name: &str) {
        let last = self.next.saturating_sub(1);
        if name.ends_with(&format!("-{last:010}")) {
            self.next = last;
        }
    }
}

/// The names of the parts of a repartition step, all after its topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RepartitionNames {
    pub(crate) topic: String,
    pub(crate) sink: String,
    pub(crate) filter: String,
    pub(crate) source: String,
}

/// Names a repartition step after a store or a grouping; three numbers are used up.
pub(crate) fn repartition_names(naming: &mut Naming, prefix: &str) -> RepartitionNames {
    for unused in ["KSTREAM-SINK-", "KSTREAM-FILTER-", "KSTREAM-SOURCE-"] {
        naming.next(unused);
    }
    let topic = if prefix.ends_with("-repartition") {
        prefix.to_owned()
    } else {
        format!("{prefix}-repartition")
    };
    RepartitionNames {
        sink: format!("{topic}-sink"),
        filter: format!("{topic}-filter"),
        source: format!("{topic}-source"),
        topic,
    }
}
