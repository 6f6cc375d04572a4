//! What the operators of a case are built to: streams and tables, their keys in windows or not.

use std::collections::BTreeMap;
use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

use headwater_topology::{
    BoxError, GlobalKTable, KStream, KTable, Materialized, Serde, SerdeRef, SessionWindow, Window,
    Windowed,
};

use crate::case::Op;
use crate::error::OracleError;
use crate::functions::Text;

/// A key in a session.
pub(crate) type InSession = Windowed<Text, SessionWindow>;

/// A stream or a table.
#[derive(Clone)]
pub(crate) enum Built {
    Stream(KStream<Text, Text>),
    TimeStream(KStream<Windowed<Text>, Text>),
    SessionStream(KStream<InSession, Text>),
    Table(KTable<Text, String>),
    TimeTable(KTable<Windowed<Text>, String>),
    SessionTable(KTable<InSession, String>),
    Global(GlobalKTable<Text, String>),
}

/// The results of the operators so far, by their ids.
pub(crate) type Results = BTreeMap<String, Built>;

/// A key that the users' functions see as a text.
pub(crate) trait KeyText: Hash + Eq + Clone + Send + 'static {
    /// Its text.
    fn text(&self) -> Text;
}

impl KeyText for Text {
    fn text(&self) -> Text {
        self.clone()
    }
}

impl KeyText for Windowed<Text> {
    fn text(&self) -> Text {
        let Window { start_ms, end_ms } = self.window;
        Some(format!("{}@{start_ms}/{end_ms}", self.key.as_deref().unwrap_or("null")))
    }
}

impl KeyText for InSession {
    fn text(&self) -> Text {
        let SessionWindow { start_ms, end_ms } = self.window;
        Some(format!("{}@{start_ms}/{end_ms}", self.key.as_deref().unwrap_or("null")))
    }
}

/// Writes keys as their texts.
pub(crate) struct TextSerde;

impl TextSerde {
    pub(crate) fn shared<K: KeyText>() -> SerdeRef<K> {
        Arc::new(Self)
    }
}

impl<K: KeyText> Serde<K> for TextSerde {
    fn serialize(&self, key: &K, bytes: &mut Vec<u8>) -> Result<(), BoxError> {
        bytes.extend_from_slice(key.text().unwrap_or_default().as_bytes());
        Ok(())
    }

    fn deserialize(&self, _bytes: &[u8]) -> Result<K, BoxError> {
        Err("outputs are never read back".into())
    }

    fn is_null(&self, key: &K) -> bool {
        key.text().is_none()
    }
}

impl Op {
    /// What is wrong with this operator.
    pub(crate) fn fails(&self, reason: impl Into<String>) -> OracleError {
        OracleError::operator(&self.id, reason)
    }

    fn missing(&self, field: &str) -> OracleError {
        self.fails(format!("{} needs `{field}`", self.op))
    }

    /// What it reads.
    pub(crate) fn input<'a>(&self, results: &'a Results) -> Result<&'a Built, OracleError> {
        let from = self.from.as_ref().ok_or_else(|| self.missing("from"))?;
        results.get(from).ok_or_else(|| self.fails(format!("there is no {from}")))
    }

    /// What it reads as well.
    pub(crate) fn others<'a>(&self, results: &'a Results) -> Result<Vec<&'a Built>, OracleError> {
        let found = self
            .with
            .iter()
            .map(|id| results.get(id).ok_or_else(|| self.fails(format!("there is no {id}"))));
        found.collect()
    }

    /// The one thing that it reads as well.
    pub(crate) fn other<'a>(&self, results: &'a Results) -> Result<&'a Built, OracleError> {
        self.others(results)?.first().copied().ok_or_else(|| self.missing("with"))
    }

    /// Its function.
    pub(crate) fn function(&self) -> Result<String, OracleError> {
        self.function.clone().ok_or_else(|| self.missing("fn"))
    }

    /// Its function for keys.
    pub(crate) fn key(&self) -> Result<String, OracleError> {
        self.key.clone().ok_or_else(|| self.missing("key"))
    }

    /// Its topic.
    pub(crate) fn topic(&self) -> Result<&str, OracleError> {
        self.topic.as_deref().ok_or_else(|| self.missing("topic"))
    }

    /// Its store.
    pub(crate) fn store(&self) -> Result<&str, OracleError> {
        self.store.as_deref().ok_or_else(|| self.missing("store"))
    }

    /// Its kind.
    pub(crate) fn kind(&self) -> Result<&str, OracleError> {
        self.kind.as_deref().ok_or_else(|| self.missing("kind"))
    }

    /// Its name, which it needs.
    pub(crate) fn name(&self) -> Result<&str, OracleError> {
        self.name.as_deref().ok_or_else(|| self.missing("name"))
    }

    /// Its store with its options.
    pub(crate) fn materialized<K, V>(&self) -> Result<Materialized<K, V>, OracleError>
    where
        V: headwater_topology::DefaultSerde,
    {
        let materialized = Materialized::named(self.store()?);
        Ok(match self.retention {
            Some(retention) => materialized.with_retention(Duration::from_millis(retention)),
            None => materialized,
        })
    }
}
