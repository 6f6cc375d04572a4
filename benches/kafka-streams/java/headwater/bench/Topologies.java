package headwater.bench;

import java.time.Duration;
import java.util.Arrays;
import java.util.Properties;
import org.apache.kafka.common.serialization.Serde;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.streams.KeyValue;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.StreamsConfig;
import org.apache.kafka.streams.Topology;
import org.apache.kafka.streams.TopologyConfig;
import org.apache.kafka.streams.kstream.Consumed;
import org.apache.kafka.streams.kstream.Grouped;
import org.apache.kafka.streams.kstream.JoinWindows;
import org.apache.kafka.streams.kstream.KStream;
import org.apache.kafka.streams.kstream.KTable;
import org.apache.kafka.streams.kstream.Materialized;
import org.apache.kafka.streams.kstream.Produced;
import org.apache.kafka.streams.kstream.SessionWindows;
import org.apache.kafka.streams.kstream.SlidingWindows;
import org.apache.kafka.streams.kstream.StreamJoined;
import org.apache.kafka.streams.kstream.TimeWindows;
import org.apache.kafka.streams.kstream.WindowedSerdes;
import org.apache.kafka.streams.state.Stores;

/** The topologies of the rows, by name. */
final class Topologies {
    private static final Serde<String> TEXT = Serdes.String();
    private static final Serde<Long> NUMBER = Serdes.Long();

    /** Its store is restored, and nothing is processed. */
    static final String RESTORE = "restore";

    private Topologies() {}

    static Topology named(String name, Properties properties) {
        StreamsBuilder builder =
                new StreamsBuilder(new TopologyConfig(new StreamsConfig(properties)));
        switch (name) {
            case "chain" -> chain(builder);
            case "words" -> words(builder);
            case "sums" -> sums(builder);
            case "on-disk" -> onDisk(builder);
            case RESTORE -> counts(builder);
            case "tumbling" -> tumbling(builder);
            case "stream-table" -> streamTable(builder);
            case "stream-stream" -> streamStream(builder);
            case "sessions" -> sessions(builder);
            case "sliding" -> sliding(builder);
            default -> Nexmark.add(name, builder);
        }
        return builder.build(properties);
    }

    private static KStream<String, Long> numbers(StreamsBuilder builder, String topic) {
        return builder.stream(topic, Consumed.with(TEXT, NUMBER));
    }

    private static void chain(StreamsBuilder builder) {
        numbers(builder, "in")
                .filter((key, value) -> value % 10 != 0)
                .mapValues(value -> value * 3)
                .map((key, value) -> KeyValue.pair(key, value + 1))
                .filterNot((key, value) -> value % 7 == 0)
                .mapValues(value -> -value)
                .to("out", Produced.with(TEXT, NUMBER));
    }

    private static void words(StreamsBuilder builder) {
        builder.stream("in", Consumed.with(TEXT, TEXT))
                .flatMapValues(line -> Arrays.asList(line.split(" ")))
                .groupBy((key, word) -> word, Grouped.with("words", TEXT, TEXT))
                .count(Materialized.as("counts"))
                .toStream()
                .to("out", Produced.with(TEXT, NUMBER));
    }

    private static void sums(StreamsBuilder builder) {
        numbers(builder, "in")
                .groupByKey()
                .aggregate(() -> 0L, (key, value, sum) -> sum + value, Materialized.as("sums"))
                .toStream()
                .to("out", Produced.with(TEXT, NUMBER));
    }

    private static void counts(StreamsBuilder builder) {
        numbers(builder, "in")
                .groupByKey()
                .count(Materialized.as("counts"))
                .toStream()
                .to("out", Produced.with(TEXT, NUMBER));
    }

    /** On RocksDB, as Kafka Streams is by default. */
    private static void onDisk(StreamsBuilder builder) {
        builder.stream("in", Consumed.with(TEXT, TEXT))
                .groupByKey(Grouped.with(TEXT, TEXT))
                .reduce(
                        (old, newest) -> newest,
                        Materialized.<String, String>as(
                                        Stores.persistentTimestampedKeyValueStore("rows"))
                                .withKeySerde(TEXT)
                                .withValueSerde(TEXT))
                .toStream()
                .to("out", Produced.with(TEXT, TEXT));
    }

    private static void tumbling(StreamsBuilder builder) {
        Duration size = Duration.ofMinutes(1);
        numbers(builder, "in")
                .groupByKey()
                .windowedBy(TimeWindows.ofSizeWithNoGrace(size))
                .count(Materialized.as("counts"))
                .toStream()
                .to(
                        "out",
                        Produced.with(
                                WindowedSerdes.timeWindowedSerdeFrom(String.class, size.toMillis()),
                                NUMBER));
    }

    private static void streamTable(StreamsBuilder builder) {
        KTable<String, String> table =
                builder.table("table", Consumed.with(TEXT, TEXT), Materialized.as("rows"));
        numbers(builder, "in")
                .join(table, (value, row) -> row + ": " + value)
                .to("out", Produced.with(TEXT, TEXT));
    }

    private static void streamStream(StreamsBuilder builder) {
        numbers(builder, "left")
                .join(
                        numbers(builder, "right"),
                        (left, right) -> left * 1_000 + right,
                        JoinWindows.ofTimeDifferenceWithNoGrace(Duration.ofSeconds(1)),
                        StreamJoined.with(TEXT, NUMBER, NUMBER).withStoreName("pairs"))
                .to("out", Produced.with(TEXT, NUMBER));
    }

    private static void sessions(StreamsBuilder builder) {
        numbers(builder, "in")
                .groupByKey()
                .windowedBy(SessionWindows.ofInactivityGapWithNoGrace(Duration.ofSeconds(5)))
                .count(Materialized.as("counts"))
                .toStream()
                .to(
                        "out",
                        Produced.with(WindowedSerdes.sessionWindowedSerdeFrom(String.class), NUMBER));
    }

    private static void sliding(StreamsBuilder builder) {
        Duration difference = Duration.ofSeconds(1);
        numbers(builder, "in")
                .groupByKey()
                .windowedBy(SlidingWindows.ofTimeDifferenceWithNoGrace(difference))
                .count(Materialized.as("counts"))
                .toStream()
                .to(
                        "out",
                        Produced.with(
                                WindowedSerdes.timeWindowedSerdeFrom(
                                        String.class, difference.toMillis()),
                                NUMBER));
    }
}
