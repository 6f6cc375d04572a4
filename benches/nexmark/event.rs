//! What happens on the auction site.

use crate::wire::Wire;
use crate::wire_struct;

/// The topic of persons; the key is the person's id.
pub const PERSONS: &str = "persons";
/// The topic of auctions; the key is the auction's id.
pub const AUCTIONS: &str = "auctions";
/// The topic of bids; the key is the id of the auction.
pub const BIDS: &str = "bids";

/// Somebody registers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Person {
    /// Its number, from 1,000 on.
    pub id: u64,
    /// First and last name.
    pub name: String,
    /// Where to write to.
    pub email: String,
    /// Where the person lives.
    pub city: String,
    /// Two letters.
    pub state: String,
    /// When, in milliseconds.
    pub time_ms: i64,
}

/// Somebody offers something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Auction {
    /// Its number, from 1,000 on.
    pub id: u64,
    /// What is offered.
    pub item: String,
    /// The least price, in cents.
    pub initial_bid: u64,
    /// Below that price the seller keeps it, in cents.
    pub reserve: u64,
    /// When it opens, in milliseconds.
    pub time_ms: i64,
    /// The first millisecond that is too late for bids.
    pub expires_ms: i64,
    /// The person.
    pub seller: u64,
    /// 10 to 14.
    pub category: u64,
}

/// Somebody bids.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bid {
    /// For what.
    pub auction: u64,
    /// Who.
    pub bidder: u64,
    /// How much, in cents.
    pub price: u64,
    /// How the bidder came.
    pub channel: String,
    /// The page.
    pub url: String,
    /// When, in milliseconds.
    pub time_ms: i64,
}

wire_struct!(Person { id, name, email, city, state, time_ms });
wire_struct!(Auction { id, item, initial_bid, reserve, time_ms, expires_ms, seller, category });
wire_struct!(Bid { auction, bidder, price, channel, url, time_ms });

/// One event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Somebody registers.
    Person(Person),
    /// Somebody offers something.
    Auction(Auction),
    /// Somebody bids.
    Bid(Bid),
}

impl Event {
    /// The topic that it belongs to.
    #[must_use]
    pub const fn topic(&self) -> &'static str {
        match self {
            Self::Person(_) => PERSONS,
            Self::Auction(_) => AUCTIONS,
            Self::Bid(_) => BIDS,
        }
    }

    /// The key of its record.
    #[must_use]
    pub const fn key(&self) -> u64 {
        match self {
            Self::Person(person) => person.id,
            Self::Auction(auction) => auction.id,
            Self::Bid(bid) => bid.auction,
        }
    }

    /// When it happens, in milliseconds.
    #[must_use]
    pub const fn time_ms(&self) -> i64 {
        match self {
            Self::Person(person) => person.time_ms,
            Self::Auction(auction) => auction.time_ms,
            Self::Bid(bid) => bid.time_ms,
        }
    }

    /// The value of its record.
    #[must_use]
    pub fn value(&self) -> Vec<u8> {
        match self {
            Self::Person(person) => person.to_bytes(),
            Self::Auction(auction) => auction.to_bytes(),
            Self::Bid(bid) => bid.to_bytes(),
        }
    }
}
