//! What the lines of the files are, and what becomes of them.

use headwater::topology::{DefaultSerde, JsonSerde, SerdeRef};
use serde::{Deserialize, Serialize};

/// What the files have where there is nothing.
const MISSING: &str = "NA";

/// A flight, by the tail number of its plane.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Flight {
    pub(crate) carrier: String,
    pub(crate) number: String,
    pub(crate) origin: String,
    pub(crate) destination: String,
    /// In minutes; `None` for a flight that was cancelled.
    pub(crate) delay: Option<i64>,
}

/// A plane, by its tail number.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Plane {
    pub(crate) manufacturer: String,
    pub(crate) model: String,
    pub(crate) seats: u32,
}

/// A flight with what is known of its plane and its airline.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Enriched {
    pub(crate) flight: Flight,
    pub(crate) plane: Option<Plane>,
    pub(crate) airline: Option<String>,
}

/// The delays of some flights together.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Delays {
    pub(crate) flights: i64,
    pub(crate) minutes: i64,
}

impl Flight {
    /// The tail number and the flight of a line of `flights.csv`; `None` for its header, and for
    /// flights without a plane.
    pub(crate) fn parse(line: &str) -> Option<(String, Self)> {
        let fields: Vec<&str> = line.split(',').collect();
        let [_, _, _, _, _, delay, _, _, _, carrier, number, tail, origin, destination, ..] =
            fields[..]
        else {
            return None;
        };
        (tail != "tailnum" && tail != MISSING && !tail.is_empty()).then(|| {
            let flight = Self {
                carrier: carrier.to_owned(),
                number: number.to_owned(),
                origin: origin.to_owned(),
                destination: destination.to_owned(),
                delay: delay.parse().ok(),
            };
            (tail.to_owned(), flight)
        })
    }
}

impl Plane {
    /// The tail number and the plane of a line of `planes.csv`; `None` for its header.
    pub(crate) fn parse(line: &str) -> Option<(String, Self)> {
        let fields: Vec<&str> = line.split(',').collect();
        let [tail, _, _, manufacturer, model, _, seats, ..] = fields[..] else { return None };
        let seats = seats.parse().ok()?;
        let (manufacturer, model) = (manufacturer.to_owned(), model.to_owned());
        Some((tail.to_owned(), Self { manufacturer, model, seats }))
    }
}

/// The code and the name of a line of `airlines.csv`.
pub(crate) fn airline(line: &str) -> Option<(String, String)> {
    line.split_once(',').map(|(code, name)| (code.to_owned(), name.to_owned()))
}

impl Enriched {
    /// A flight whose airline is not looked up yet.
    pub(crate) fn new(flight: Flight, plane: Option<Plane>) -> Self {
        Self { flight, plane, airline: None }
    }
}

impl Delays {
    /// With one more flight, unless it was cancelled.
    pub(crate) fn with(self, flight: &Flight) -> Self {
        match flight.delay {
            Some(minutes) => Self { flights: self.flights + 1, minutes: self.minutes + minutes },
            None => self,
        }
    }

    /// The mean delay in minutes, with one decimal.
    pub(crate) fn mean(&self) -> String {
        let tenths = self.minutes * 10 / self.flights.max(1);
        let sign = if tenths < 0 { "-" } else { "" };
        format!("{sign}{}.{}", tenths.abs() / 10, tenths.abs() % 10)
    }
}

macro_rules! as_json {
    ($($name:ty),+) => {
        $(impl DefaultSerde for $name {
            fn default_serde() -> SerdeRef<Self> {
                JsonSerde::shared()
            }
        })+
    };
}

as_json!(Flight, Plane, Enriched, Delays);
