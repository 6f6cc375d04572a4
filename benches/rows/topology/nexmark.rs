//! Nexmark's queries beside loops over the same events.

use std::collections::{BTreeMap, HashMap};

use headwater_nexmark::query::{
    ADVANCE, AUCTION_STEP, LOCAL_CATEGORY, LOCAL_STATES, WINDOW, better, in_euros, is_in_time,
    window_start_ms,
};
use headwater_nexmark::wire::Wire;
use headwater_nexmark::{
    Auction, Average, BIDS, Bid, Generator, HotItems, LocalItem, NewSeller, Person, Priced, Query,
};

use crate::Scale;
use crate::topology::case::{ByHand, Case, Generate};
use crate::topology::floor::{Floor, FloorTable};
use crate::topology::frames::Frame;
use crate::topology::input::Input;

/// How many events there are; a query reads those of its topics.
const EVENTS: (u32, u32) = (50_000, 1_000_000);
/// The queries that only read persons and auctions are about so many more events, for those are few.
const RARE: u32 = 4;
/// Those that make many records of one are about so many fewer.
const HEAVY: u32 = 2;

/// A row for each query.
pub fn case(query: Query) -> Case {
    let (generate, floor): (Generate, ByHand) = match query {
        Query::PassThrough => (bids, pass_through),
        Query::Currency => (bids, currency),
        Query::Selection => (bids, selection),
        Query::LocalItems => (persons_and_auctions, local_items),
        Query::AveragePrices => (auctions_and_bids, average_prices),
        Query::HotItems => (fewer_bids, hot_items),
        Query::HighestBid => (bids, highest_bid),
        Query::NewSellers => (persons_and_auctions, new_sellers),
        Query::WinningBids => (auctions_and_bids, winning_bids),
    };
    Case {
        name: format!("Nexmark {}", query.name()),
        goals: (Some(0.4), 8.0),
        topics: query.inputs(),
        generate,
        topology: Box::new(move || query.topology().unwrap()),
        floor,
        // Their names begin with their numbers.
        kafka_streams: query.name().split(' ').next(),
    }
}

fn events(events: u32, topics: &[&str], into: &Input<'_>) -> u32 {
    let mut records = 0;
    for event in Generator::new(7).take(events as usize) {
        if topics.contains(&event.topic()) {
            into.push(event.topic(), event.time_ms(), &event.key().to_be_bytes(), &event.value());
            records += 1;
        }
    }
    records
}

fn bids(scale: Scale, into: &Input<'_>) -> u32 {
    events(scale.size(EVENTS.0, EVENTS.1), &[BIDS], into)
}

fn fewer_bids(scale: Scale, into: &Input<'_>) -> u32 {
    events(scale.size(EVENTS.0, EVENTS.1) / HEAVY, &[BIDS], into)
}

fn persons_and_auctions(scale: Scale, into: &Input<'_>) -> u32 {
    let topics = Query::LocalItems.inputs();
    events(scale.size(EVENTS.0, EVENTS.1) * RARE, topics, into)
}

fn auctions_and_bids(scale: Scale, into: &Input<'_>) -> u32 {
    events(scale.size(EVENTS.0, EVENTS.1), Query::WinningBids.inputs(), into)
}

/// Key, value and time of a frame.
fn decode<V: Wire>(frame: Frame<'_>) -> (u64, V, i64) {
    let key = u64::from_bytes(frame.key.unwrap()).unwrap();
    (key, V::from_bytes(frame.value.unwrap()).unwrap(), frame.time_ms)
}

/// The encoded key and value of what is written next.
#[derive(Default)]
struct Encoder {
    key: Vec<u8>,
    value: Vec<u8>,
}

impl Encoder {
    fn send(&mut self, floor: &mut Floor, key: &impl Wire, value: &impl Wire, time_ms: i64) {
        self.encode(key, value);
        floor.out.push(time_ms, Some(&self.key), Some(&self.value));
    }

    fn log(&mut self, floor: &mut Floor, key: &impl Wire, value: &impl Wire) {
        self.encode(key, value);
        floor.changelog.push(0, Some(&self.key), Some(&self.value));
    }

    fn encode(&mut self, key: &impl Wire, value: &impl Wire) {
        self.key.clear();
        key.write(&mut self.key);
        self.value.clear();
        value.write(&mut self.value);
    }

    fn log_all<K, V>(&mut self, floor: &mut Floor, table: &mut FloorTable<K, V>)
    where
        K: Wire + std::hash::Hash + Eq + Clone,
        V: Wire,
    {
        table.commit(|key, row| self.log(floor, key, row.unwrap()));
    }
}

fn pass_through(floor: &mut Floor) {
    let mut encoder = Encoder::default();
    while let Some(frame) = floor.inputs[0].next() {
        let (key, bid, time_ms) = decode::<Bid>(frame);
        encoder.send(floor, &key, &bid, time_ms);
    }
}

fn currency(floor: &mut Floor) {
    let mut encoder = Encoder::default();
    while let Some(frame) = floor.inputs[0].next() {
        let (key, bid, time_ms) = decode::<Bid>(frame);
        encoder.send(floor, &key, &in_euros(bid), time_ms);
    }
}

fn selection(floor: &mut Floor) {
    let mut encoder = Encoder::default();
    while let Some(frame) = floor.inputs[0].next() {
        let (auction, bid, time_ms) = decode::<Bid>(frame);
        if auction.is_multiple_of(AUCTION_STEP) {
            encoder.send(floor, &auction, &bid.price, time_ms);
        }
    }
}

fn local_items(floor: &mut Floor) {
    let mut sellers = FloorTable::<u64, Person>::default();
    let mut encoder = Encoder::default();
    while let Some(index) = floor.earliest() {
        let frame = floor.inputs[index].next().unwrap();
        if index == 0 {
            let (id, person, _) = decode::<Person>(frame);
            if LOCAL_STATES.contains(&person.state.as_str()) {
                let row = person.clone();
                sellers.change(&id, || person, |old| *old = row);
            }
        } else {
            let (_, auction, time_ms) = decode::<Auction>(frame);
            let is_local = auction.category == LOCAL_CATEGORY;
            if let Some(seller) = sellers.get(&auction.seller).filter(|_| is_local) {
                let Person { name, city, state, .. } = seller.clone();
                let item = LocalItem { auction: auction.id, name, city, state };
                encoder.send(floor, &auction.seller, &item, time_ms);
            }
        }
        if floor.is_commit_due() {
            encoder.log_all(floor, &mut sellers);
        }
    }
    encoder.log_all(floor, &mut sellers);
}

fn average_prices(floor: &mut Floor) {
    let mut auctions = FloorTable::<u64, Auction>::default();
    let mut closing = FloorTable::<u64, Priced>::default();
    let mut averages = FloorTable::<u64, Average>::default();
    let mut encoder = Encoder::default();
    while let Some(index) = floor.earliest() {
        let frame = floor.inputs[index].next().unwrap();
        if index == 0 {
            let (id, auction, _) = decode::<Auction>(frame);
            let row = auction.clone();
            auctions.change(&id, || auction, |old| *old = row);
        } else {
            let (id, bid, time_ms) = decode::<Bid>(frame);
            if let Some(auction) = auctions.get(&id).filter(|auction| is_in_time(&bid, auction)) {
                let category = auction.category;
                let is_first = closing.get(&id).is_none();
                let new = || Priced { category, price: bid.price };
                let (old, price) = closing.change(&id, new, |priced| {
                    let old = priced.price;
                    priced.price = old.max(bid.price);
                    (old, priced.price)
                });
                let none = || Average { sum: 0, count: 0 };
                let mean = averages.change(&category, none, |average| {
                    average.sum += if is_first { price } else { price - old };
                    average.count += u64::from(is_first);
                    average.mean()
                });
                encoder.send(floor, &category, &mean, time_ms);
            }
        }
        if floor.is_commit_due() {
            encoder.log_all(floor, &mut auctions);
            encoder.log_all(floor, &mut closing);
            encoder.log_all(floor, &mut averages);
        }
    }
    encoder.log_all(floor, &mut auctions);
    encoder.log_all(floor, &mut closing);
    encoder.log_all(floor, &mut averages);
}

fn hot_items(floor: &mut Floor) {
    let millis = |duration: std::time::Duration| i64::try_from(duration.as_millis()).unwrap();
    let (size_ms, advance_ms) = (millis(WINDOW), millis(ADVANCE));
    let mut counts: BTreeMap<i64, FloorTable<u64, i64>> = BTreeMap::new();
    let mut hot = FloorTable::<i64, HotItems>::default();
    let mut encoder = Encoder::default();
    while let Some(frame) = floor.inputs[0].next() {
        let (auction, _, time_ms) = decode::<Bid>(frame);
        let mut start_ms = time_ms - time_ms % advance_ms;
        while start_ms > time_ms - size_ms {
            let window = counts.entry(start_ms).or_default();
            let bids = window.change(
                &auction,
                || 0,
                |bids| {
                    *bids += 1;
                    *bids
                },
            );
            let items = hot.change(&start_ms, HotItems::default, |items| {
                *items = std::mem::take(items).with(auction, bids);
                items.clone()
            });
            encoder.send(floor, &start_ms, &items, time_ms);
            start_ms -= advance_ms;
        }
        if floor.is_commit_due() {
            counts.values_mut().for_each(|window| encoder.log_all(floor, window));
            encoder.log_all(floor, &mut hot);
            counts.retain(|start_ms, _| start_ms + size_ms > time_ms);
        }
    }
    counts.values_mut().for_each(|window| encoder.log_all(floor, window));
    encoder.log_all(floor, &mut hot);
}

fn highest_bid(floor: &mut Floor) {
    let mut highest = FloorTable::<i64, Bid>::default();
    let mut encoder = Encoder::default();
    while let Some(frame) = floor.inputs[0].next() {
        let (_, bid, time_ms) = decode::<Bid>(frame);
        let start_ms = window_start_ms(time_ms);
        let first = bid.clone();
        let best = highest.change(
            &start_ms,
            || first,
            |row| {
                *row = better(row.clone(), bid);
                row.clone()
            },
        );
        encoder.send(floor, &start_ms, &best, time_ms);
        if floor.is_commit_due() {
            encoder.log_all(floor, &mut highest);
        }
    }
    encoder.log_all(floor, &mut highest);
}

fn new_sellers(floor: &mut Floor) {
    let mut persons: HashMap<u64, Person> = HashMap::new();
    let mut encoder = Encoder::default();
    while let Some(index) = floor.earliest() {
        let frame = floor.inputs[index].next().unwrap();
        if index == 0 {
            let (id, person, _) = decode::<Person>(frame);
            encoder.log(floor, &id, &person);
            persons.insert(id, person);
        } else {
            let (_, auction, time_ms) = decode::<Auction>(frame);
            encoder.log(floor, &auction.seller, &auction);
            let start_ms = window_start_ms(auction.time_ms);
            let seller = persons.get(&auction.seller);
            let new = seller.filter(|person| window_start_ms(person.time_ms) == start_ms);
            if let Some(person) = new {
                let name = person.name.clone();
                let seller = NewSeller { name, start_ms, auction: auction.id };
                encoder.send(floor, &auction.seller, &seller, time_ms);
            }
        }
    }
}

fn winning_bids(floor: &mut Floor) {
    let mut auctions = FloorTable::<u64, Auction>::default();
    let mut winning = FloorTable::<u64, Bid>::default();
    let mut encoder = Encoder::default();
    while let Some(index) = floor.earliest() {
        let frame = floor.inputs[index].next().unwrap();
        if index == 0 {
            let (id, auction, _) = decode::<Auction>(frame);
            let row = auction.clone();
            auctions.change(&id, || auction, |old| *old = row);
        } else {
            let (id, bid, time_ms) = decode::<Bid>(frame);
            if auctions.get(&id).is_some_and(|auction| is_in_time(&bid, auction)) {
                let first = bid.clone();
                let best = winning.change(
                    &id,
                    || first,
                    |row| {
                        *row = better(row.clone(), bid);
                        row.clone()
                    },
                );
                encoder.send(floor, &id, &best, time_ms);
            }
        }
        if floor.is_commit_due() {
            encoder.log_all(floor, &mut auctions);
            encoder.log_all(floor, &mut winning);
        }
    }
    encoder.log_all(floor, &mut auctions);
    encoder.log_all(floor, &mut winning);
}
