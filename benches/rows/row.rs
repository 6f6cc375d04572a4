//! A row: what we do, what a hand-written floor does, and what the best peer does, measured in
//! turns and compared as ratios.

use std::time::Duration;

/// How many rounds of each side make a median.
pub const ROUNDS: usize = 5;

/// One side of a row: runs once, and says how many units it did in what time.
pub struct Side<'a> {
    name: &'static str,
    run: Box<dyn FnMut() -> Measure + 'a>,
}

/// What one run did.
#[derive(Clone, Copy, Debug)]
pub struct Measure {
    pub units: u64,
    pub elapsed: Duration,
}

/// A row to be measured.
pub struct Row<'a> {
    pub name: &'static str,
    pub unit: &'static str,
    pub ours: Side<'a>,
    pub floor: Option<Side<'a>>,
    pub peer: Option<Side<'a>>,
    pub goal_floor: Option<f64>,
    pub goal_peer: Option<f64>,
}

/// A row that was measured: medians, in units a second.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct Result {
    pub row: &'static str,
    pub ours: f64,
    pub floor: Option<f64>,
    pub peer: Option<f64>,
    pub peer_name: Option<&'static str>,
    pub ratio_floor: Option<f64>,
    pub ratio_peer: Option<f64>,
    pub goal_floor: Option<f64>,
    pub goal_peer: Option<f64>,
    pub unit: &'static str,
}

impl<'a> Side<'a> {
    /// A side with the name of what runs.
    pub fn new(name: &'static str, run: impl FnMut() -> Measure + 'a) -> Self {
        Self { name, run: Box::new(run) }
    }

    fn rate(&mut self) -> f64 {
        let measure = (self.run)();
        measure.units as f64 / measure.elapsed.as_secs_f64()
    }
}

impl Row<'_> {
    /// Measures the sides in turns, so that what disturbs the machine disturbs all of them.
    ///
    /// The ratios are medians of the ratios of each round, not ratios of the medians: the sides of
    /// a round ran under the same disturbance.
    pub fn measure(mut self) -> Result {
        let (mut ours, mut floor, mut peer) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            ours.push(self.ours.rate());
            floor.extend(self.floor.as_mut().map(Side::rate));
            peer.extend(self.peer.as_mut().map(Side::rate));
        }
        let ratio = |other: &[f64]| {
            median(ours.iter().zip(other).map(|(ours, other)| ours / other).collect())
        };
        Result {
            row: self.name,
            ratio_floor: ratio(&floor),
            ratio_peer: ratio(&peer),
            floor: median(floor),
            peer: median(peer),
            peer_name: self.peer.map(|peer| peer.name),
            ours: median(ours).expect("there is at least one round"),
            goal_floor: self.goal_floor,
            goal_peer: self.goal_peer,
            unit: self.unit,
        }
    }
}

impl Result {
    /// The row as a line for people.
    pub fn text(&self) -> String {
        let mut line = format!("{:<40} ours {:>12} {}", self.row, rate(self.ours), self.unit);
        if let Some(floor) = self.floor {
            line += &format!(
                "  floor {:>12}{}",
                rate(floor),
                versus(self.ratio_floor, self.goal_floor)
            );
        }
        if let (Some(peer), Some(name)) = (self.peer, self.peer_name) {
            line +=
                &format!("  {name} {:>12}{}", rate(peer), versus(self.ratio_peer, self.goal_peer));
        }
        line
    }

    /// The row as a JSON object.
    pub fn json(&self) -> String {
        serde_json::to_string(self).expect("numbers and strings have a JSON form")
    }
}

/// The middle of the values; the mean of the two in the middle of an even number of them.
pub fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let upper = *values.get(values.len() / 2)?;
    if values.len() % 2 == 1 {
        return Some(upper);
    }
    Some((values[values.len() / 2 - 1] + upper) / 2.0)
}

fn versus(ratio: Option<f64>, goal: Option<f64>) -> String {
    let mut text = String::new();
    if let Some(ratio) = ratio {
        text += &format!("  ratio {ratio:.2}");
    }
    if let Some(goal) = goal {
        text += &format!(" (goal {goal:.2})");
    }
    text
}

/// A rate with three significant digits and a suffix.
fn rate(value: f64) -> String {
    match value {
        value if value >= 1e6 => format!("{:.2} M", value / 1e6),
        value if value >= 1e3 => format!("{:.2} k", value / 1e3),
        value => format!("{value:.2}"),
    }
}
