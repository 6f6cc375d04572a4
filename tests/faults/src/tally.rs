//! What the rounds of a test have in common, to show that they tried something.

use std::collections::BTreeMap;
use std::fmt;

/// Figures by name, in the order of the names' first use.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tally {
    names: Vec<&'static str>,
    figures: BTreeMap<&'static str, u64>,
}

impl Tally {
    /// Adds to a figure.
    pub(crate) fn add(&mut self, name: &'static str, count: u64) {
        *self.figure(name) += count;
    }

    /// Adds one to a figure.
    pub(crate) fn count(&mut self, name: &'static str) {
        self.add(name, 1);
    }

    /// Keeps the largest.
    pub(crate) fn max(&mut self, name: &'static str, value: u64) {
        let figure = self.figure(name);
        *figure = value.max(*figure);
    }

    pub(crate) fn get(&self, name: &str) -> u64 {
        self.figures.get(name).copied().unwrap_or_default()
    }

    fn figure(&mut self, name: &'static str) -> &mut u64 {
        if !self.names.contains(&name) {
            self.names.push(name);
        }
        self.figures.entry(name).or_default()
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (nth, name) in self.names.iter().enumerate() {
            let comma = if nth == 0 { "" } else { ", " };
            write!(f, "{comma}{name} {}", self.get(name))?;
        }
        Ok(())
    }
}
