//! The events, one a millisecond: of fifty one is a person, three are auctions and the rest bids.

use fastrand::Rng;

use crate::event::{Auction, Bid, Event, Person};

/// Of so many events …
pub const EVENTS_PER_EPOCH: u64 = 50;
/// … the first is a person, and so many after it are auctions.
pub const AUCTIONS_PER_EPOCH: u64 = 3;

/// The time of the first event, in milliseconds: a multiple of all windows of the queries.
pub const START_MS: i64 = 1_700_000_000_000;

const FIRST_ID: u64 = 1_000;
/// How many of the newest auctions get bids.
const AUCTIONS_OPEN: u64 = 100;
/// How many of the newest persons sell and bid.
const PERSONS_ACTIVE: u64 = 1_000;
/// Every so many auctions one is hot: half of the bids go to the newest of those.
const HOT_AUCTION_STEP: u64 = 100;
/// Every so many persons one is hot: three of four sales and bids are by the newest of those.
const HOT_PERSON_STEP: u64 = 100;
const CATEGORIES: u64 = 5;
const FIRST_CATEGORY: u64 = 10;
/// The longest time that an auction is open: about as long as it takes until enough newer ones are
/// there that it gets no bids.
const OPEN_MS_MAX: i64 = 2_500;

const FIRST_NAMES: [&str; 8] = ["Ada", "Bela", "Chiara", "Dag", "Emre", "Freya", "Goran", "Hana"];
const LAST_NAMES: [&str; 8] =
    ["Ahlberg", "Bruni", "Castro", "Dietz", "Eriksen", "Fabre", "Grau", "Horvat"];
const CITIES: [&str; 8] =
    ["Boise", "Portland", "Fresno", "Seattle", "Phoenix", "Bend", "Cheyenne", "Kent"];
const STATES: [&str; 6] = ["AZ", "CA", "ID", "OR", "WA", "WY"];
const CHANNELS: [&str; 4] = ["apple", "google", "facebook", "baidu"];

/// Makes the events, in their order: the same ones for the same seed.
#[derive(Clone, Debug)]
pub struct Generator {
    random: Rng,
    next: u64,
}

impl Generator {
    /// Begins with the first event.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self { random: Rng::with_seed(seed), next: 0 }
    }

    fn person(&mut self, epoch: u64, time_ms: i64) -> Person {
        let random = &mut self.random;
        let (first, last) = (pick(random, &FIRST_NAMES), pick(random, &LAST_NAMES));
        Person {
            id: FIRST_ID + epoch,
            name: format!("{first} {last}"),
            email: format!("{first}.{last}@example.com").to_lowercase(),
            city: pick(random, &CITIES).to_owned(),
            state: pick(random, &STATES).to_owned(),
            time_ms,
        }
    }

    fn auction(&mut self, id: u64, epoch: u64, time_ms: i64) -> Auction {
        let seller = self.active_person(epoch);
        let random = &mut self.random;
        let initial_bid = price(random);
        Auction {
            id,
            item: format!("item {:06}", random.u32(..1_000_000)),
            initial_bid,
            reserve: initial_bid + price(random),
            time_ms,
            expires_ms: time_ms + random.i64(1..=OPEN_MS_MAX),
            seller,
            category: FIRST_CATEGORY + random.u64(..CATEGORIES),
        }
    }

    fn bid(&mut self, epoch: u64, time_ms: i64) -> Bid {
        // The auctions of this epoch are there by now.
        let newest = (epoch + 1) * AUCTIONS_PER_EPOCH - 1;
        let auction = if self.random.bool() {
            newest / HOT_AUCTION_STEP * HOT_AUCTION_STEP
        } else {
            self.random.u64(newest.saturating_sub(AUCTIONS_OPEN - 1)..=newest)
        };
        let bidder = self.active_person(epoch);
        let random = &mut self.random;
        Bid {
            auction: FIRST_ID + auction,
            bidder,
            price: price(random),
            channel: pick(random, &CHANNELS).to_owned(),
            url: format!("https://auctions.example.com/item.htm?query={}", random.u32(..)),
            time_ms,
        }
    }

    fn active_person(&mut self, newest: u64) -> u64 {
        let person = if self.random.u8(..4) > 0 {
            newest / HOT_PERSON_STEP * HOT_PERSON_STEP
        } else {
            self.random.u64(newest.saturating_sub(PERSONS_ACTIVE - 1)..=newest)
        };
        FIRST_ID + person
    }
}

impl Iterator for Generator {
    type Item = Event;

    fn next(&mut self) -> Option<Event> {
        let (epoch, number) = (self.next / EVENTS_PER_EPOCH, self.next % EVENTS_PER_EPOCH);
        let time_ms = START_MS + i64::try_from(self.next).ok()?;
        self.next += 1;
        Some(match number {
            0 => Event::Person(self.person(epoch, time_ms)),
            number if number <= AUCTIONS_PER_EPOCH => {
                let id = FIRST_ID + epoch * AUCTIONS_PER_EPOCH + number - 1;
                Event::Auction(self.auction(id, epoch, time_ms))
            }
            _ => Event::Bid(self.bid(epoch, time_ms)),
        })
    }
}

fn pick<'a>(random: &mut Rng, words: &[&'a str]) -> &'a str {
    random.choice(words).expect("there are words")
}

/// In cents: small ones are as frequent as ones ten times as large.
fn price(random: &mut Rng) -> u64 {
    let magnitude = 10_u64.pow(random.u32(2..7));
    random.u64(magnitude..magnitude * 10)
}
