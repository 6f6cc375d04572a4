//! The topology: from lines of three files to joined flights and delays.

use headwater::prelude::*;
use headwater::topology::BuildError;

use crate::records::{self, Delays, Enriched, Flight, Plane};

/// Lines of `flights.csv`, without keys.
pub(crate) const FLIGHTS: &str = "flight-lines";
/// Lines of `planes.csv`, without keys.
pub(crate) const PLANES: &str = "plane-lines";
/// Lines of `airlines.csv`, without keys.
pub(crate) const AIRLINES: &str = "airline-lines";
/// Flights as JSON with their planes and airlines, by the code of the airline.
pub(crate) const ENRICHED: &str = "flights-enriched";
/// Delays as JSON, by the manufacturer of the planes.
pub(crate) const DELAYS: &str = "delays-by-manufacturer";

pub(crate) const DELAYS_STORE: &str = "delays";

pub(crate) fn topology() -> Result<Topology, BuildError> {
    let builder = StreamsBuilder::new();
    let lines = |topic: &str| builder.stream::<Option<String>, String>(topic);

    let planes = lines(PLANES)
        .flat_map(|_, line| Plane::parse(&line))
        .repartition("planes-by-tail")
        .to_table::<Plane>("planes");
    let airlines = lines(AIRLINES)
        .flat_map(|_, line| records::airline(&line))
        .repartition("airlines-by-code")
        .to_table::<String>("airlines");

    let enriched = lines(FLIGHTS)
        .flat_map(|_, line| Flight::parse(&line))
        .repartition("flights-by-tail")
        .left_join_table(&planes, Enriched::new)
        .select_key(|_, enriched| enriched.flight.carrier.clone())
        .repartition("flights-by-carrier")
        .left_join_table(&airlines, |enriched, airline| Enriched { airline, ..enriched });
    enriched.to(ENRICHED);

    enriched
        .flat_map(|_, enriched| Some((enriched.plane?.manufacturer, enriched.flight)))
        .group_by_key_with("by-manufacturer")
        .aggregate(Delays::default, |_, flight, delays: Delays| delays.with(&flight), DELAYS_STORE)
        .to_stream()
        .to(DELAYS);
    builder.build()
}
