//! Nexmark: an auction site as a stream of events, and queries over it, written with the DSL.
//!
//! The [`Generator`] makes the events, the same ones each time; [`Query`] has the queries 0 to 5 and
//! 7 to 9 as topologies, and [`batch`] computes the same by plain loops over all events, for the
//! tests. Persons, auctions and bids are topics of their own, keyed by what they are about.
#![allow(clippy::missing_panics_doc, reason = "a benchmark, not an API")]

pub mod wire;
pub mod event;
pub mod generator;
pub mod answer;
pub mod batch;
pub mod query;

pub use answer::{Average, HotItems, ItemBids, LocalItem, NewSeller, Priced};
pub use event::{AUCTIONS, Auction, BIDS, Bid, Event, PERSONS, Person};
pub use generator::Generator;
pub use query::{OUTPUT, Query};
