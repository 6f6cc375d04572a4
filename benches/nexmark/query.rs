//! The queries, as topologies.

use std::time::Duration;

use headwater_topology::{
    BuildError, Grouped, JoinWindows, Joined, KStream, KTable, StreamsBuilder, TimeWindows,
    Topology,
};

use crate::answer::{Average, HotItems, ItemBids, LocalItem, NewSeller, Priced};
use crate::event::{AUCTIONS, Auction, BIDS, Bid, PERSONS, Person};

/// The topic that a query writes.
pub const OUTPUT: &str = "out";

/// Query 2 asks for the auctions whose ids this divides.
pub const AUCTION_STEP: u64 = 123;
/// Query 3 asks for the items of this category …
pub const LOCAL_CATEGORY: u64 = 10;
/// … that are sold in these states.
pub const LOCAL_STATES: [&str; 3] = ["OR", "ID", "CA"];
/// The windows of the queries 7 and 8, and the longer side of those of query 5.
pub const WINDOW: Duration = Duration::from_secs(10);
/// How far the windows of query 5 are apart.
pub const ADVANCE: Duration = Duration::from_secs(2);
/// How late records may come that went through a repartition topic. While history is read, the
/// records that did not go through one may be far ahead of them.
const GRACE: Duration = Duration::from_secs(24 * 3_600);

/// A query.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Query {
    /// All bids, as they are: what reading and writing alone costs.
    PassThrough,
    /// The price of each bid in euros.
    Currency,
    /// The prices that are bid for some auctions.
    Selection,
    /// What is offered in one category by people of some states.
    LocalItems,
    /// The average closing price of each category.
    AveragePrices,
    /// The auctions with the most bids in the last ten seconds, every two seconds.
    HotItems,
    /// The highest bid of each ten seconds.
    HighestBid,
    /// Who has registered and offered something within the same ten seconds.
    NewSellers,
    /// The winning bid of each auction.
    WinningBids,
}

impl Query {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 9] = [
        Self::PassThrough,
        Self::Currency,
        Self::Selection,
        Self::LocalItems,
        Self::AveragePrices,
        Self::HotItems,
        Self::HighestBid,
        Self::NewSellers,
        Self::WinningBids,
    ];

    /// Its number in Nexmark, and what it asks for.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::PassThrough => "q0 pass through",
            Self::Currency => "q1 currency",
            Self::Selection => "q2 selection",
            Self::LocalItems => "q3 local items",
            Self::AveragePrices => "q4 average prices",
            Self::HotItems => "q5 hot items",
            Self::HighestBid => "q7 highest bid",
            Self::NewSellers => "q8 new sellers",
            Self::WinningBids => "q9 winning bids",
        }
    }

    /// The topics that it reads.
    #[must_use]
    pub const fn inputs(self) -> &'static [&'static str] {
        match self {
            Self::PassThrough
            | Self::Currency
            | Self::Selection
            | Self::HotItems
            | Self::HighestBid => &[BIDS],
            Self::LocalItems | Self::NewSellers => &[PERSONS, AUCTIONS],
            Self::AveragePrices | Self::WinningBids => &[AUCTIONS, BIDS],
        }
    }

    /// The topology, which writes to [`OUTPUT`].
    ///
    /// # Errors
    /// None that is known.
    pub fn topology(self) -> Result<Topology, BuildError> {
        let builder = StreamsBuilder::new();
        match self {
            Self::PassThrough => drop(bids(&builder).to(OUTPUT)),
            Self::Currency => {
                drop(bids(&builder).map_values(in_euros).to(OUTPUT));
            }
            Self::Selection => {
                let some = bids(&builder).filter(|auction, _| auction % AUCTION_STEP == 0);
                drop(some.map_values(|bid| bid.price).to(OUTPUT));
            }
            Self::LocalItems => local_items(&builder),
            Self::AveragePrices => average_prices(&builder),
            Self::HotItems => hot_items(&builder),
            Self::HighestBid => highest_bid(&builder),
            Self::NewSellers => new_sellers(&builder),
            Self::WinningBids => drop(winning_bids(&builder).to_stream().to(OUTPUT)),
        }
        builder.build()
    }
}

/// The same bid at the exchange rate of query 1.
#[must_use]
pub fn in_euros(bid: Bid) -> Bid {
    Bid { price: bid.price * 908 / 1_000, ..bid }
}

/// Whether a bid comes while its auction is open.
#[must_use]
pub const fn is_in_time(bid: &Bid, auction: &Auction) -> bool {
    auction.time_ms <= bid.time_ms && bid.time_ms < auction.expires_ms
}

/// The better of two bids: the higher one, and of equals the earlier one.
#[must_use]
pub fn better(one: Bid, other: Bid) -> Bid {
    let is_other = (other.price, one.time_ms) > (one.price, other.time_ms);
    if is_other { other } else { one }
}

/// The begin of the window that a time lies in.
#[must_use]
pub fn window_start_ms(time_ms: i64) -> i64 {
    let size_ms = i64::try_from(WINDOW.as_millis()).expect("a window is short");
    time_ms - time_ms.rem_euclid(size_ms)
}

fn bids(builder: &StreamsBuilder) -> KStream<u64, Bid> {
    builder.stream(BIDS)
}

fn local_items(builder: &StreamsBuilder) {
    let is_near = |_: &u64, person: &Person| LOCAL_STATES.contains(&person.state.as_str());
    let persons = builder.stream::<u64, Person>(PERSONS).filter(is_near);
    let sellers: KTable<u64, Person> = persons.to_table("local-sellers");
    let auctions = builder.stream::<u64, Auction>(AUCTIONS);
    let by_seller = auctions
        .filter(|_, auction| auction.category == LOCAL_CATEGORY)
        .select_key(|_, auction| auction.seller);
    let item = |_: &u64, auction: Auction, seller: Person| {
        let Person { name, city, state, .. } = seller;
        LocalItem { auction: auction.id, name, city, state }
    };
    drop(by_seller.join_table_with(&sellers, item, Joined::named("by-seller")).to(OUTPUT));
}

/// The bids that come in time, with their auctions.
fn bids_in_time(builder: &StreamsBuilder) -> KStream<u64, (Bid, Auction)> {
    let auctions = builder.table::<u64, Auction>(AUCTIONS);
    let with_auction = bids(builder).join_table(&auctions, |bid, auction| (bid, auction));
    with_auction.filter(|_, (bid, auction)| is_in_time(bid, auction))
}

fn average_prices(builder: &StreamsBuilder) {
    let priced = bids_in_time(builder)
        .map_values(|(bid, auction)| Priced { category: auction.category, price: bid.price });
    let highest = |one: Priced, other: Priced| if other.price > one.price { other } else { one };
    let closing = priced.group_by_key().reduce(highest, "closing-prices");
    let by_category = closing.group_by(|_, priced| (priced.category, priced.price));
    let averages = by_category.aggregate(
        || Average { sum: 0, count: 0 },
        |_, price, Average { sum, count }| Average { sum: sum + price, count: count + 1 },
        |_, price, Average { sum, count }| Average { sum: sum - price, count: count - 1 },
        "averages",
    );
    drop(averages.to_stream().map_values(|average| average.map(|a| a.mean())).to(OUTPUT));
}

fn hot_items(builder: &StreamsBuilder) {
    let windows = TimeWindows::of_size_with_no_grace(WINDOW).advance_by(ADVANCE);
    let counts = bids(builder).group_by_key().windowed_by(windows).count("bids-of-items");
    let by_window = counts.to_stream().map(|windowed, bids| {
        let item = ItemBids { auction: windowed.key, bids: bids.unwrap_or_default() };
        (windowed.window.start_ms, item)
    });
    let hot = by_window.group_by_key_with("by-window").aggregate(
        HotItems::default,
        |_, item: ItemBids, hot: HotItems| hot.with(item.auction, item.bids),
        "hot-items",
    );
    drop(hot.to_stream().to(OUTPUT));
}

fn highest_bid(builder: &StreamsBuilder) {
    let all = bids(builder).group_by_with(|_, _| 0, Grouped::<u64, Bid>::named("all-bids"));
    let windows = TimeWindows::of_size_and_grace(WINDOW, GRACE);
    let highest = all.windowed_by(windows).reduce(better, "highest-bids");
    drop(highest.to_stream().map(|windowed, bid| (windowed.window.start_ms, bid)).to(OUTPUT));
}

fn new_sellers(builder: &StreamsBuilder) {
    let persons = builder.stream::<u64, Person>(PERSONS);
    let by_seller =
        builder.stream::<u64, Auction>(AUCTIONS).select_key(|_, auction| auction.seller);
    let seller = |person: Person, auction: Auction| {
        let start_ms = window_start_ms(person.time_ms);
        let same = start_ms == window_start_ms(auction.time_ms);
        same.then_some(NewSeller { name: person.name, start_ms, auction: auction.id })
    };
    let windows = JoinWindows::of_time_difference_and_grace(WINDOW, GRACE);
    let joined = persons.join(&by_seller, seller, windows, "new-sellers");
    drop(joined.flat_map_values(|seller| seller).to(OUTPUT));
}

fn winning_bids(builder: &StreamsBuilder) -> KTable<u64, Bid> {
    let in_time = bids_in_time(builder).map_values(|(bid, _)| bid);
    in_time.group_by_key().reduce(better, "winning-bids")
}
