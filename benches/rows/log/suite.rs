//! What the rows of the log have in common.

use headwater_log_store::Record;

use crate::Scale;
use crate::contender::Kind;
use crate::ours::OURS;
#[cfg(feature = "peers")]
use crate::peers;
use crate::row::{Better, Goals, Row, Side};

/// A run of rows: how large they are, which ones, and who gets them.
pub struct Suite<'a> {
    pub scale: Scale,
    only: &'a str,
    report: &'a mut dyn FnMut(Row<'_>),
}

/// A row without its sides.
#[derive(Clone, Debug)]
pub struct Plan {
    pub name: String,
    pub unit: &'static str,
    pub better: Better,
    pub goals: Goals,
}

impl Plan {
    /// A row of a rate.
    pub fn rate(name: impl Into<String>, goal_floor: f64, goal_peer: f64) -> Self {
        let goals = Goals { floor: Some(goal_floor), peer: Some(goal_peer), absolute: None };
        Self { name: name.into(), unit: "rec/s", better: Better::Higher, goals }
    }
}

impl<'a> Suite<'a> {
    pub fn new(scale: Scale, only: &'a str, report: &'a mut dyn FnMut(Row<'_>)) -> Self {
        Self { scale, only, report }
    }

    /// Of two sizes the one of this run.
    pub fn size(&self, quick: usize, full: usize) -> usize {
        match self.scale {
            Scale::Quick => quick,
            Scale::Full => full,
        }
    }

    /// Whether a row is asked for.
    pub fn wants(&self, name: &str) -> bool {
        name.contains(self.only)
    }

    /// Measures a row, if it is asked for: `run` gives a value for each kind.
    pub fn row(&mut self, plan: Plan, floors: &[Kind], peers: &[Kind], run: impl Fn(&Kind) -> f64) {
        if !self.wants(&plan.name) {
            return;
        }
        let run = &run;
        let side = |kind: &Kind| {
            let kind = *kind;
            Side::new(kind.name, move || run(&kind))
        };
        (self.report)(Row {
            name: plan.name,
            unit: plan.unit,
            better: plan.better,
            ours: side(&OURS),
            floors: floors.iter().map(side).collect(),
            peers: peers.iter().map(side).collect(),
            goals: plan.goals,
        });
    }

    /// Measures a row whose sides are put together by hand, if it is asked for.
    pub fn custom_row(&mut self, row: Row<'_>) {
        if self.wants(&row.name) {
            (self.report)(row);
        }
    }
}

/// The peers whose records survive the end of the process.
#[cfg(feature = "peers")]
pub const PEERS_D1: &[Kind] = &[peers::COMMITLOG, peers::SQLITE];
/// The peers that sync.
#[cfg(feature = "peers")]
pub const PEERS_D2: &[Kind] = &[peers::OKAYWAL, peers::REDB, peers::SQLITE];
/// The peers that read by offset.
#[cfg(feature = "peers")]
pub const PEERS_READ: &[Kind] = &[peers::COMMITLOG, peers::REDB, peers::SQLITE];
/// Without the feature there are none.
#[cfg(not(feature = "peers"))]
pub const PEERS_D1: &[Kind] = &[];
/// Without the feature there are none.
#[cfg(not(feature = "peers"))]
pub const PEERS_D2: &[Kind] = &[];
/// Without the feature there are none.
#[cfg(not(feature = "peers"))]
pub const PEERS_READ: &[Kind] = &[];

/// A value of letters.
pub fn value(bytes: usize) -> Vec<u8> {
    (0..bytes).map(|index| b'a' + u8::try_from(index % 26).unwrap()).collect()
}

/// The same record, so many times.
pub fn batch(value: &[u8], records: usize) -> Vec<Record<'_>> {
    vec![Record::value(value); records]
}

/// A size as the names of rows have it.
pub fn size_name(bytes: usize) -> String {
    if bytes.is_multiple_of(1 << 10) {
        format!("{} KiB", bytes >> 10)
    } else {
        format!("{bytes} B")
    }
}
