//! What the queries answer with, where that is not an event.

use crate::wire_struct;

/// Query 3: an item that is offered by somebody who lives near.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LocalItem {
    /// The auction.
    pub auction: u64,
    /// Who sells it.
    pub name: String,
    /// Where.
    pub city: String,
    /// Two letters.
    pub state: String,
}

/// Query 4, half way: the highest bid for an auction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Priced {
    /// That of the auction.
    pub category: u64,
    /// In cents.
    pub price: u64,
}

/// Query 4: the closing prices of a category.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Average {
    /// Of all closing prices, in cents.
    pub sum: u64,
    /// How many auctions.
    pub count: u64,
}

impl Average {
    /// The mean, in cents, rounded down.
    #[must_use]
    pub fn mean(&self) -> u64 {
        self.sum.checked_div(self.count).unwrap_or_default()
    }
}

/// Query 5, half way: how many bids an auction has in a window.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ItemBids {
    /// The auction.
    pub auction: u64,
    /// How many bids.
    pub bids: i64,
}

/// Query 5: the auctions with the most bids in a window.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HotItems {
    /// How many bids.
    pub bids: i64,
    /// The auctions that got them, by their ids.
    pub auctions: Vec<u64>,
}

impl HotItems {
    /// An auction has come to that number of bids.
    #[must_use]
    pub fn with(mut self, auction: u64, bids: i64) -> Self {
        if bids > self.bids {
            self.bids = bids;
            self.auctions.clear();
        }
        if bids == self.bids
            && let Err(place) = self.auctions.binary_search(&auction)
        {
            self.auctions.insert(place, auction);
        }
        self
    }
}

/// Query 8: somebody who has registered and offered something within one window.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct NewSeller {
    /// The person's name.
    pub name: String,
    /// The begin of the window, in milliseconds.
    pub start_ms: i64,
    /// What was offered.
    pub auction: u64,
}

wire_struct!(LocalItem { auction, name, city, state });
wire_struct!(Priced { category, price });
wire_struct!(Average { sum, count });
wire_struct!(ItemBids { auction, bids });
wire_struct!(HotItems { bids, auctions });
wire_struct!(NewSeller { name, start_ms, auction });
