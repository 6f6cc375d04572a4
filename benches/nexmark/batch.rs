//! What the queries answer, computed by plain loops over all events.
//!
//! The answers of the queries 0 to 3 and 8 are records, those of the others the last state of a
//! table; either way with the keys that their records have.

use std::collections::BTreeMap;

use crate::answer::{HotItems, LocalItem, NewSeller};
use crate::event::{Auction, Bid, Event, Person};
use crate::query::{
    ADVANCE, AUCTION_STEP, LOCAL_CATEGORY, LOCAL_STATES, WINDOW, in_euros, window_start_ms,
};

fn bids(events: &[Event]) -> impl Iterator<Item = &Bid> {
    events.iter().filter_map(|event| match event {
        Event::Bid(bid) => Some(bid),
        Event::Person(_) | Event::Auction(_) => None,
    })
}

fn auctions(events: &[Event]) -> impl Iterator<Item = &Auction> {
    events.iter().filter_map(|event| match event {
        Event::Auction(auction) => Some(auction),
        Event::Person(_) | Event::Bid(_) => None,
    })
}

fn persons(events: &[Event]) -> BTreeMap<u64, &Person> {
    let persons = events.iter().filter_map(|event| match event {
        Event::Person(person) => Some(person),
        Event::Auction(_) | Event::Bid(_) => None,
    });
    persons.map(|person| (person.id, person)).collect()
}

/// Query 0.
#[must_use]
pub fn pass_through(events: &[Event]) -> Vec<(u64, Bid)> {
    bids(events).map(|bid| (bid.auction, bid.clone())).collect()
}

/// Query 1.
#[must_use]
pub fn currency(events: &[Event]) -> Vec<(u64, Bid)> {
    bids(events).map(|bid| (bid.auction, in_euros(bid.clone()))).collect()
}

/// Query 2.
#[must_use]
pub fn selection(events: &[Event]) -> Vec<(u64, u64)> {
    let some = bids(events).filter(|bid| bid.auction.is_multiple_of(AUCTION_STEP));
    some.map(|bid| (bid.auction, bid.price)).collect()
}

/// Query 3.
#[must_use]
pub fn local_items(events: &[Event]) -> Vec<(u64, LocalItem)> {
    let persons = persons(events);
    let local = auctions(events).filter(|auction| auction.category == LOCAL_CATEGORY);
    let sold = local.filter_map(|auction| {
        let Person { name, city, state, .. } = (*persons.get(&auction.seller)?).clone();
        let item = LocalItem { auction: auction.id, name, city, state };
        LOCAL_STATES.contains(&item.state.as_str()).then_some((auction.seller, item))
    });
    sold.collect()
}

/// Query 4.
#[must_use]
pub fn average_prices(events: &[Event]) -> BTreeMap<u64, u64> {
    let winning = winning_bids(events);
    let mut prices: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
    for auction in auctions(events) {
        if let Some(bid) = winning.get(&auction.id) {
            prices.entry(auction.category).or_default().push(bid.price);
        }
    }
    let mean = |prices: Vec<u64>| prices.iter().sum::<u64>() / prices.len() as u64;
    prices.into_iter().map(|(category, prices)| (category, mean(prices))).collect()
}

/// Query 5.
#[must_use]
pub fn hot_items(events: &[Event]) -> BTreeMap<i64, HotItems> {
    let millis = |duration: std::time::Duration| i64::try_from(duration.as_millis()).ok();
    let (size_ms, advance_ms) = millis(WINDOW).zip(millis(ADVANCE)).expect("windows are short");
    let mut counts: BTreeMap<i64, BTreeMap<u64, i64>> = BTreeMap::new();
    for bid in bids(events) {
        let last_ms = bid.time_ms - bid.time_ms.rem_euclid(advance_ms);
        let mut start_ms = last_ms;
        while start_ms > bid.time_ms - size_ms {
            *counts.entry(start_ms).or_default().entry(bid.auction).or_default() += 1;
            start_ms -= advance_ms;
        }
    }
    let hot = |counts: BTreeMap<u64, i64>| {
        let most = counts.values().copied().max().unwrap_or_default();
        let hottest = counts.into_iter().filter(|(_, bids)| *bids == most);
        HotItems { bids: most, auctions: hottest.map(|(auction, _)| auction).collect() }
    };
    counts.into_iter().map(|(start_ms, counts)| (start_ms, hot(counts))).collect()
}

/// Query 7.
#[must_use]
pub fn highest_bid(events: &[Event]) -> BTreeMap<i64, Bid> {
    let mut windows: BTreeMap<i64, Vec<&Bid>> = BTreeMap::new();
    for bid in bids(events) {
        windows.entry(window_start_ms(bid.time_ms)).or_default().push(bid);
    }
    let highest = |bids: Vec<&Bid>| best(bids).expect("a window is there because of a bid");
    windows.into_iter().map(|(start_ms, bids)| (start_ms, highest(bids))).collect()
}

/// Query 8.
#[must_use]
pub fn new_sellers(events: &[Event]) -> Vec<(u64, NewSeller)> {
    let persons = persons(events);
    let sold = auctions(events).filter_map(|auction| {
        let person = persons.get(&auction.seller)?;
        let start_ms = window_start_ms(auction.time_ms);
        let seller = NewSeller { name: person.name.clone(), start_ms, auction: auction.id };
        (window_start_ms(person.time_ms) == start_ms).then_some((person.id, seller))
    });
    sold.collect()
}

/// Query 9.
#[must_use]
pub fn winning_bids(events: &[Event]) -> BTreeMap<u64, Bid> {
    let mut bids_of: BTreeMap<u64, Vec<&Bid>> = BTreeMap::new();
    bids(events).for_each(|bid| bids_of.entry(bid.auction).or_default().push(bid));
    let winner = |auction: &Auction| {
        let open = auction.time_ms..auction.expires_ms;
        let bids = bids_of.get(&auction.id)?.iter().copied();
        Some((auction.id, best(bids.filter(|bid| open.contains(&bid.time_ms)))?))
    };
    auctions(events).filter_map(winner).collect()
}

fn best<'a>(bids: impl IntoIterator<Item = &'a Bid>) -> Option<Bid> {
    bids.into_iter().max_by_key(|bid| (bid.price, std::cmp::Reverse(bid.time_ms))).cloned()
}
