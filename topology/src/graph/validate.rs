//! What a finished graph has to satisfy.

use std::collections::{BTreeMap, BTreeSet};

use headwater_log_store::TopicName;

use crate::error::BuildError;
use crate::graph::node::{FORMATS, Node, NodeKind, StoreDefinition, StoreUse};

/// Checks names and sources.
pub(crate) fn validate(nodes: &[Node], stores: &[StoreDefinition]) -> Result<(), BuildError> {
    if !nodes.iter().any(|node| matches!(node.kind, NodeKind::Source { .. })) {
        return Err(BuildError::Empty);
    }
    let mut names = BTreeSet::new();
    let mut readers: BTreeMap<&str, &str> = BTreeMap::new();
    for node in nodes {
        check_name("node", &node.name)?;
        if !names.insert(node.name.as_str()) {
            return Err(BuildError::DuplicateNode { name: node.name.clone() });
        }
        match &node.kind {
            NodeKind::Source { topics, .. } => {
                for topic in topics {
                    check_name("topic", &topic.name)?;
                    if let Some(first) = readers.insert(&topic.name, &node.name) {
                        return Err(BuildError::TopicReadTwice {
                            topic: topic.name.clone(),
                            first: first.to_owned(),
                            second: node.name.clone(),
                        });
                    }
                }
            }
            NodeKind::Sink { topic, .. } => check_name("topic", &topic.name)?,
            NodeKind::Processor { .. } | NodeKind::DynamicSink { .. } => {}
        }
    }
    let mut store_names = BTreeSet::new();
    for store in stores {
        check_name("store", &store.name)?;
        if store.name == FORMATS {
            return Err(BuildError::InvalidName {
                what: "store",
                name: store.name.clone(),
                reason: "the application notes the formats of its stores there".to_owned(),
            });
        }
        if !store_names.insert(store.name.as_str()) {
            return Err(BuildError::DuplicateStore { store: store.name.clone() });
        }
        if store.is_persistent() && !store.logged {
            let reason = "without a changelog nothing tells how far it is";
            return Err(BuildError::NotPersistent { store: store.name.clone(), reason });
        }
    }
    Ok(())
}

/// The stores of processors have to be there, and what the processors take them for.
pub(crate) fn check_store_uses(
    uses: &[StoreUse],
    stores: &[StoreDefinition],
    global: &BTreeSet<&str>,
) -> Result<(), BuildError> {
    for StoreUse { store, asked, accepts } in uses {
        let Some(found) = stores.iter().find(|found| found.name == *store) else {
            return Err(BuildError::UnknownStore { store: store.clone() });
        };
        if global.contains(store.as_str()) {
            return Err(BuildError::GlobalStore { store: store.clone() });
        }
        if !accepts(&(found.factory)()) {
            return Err(BuildError::StoreType { store: store.clone(), asked });
        }
    }
    Ok(())
}

/// Names of nodes and stores follow the rules of topics, because topics are named after them.
fn check_name(what: &'static str, name: &str) -> Result<(), BuildError> {
    TopicName::new(name).map(drop).map_err(|error| BuildError::InvalidName {
        what,
        name: name.to_owned(),
        reason: error.to_string(),
    })
}
