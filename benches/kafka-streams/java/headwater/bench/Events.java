package headwater.bench;

import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.Set;
import java.util.function.BiConsumer;
import java.util.function.Function;
import org.apache.kafka.common.serialization.Serde;
import org.apache.kafka.common.serialization.Serdes;

/** Nexmark's events and answers, with the layouts of {@code benches/nexmark}. */
final class Events {
    private static final Set<String> NEAR = Set.of("OR", "ID", "CA");
    private static final long WINDOW_MS = 10_000;
    /** Longer than any event. */
    private static final int BYTES_MAX = 4_096;

    record Person(long id, String name, String email, String city, String state, long time) {
        boolean isNear() {
            return NEAR.contains(state);
        }
    }

    record Auction(
            long id,
            String item,
            long initialBid,
            long reserve,
            long time,
            long expires,
            long seller,
            long category) {}

    record Bid(long auction, long bidder, long price, String channel, String url, long time) {
        Bid inEuros() {
            return new Bid(auction, bidder, price * 908 / 1_000, channel, url, time);
        }

        static Bid better(Bid one, Bid other) {
            boolean isOther =
                    other.price > one.price || other.price == one.price && other.time < one.time;
            return isOther ? other : one;
        }
    }

    record BidOfAuction(Bid bid, Auction auction) {
        boolean isInTime() {
            return auction.time() <= bid.time() && bid.time() < auction.expires();
        }
    }

    record LocalItem(long auction, String name, String city, String state) {
        static LocalItem of(Auction auction, Person seller) {
            return new LocalItem(auction.id(), seller.name(), seller.city(), seller.state());
        }
    }

    record Priced(long category, long price) {}

    record Average(long sum, long count) {
        Average with(long price) {
            return new Average(sum + price, count + 1);
        }

        Average without(long price) {
            return new Average(sum - price, count - 1);
        }

        long mean() {
            return count == 0 ? 0 : sum / count;
        }
    }

    record ItemBids(long auction, long bids) {}

    record HotItems(long bids, List<Long> auctions) {
        static HotItems none() {
            return new HotItems(0, new ArrayList<>());
        }

        HotItems with(ItemBids item) {
            if (item.bids() < bids) {
                return this;
            }
            List<Long> hot = item.bids() > bids ? new ArrayList<>() : new ArrayList<>(auctions);
            int place = Collections.binarySearch(hot, item.auction());
            if (place < 0) {
                hot.add(-place - 1, item.auction());
            }
            return new HotItems(item.bids(), hot);
        }
    }

    record NewSeller(String name, long start, long auction) {
        static NewSeller of(Person person, Auction auction) {
            long start = person.time() - person.time() % WINDOW_MS;
            boolean same = start == auction.time() - auction.time() % WINDOW_MS;
            return same ? new NewSeller(person.name(), start, auction.id()) : null;
        }
    }

    static final Serde<Person> PERSON =
            serde(
                    (out, person) -> {
                        out.putLong(person.id);
                        put(out, person.name);
                        put(out, person.email);
                        put(out, person.city);
                        put(out, person.state);
                        out.putLong(person.time);
                    },
                    in -> new Person(in.getLong(), text(in), text(in), text(in), text(in), in.getLong()));

    static final Serde<Auction> AUCTION =
            serde(
                    (out, auction) -> {
                        out.putLong(auction.id);
                        put(out, auction.item);
                        out.putLong(auction.initialBid).putLong(auction.reserve);
                        out.putLong(auction.time).putLong(auction.expires);
                        out.putLong(auction.seller).putLong(auction.category);
                    },
                    in ->
                            new Auction(
                                    in.getLong(),
                                    text(in),
                                    in.getLong(),
                                    in.getLong(),
                                    in.getLong(),
                                    in.getLong(),
                                    in.getLong(),
                                    in.getLong()));

    static final Serde<Bid> BID =
            serde(
                    (out, bid) -> {
                        out.putLong(bid.auction).putLong(bid.bidder).putLong(bid.price);
                        put(out, bid.channel);
                        put(out, bid.url);
                        out.putLong(bid.time);
                    },
                    in ->
                            new Bid(
                                    in.getLong(),
                                    in.getLong(),
                                    in.getLong(),
                                    text(in),
                                    text(in),
                                    in.getLong()));

    static final Serde<LocalItem> LOCAL_ITEM =
            serde(
                    (out, item) -> {
                        out.putLong(item.auction);
                        put(out, item.name);
                        put(out, item.city);
                        put(out, item.state);
                    },
                    in -> new LocalItem(in.getLong(), text(in), text(in), text(in)));

    static final Serde<Priced> PRICED =
            serde(
                    (out, priced) -> out.putLong(priced.category).putLong(priced.price),
                    in -> new Priced(in.getLong(), in.getLong()));

    static final Serde<Average> AVERAGE =
            serde(
                    (out, average) -> out.putLong(average.sum).putLong(average.count),
                    in -> new Average(in.getLong(), in.getLong()));

    static final Serde<ItemBids> ITEM_BIDS =
            serde(
                    (out, item) -> out.putLong(item.auction).putLong(item.bids),
                    in -> new ItemBids(in.getLong(), in.getLong()));

    static final Serde<HotItems> HOT_ITEMS =
            serde(
                    (out, hot) -> {
                        out.putLong(hot.bids).putInt(hot.auctions.size());
                        hot.auctions.forEach(out::putLong);
                    },
                    in -> {
                        long bids = in.getLong();
                        int count = in.getInt();
                        List<Long> auctions = new ArrayList<>(count);
                        for (int index = 0; index < count; index += 1) {
                            auctions.add(in.getLong());
                        }
                        return new HotItems(bids, auctions);
                    });

    static final Serde<NewSeller> NEW_SELLER =
            serde(
                    (out, seller) -> {
                        put(out, seller.name);
                        out.putLong(seller.start).putLong(seller.auction);
                    },
                    in -> new NewSeller(text(in), in.getLong(), in.getLong()));

    private Events() {}

    private static <T> Serde<T> serde(BiConsumer<ByteBuffer, T> write, Function<ByteBuffer, T> read) {
        ByteBuffer buffer = ByteBuffer.allocate(BYTES_MAX);
        return Serdes.serdeFrom(
                (topic, value) -> {
                    if (value == null) {
                        return null;
                    }
                    buffer.clear();
                    write.accept(buffer, value);
                    byte[] bytes = new byte[buffer.position()];
                    buffer.get(0, bytes);
                    return bytes;
                },
                (topic, bytes) -> bytes == null ? null : read.apply(ByteBuffer.wrap(bytes)));
    }

    private static void put(ByteBuffer out, String text) {
        byte[] bytes = text.getBytes(StandardCharsets.UTF_8);
        out.putInt(bytes.length).put(bytes);
    }

    private static String text(ByteBuffer in) {
        byte[] bytes = new byte[in.getInt()];
        in.get(bytes);
        return new String(bytes, StandardCharsets.UTF_8);
    }
}
