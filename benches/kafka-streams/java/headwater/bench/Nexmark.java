package headwater.bench;

import java.time.Duration;
import org.apache.kafka.common.serialization.Serde;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.streams.KeyValue;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.kstream.Consumed;
import org.apache.kafka.streams.kstream.Grouped;
import org.apache.kafka.streams.kstream.JoinWindows;
import org.apache.kafka.streams.kstream.Joined;
import org.apache.kafka.streams.kstream.KStream;
import org.apache.kafka.streams.kstream.KTable;
import org.apache.kafka.streams.kstream.Materialized;
import org.apache.kafka.streams.kstream.Produced;
import org.apache.kafka.streams.kstream.StreamJoined;
import org.apache.kafka.streams.kstream.TimeWindows;
import org.apache.kafka.streams.state.KeyValueStore;

import headwater.bench.Events.Auction;
import headwater.bench.Events.Average;
import headwater.bench.Events.Bid;
import headwater.bench.Events.BidOfAuction;
import headwater.bench.Events.HotItems;
import headwater.bench.Events.ItemBids;
import headwater.bench.Events.LocalItem;
import headwater.bench.Events.NewSeller;
import headwater.bench.Events.Person;
import headwater.bench.Events.Priced;

/** Nexmark's queries, as {@code benches/nexmark/query.rs} has them. */
final class Nexmark {
    private static final Duration WINDOW = Duration.ofSeconds(10);
    private static final Duration GRACE = Duration.ofDays(1);
    private static final Serde<Long> ID = Serdes.Long();

    private Nexmark() {}

    static void add(String name, StreamsBuilder builder) {
        switch (name) {
            case "q0" -> bids(builder).to("out", Produced.with(ID, Events.BID));
            case "q1" -> bids(builder).mapValues(Bid::inEuros).to("out", Produced.with(ID, Events.BID));
            case "q2" ->
                    bids(builder)
                            .filter((auction, bid) -> auction % 123 == 0)
                            .mapValues(Bid::price)
                            .to("out", Produced.with(ID, ID));
            case "q3" -> localItems(builder);
            case "q4" -> averagePrices(builder);
            case "q5" -> hotItems(builder);
            case "q7" -> highestBid(builder);
            case "q8" -> newSellers(builder);
            case "q9" ->
                    inTime(builder)
                            .mapValues(BidOfAuction::bid)
                            .groupByKey(Grouped.with(ID, Events.BID))
                            .reduce(Bid::better, Materialized.as("winning-bids"))
                            .toStream()
                            .to("out", Produced.with(ID, Events.BID));
            default -> throw new IllegalArgumentException("no topology " + name);
        }
    }

    private static KStream<Long, Bid> bids(StreamsBuilder builder) {
        return builder.stream("bids", Consumed.with(ID, Events.BID));
    }

    private static void localItems(StreamsBuilder builder) {
        KTable<Long, Person> sellers =
                builder.stream("persons", Consumed.with(ID, Events.PERSON))
                        .filter((id, person) -> person.isNear())
                        .toTable(
                                Materialized.<Long, Person, KeyValueStore<
                                                org.apache.kafka.common.utils.Bytes, byte[]>>
                                        as("local-sellers")
                                        .withKeySerde(ID)
                                        .withValueSerde(Events.PERSON));
        builder.stream("auctions", Consumed.with(ID, Events.AUCTION))
                .filter((id, auction) -> auction.category() == 10)
                .selectKey((id, auction) -> auction.seller())
                .join(sellers, LocalItem::of, Joined.with(ID, Events.AUCTION, Events.PERSON, "by-seller"))
                .to("out", Produced.with(ID, Events.LOCAL_ITEM));
    }

    private static KStream<Long, BidOfAuction> inTime(StreamsBuilder builder) {
        KTable<Long, Auction> auctions =
                builder.table("auctions", Consumed.with(ID, Events.AUCTION), Materialized.as("auctions"));
        return bids(builder)
                .join(auctions, BidOfAuction::new, Joined.with(ID, Events.BID, Events.AUCTION))
                .filter((id, bid) -> bid.isInTime());
    }

    private static void averagePrices(StreamsBuilder builder) {
        inTime(builder)
                .mapValues(bid -> new Priced(bid.auction().category(), bid.bid().price()))
                .groupByKey(Grouped.with(ID, Events.PRICED))
                .reduce(
                        (one, other) -> other.price() > one.price() ? other : one,
                        Materialized.as("closing-prices"))
                .groupBy(
                        (id, priced) -> KeyValue.pair(priced.category(), priced.price()),
                        Grouped.with("averages", ID, ID))
                .aggregate(
                        () -> new Average(0, 0),
                        (category, price, average) -> average.with(price),
                        (category, price, average) -> average.without(price),
                        Materialized.<Long, Average, KeyValueStore<
                                        org.apache.kafka.common.utils.Bytes, byte[]>>
                                as("averages")
                                .withKeySerde(ID)
                                .withValueSerde(Events.AVERAGE))
                .toStream()
                .mapValues(average -> average == null ? null : average.mean())
                .to("out", Produced.with(ID, ID));
    }

    private static void hotItems(StreamsBuilder builder) {
        bids(builder)
                .groupByKey(Grouped.with(ID, Events.BID))
                .windowedBy(TimeWindows.ofSizeWithNoGrace(WINDOW).advanceBy(Duration.ofSeconds(2)))
                .count(Materialized.as("bids-of-items"))
                .toStream()
                .map(
                        (windowed, bids) ->
                                KeyValue.pair(
                                        windowed.window().start(),
                                        new ItemBids(windowed.key(), bids == null ? 0 : bids)))
                .groupByKey(Grouped.with("by-window", ID, Events.ITEM_BIDS))
                .aggregate(
                        HotItems::none,
                        (window, item, hot) -> hot.with(item),
                        Materialized.<Long, HotItems, KeyValueStore<
                                        org.apache.kafka.common.utils.Bytes, byte[]>>
                                as("hot-items")
                                .withKeySerde(ID)
                                .withValueSerde(Events.HOT_ITEMS))
                .toStream()
                .to("out", Produced.with(ID, Events.HOT_ITEMS));
    }

    private static void highestBid(StreamsBuilder builder) {
        bids(builder)
                .groupBy((auction, bid) -> 0L, Grouped.with("all-bids", ID, Events.BID))
                .windowedBy(TimeWindows.ofSizeAndGrace(WINDOW, GRACE))
                .reduce(Bid::better, Materialized.as("highest-bids"))
                .toStream()
                .map((windowed, bid) -> KeyValue.pair(windowed.window().start(), bid))
                .to("out", Produced.with(ID, Events.BID));
    }

    private static void newSellers(StreamsBuilder builder) {
        KStream<Long, Auction> bySeller =
                builder.stream("auctions", Consumed.with(ID, Events.AUCTION))
                        .selectKey((id, auction) -> auction.seller());
        builder.stream("persons", Consumed.with(ID, Events.PERSON))
                .join(
                        bySeller,
                        NewSeller::of,
                        JoinWindows.ofTimeDifferenceAndGrace(WINDOW, GRACE),
                        StreamJoined.with(ID, Events.PERSON, Events.AUCTION)
                                .withName("new-sellers")
                                .withStoreName("new-sellers"))
                .filter((id, seller) -> seller != null)
                .to("out", Produced.with(ID, Events.NEW_SELLER));
    }
}
