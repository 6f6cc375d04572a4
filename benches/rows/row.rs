//! A row: what we do, what hand-written floors do, and what peers do, measured in turns and
//! compared as ratios.

/// How many rounds of each side make a median.
pub const ROUNDS: usize = 5;

/// What a side is there for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    Floor,
    Peer,
}

/// Which of two values is the better one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Better {
    /// A rate.
    Higher,
    /// A time.
    Lower,
}

/// One side of a row: each run gives a value in the row's unit.
pub struct Side<'a> {
    name: &'static str,
    run: Box<dyn FnMut() -> f64 + 'a>,
}

/// What a row is to reach.
#[derive(Clone, Copy, Debug, Default, PartialEq, serde::Serialize)]
pub struct Goals {
    /// Against the first floor.
    pub floor: Option<f64>,
    /// Against the best peer.
    pub peer: Option<f64>,
    /// By itself, in the row's unit.
    pub absolute: Option<f64>,
}

/// A row to be measured.
pub struct Row<'a> {
    pub name: String,
    pub unit: &'static str,
    pub better: Better,
    pub ours: Side<'a>,
    /// The first is the one that the goal speaks of.
    pub floors: Vec<Side<'a>>,
    pub peers: Vec<Side<'a>>,
    pub goals: Goals,
}

/// A side other than ours that was measured: its median, and ours divided by it.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct Other {
    pub name: &'static str,
    pub role: Role,
    pub value: f64,
    pub ratio: f64,
}

/// A row that was measured.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct Result {
    pub row: String,
    pub unit: &'static str,
    pub better: Better,
    pub ours: f64,
    pub others: Vec<Other>,
    pub goals: Goals,
}

impl<'a> Side<'a> {
    /// A side with the name of what runs.
    pub fn new(name: &'static str, run: impl FnMut() -> f64 + 'a) -> Self {
        Self { name, run: Box::new(run) }
    }
}

impl Row<'_> {
    /// Measures the sides in turns, so that what disturbs the machine disturbs all of them.
    ///
    /// The ratios are medians of the ratios of each round, not ratios of the medians: the sides of
    /// a round ran under the same disturbance.
    pub fn measure(self) -> Result {
        let mut ours = self.ours;
        let mut own_values = Vec::new();
        let floors = self.floors.into_iter().map(|side| (side, Role::Floor));
        let peers = self.peers.into_iter().map(|side| (side, Role::Peer));
        let mut others: Vec<_> = floors.chain(peers).map(|side| (side, Vec::new())).collect();
        for _ in 0..ROUNDS {
            own_values.push((ours.run)());
            for ((side, _), values) in &mut others {
                values.push((side.run)());
            }
        }
        let others = others.into_iter().map(|((side, role), values)| {
            let ratios = own_values.iter().zip(&values).map(|(ours, other)| ours / other);
            Other { name: side.name, role, ratio: median(ratios), value: median(values) }
        });
        Result {
            row: self.name,
            unit: self.unit,
            better: self.better,
            others: others.collect(),
            ours: median(own_values),
            goals: self.goals,
        }
    }
}

impl Result {
    /// The floor that the goal speaks of.
    pub fn floor(&self) -> Option<&Other> {
        self.others.iter().find(|other| other.role == Role::Floor)
    }

    /// The peer that does best.
    pub fn best_peer(&self) -> Option<&Other> {
        let peers = self.others.iter().filter(|other| other.role == Role::Peer);
        match self.better {
            Better::Higher => peers.max_by(|a, b| a.value.total_cmp(&b.value)),
            Better::Lower => peers.min_by(|a, b| a.value.total_cmp(&b.value)),
        }
    }

    /// The row as a line for people.
    pub fn text(&self) -> String {
        let mut line = format!("{}: {}", self.row, self.value(self.ours));
        for Other { name, value, ratio, .. } in &self.others {
            line += &format!(", {name} {} (× {ratio:.2})", self.value(*value));
        }
        line
    }

    /// The row as a JSON object.
    pub fn json(&self) -> String {
        serde_json::to_string(self).expect("numbers and strings have a JSON form")
    }

    /// A value of this row with three digits that count, and its unit.
    pub fn value(&self, value: f64) -> String {
        let (value, prefix) = match value {
            value if value >= 1e6 => (value / 1e6, "M "),
            value if value >= 1e4 => (value / 1e3, "k "),
            value => (value, ""),
        };
        let decimals = if value < 10.0 { 2 } else { usize::from(value < 100.0) };
        format!("{value:.decimals$} {prefix}{}", self.unit)
    }
}

/// The middle of the values; the mean of the two in the middle of an even number of them.
///
/// # Panics
/// If there are none.
pub fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    let upper = values[values.len() / 2];
    if values.len() % 2 == 1 {
        return upper;
    }
    f64::midpoint(values[values.len() / 2 - 1], upper)
}

/// The value below which so many hundredths of them lie.
///
/// # Panics
/// If there are none.
pub fn percentile_of(values: impl IntoIterator<Item = f64>, percentile: usize) -> f64 {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    values[(values.len() - 1) * percentile / 100]
}
