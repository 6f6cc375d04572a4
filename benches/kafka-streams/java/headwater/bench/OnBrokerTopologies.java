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
import org.apache.kafka.streams.kstream.StreamJoined;
import org.apache.kafka.streams.kstream.TimeWindows;
import org.apache.kafka.streams.kstream.WindowedSerdes;

/** The topologies of the rows on a broker, by name, between topics that the rows name. */
final class OnBrokerTopologies {
    private static final Serde<String> TEXT = Serdes.String();
    private static final Serde<Long> NUMBER = Serdes.Long();
    private static final Duration WINDOW = Duration.ofMinutes(1);
    private static final Duration WITHIN = Duration.ofSeconds(1);

    private final StreamsBuilder builder;
    private final String prefix;
    private final String output;

    private OnBrokerTopologies(StreamsBuilder builder, String prefix, String output) {
        this.builder = builder;
        this.prefix = prefix;
        this.output = output;
    }

    static Topology named(String name, String prefix, String output, Properties properties) {
        StreamsBuilder builder =
                new StreamsBuilder(new TopologyConfig(new StreamsConfig(properties)));
        OnBrokerTopologies topologies = new OnBrokerTopologies(builder, prefix, output);
        switch (name) {
            case "words" -> topologies.words();
            case "filter-map" -> topologies.filterMap();
            case "tumbling" -> topologies.tumbling();
            case "stream-table" -> topologies.streamTable();
            case "stream-stream" -> topologies.streamStream();
            default -> throw new IllegalArgumentException(name);
        }
        return builder.build(properties);
    }

    private KStream<String, Long> numbers(String topic) {
        return builder.stream(prefix + topic, Consumed.with(TEXT, NUMBER));
    }

    private void words() {
        builder.stream(prefix + "in", Consumed.with(TEXT, TEXT))
                .flatMapValues(line -> Arrays.asList(line.split(" ")))
                .groupBy((key, word) -> word, Grouped.with("words", TEXT, TEXT))
                .count(Materialized.as("counts"))
                .toStream()
                .to(output, Produced.with(TEXT, NUMBER));
    }

    private void filterMap() {
        numbers("in")
                .filter((key, value) -> value % 10 != 0)
                .map((key, value) -> KeyValue.pair(key, value * 3 + 1))
                .to(output, Produced.with(TEXT, NUMBER));
    }

    private void tumbling() {
        numbers("in")
                .groupByKey(Grouped.with(TEXT, NUMBER))
                .windowedBy(TimeWindows.ofSizeWithNoGrace(WINDOW))
                .count(Materialized.as("counts"))
                .toStream()
                .to(
                        output,
                        Produced.with(
                                WindowedSerdes.timeWindowedSerdeFrom(
                                        String.class, WINDOW.toMillis()),
                                NUMBER));
    }

    private void streamTable() {
        KTable<String, String> table =
                builder.table(prefix + "table", Consumed.with(TEXT, TEXT), Materialized.as("rows"));
        numbers("in")
                .join(table, (value, row) -> row + ": " + value)
                .to(output, Produced.with(TEXT, TEXT));
    }

    private void streamStream() {
        numbers("left")
                .join(
                        numbers("right"),
                        (left, right) -> left * 1_000 + right,
                        JoinWindows.ofTimeDifferenceWithNoGrace(WITHIN),
                        StreamJoined.with(TEXT, NUMBER, NUMBER).withStoreName("pairs"))
                .to(output, Produced.with(TEXT, NUMBER));
    }
}
