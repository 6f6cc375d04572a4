package headwater.oracle;

import static headwater.oracle.Builder.KEYS;
import static headwater.oracle.Builder.VALUES;
import static headwater.oracle.Builder.materialized;
import static headwater.oracle.Builder.named;
import static headwater.oracle.Builder.text;

import com.fasterxml.jackson.databind.JsonNode;
import java.time.Duration;
import java.time.Instant;
import java.util.List;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.streams.kstream.Aggregator;
import org.apache.kafka.streams.kstream.CogroupedKStream;
import org.apache.kafka.streams.kstream.EmitStrategy;
import org.apache.kafka.streams.kstream.Grouped;
import org.apache.kafka.streams.kstream.Initializer;
import org.apache.kafka.streams.kstream.KGroupedStream;
import org.apache.kafka.streams.kstream.KStream;
import org.apache.kafka.streams.kstream.KTable;
import org.apache.kafka.streams.kstream.Materialized;
import org.apache.kafka.streams.kstream.Merger;
import org.apache.kafka.streams.kstream.Named;
import org.apache.kafka.streams.kstream.Reducer;
import org.apache.kafka.streams.kstream.SessionWindowedKStream;
import org.apache.kafka.streams.kstream.SessionWindows;
import org.apache.kafka.streams.kstream.SlidingWindows;
import org.apache.kafka.streams.kstream.TimeWindowedKStream;
import org.apache.kafka.streams.kstream.TimeWindows;
import org.apache.kafka.streams.kstream.UnlimitedWindows;
import org.apache.kafka.streams.kstream.ValueMapper;

/** Aggregations of streams, in windows and without. Counts become texts; sums that are null, nothing. */
@SuppressWarnings({"unchecked", "rawtypes"})
final class Aggregations {
    private Aggregations() {}

    static Materialized counts(JsonNode op) {
        Materialized materialized = Materialized.as(text(op, "store"));
        if (op.has("retention")) {
            materialized = materialized.withRetention(Duration.ofMillis(op.get("retention").asLong()));
        }
        return materialized.withKeySerde(KEYS).withValueSerde(Serdes.Long());
    }

    static KTable<Object, String> texts(KTable counts) {
        ValueMapper<Object, String> text = Object::toString;
        return counts.mapValues(text);
    }

    private static KTable<Object, String> same(KTable reduced) {
        ValueMapper<String, String> same = value -> value;
        return reduced.mapValues(same);
    }

    private static KGroupedStream<Object, String> grouped(JsonNode op, KStream<Object, String> stream) {
        Grouped<Object, String> grouped = Grouped.with(KEYS, VALUES);
        if (op.has("grouped")) {
            grouped = grouped.withName(text(op, "grouped"));
        }
        String key = text(op, "key");
        return key == null
                ? stream.groupByKey(grouped)
                : stream.groupBy((k, v) -> (Object) Functions.map(key, k, v), grouped);
    }

    private static String function(JsonNode op) {
        return op.has("fn") ? text(op, "fn") : "append:";
    }

    private static Initializer<String> initializer(JsonNode op) {
        String init = op.has("init") ? text(op, "init") : "";
        return () -> init;
    }

    private static Aggregator<Object, String, String> aggregator(String function) {
        return (k, v, aggregate) -> Functions.aggregate(function, aggregate, v);
    }

    private static Merger<Object, String> merger(JsonNode op) {
        String function = function(op);
        return (k, one, other) -> Functions.merge(function, one, other);
    }

    private static Reducer<String> reducer(JsonNode op) {
        String function = function(op);
        return (one, other) -> Functions.reduce(function, one, other);
    }

    private static EmitStrategy emit(JsonNode op) {
        return op.path("onClose").asBoolean()
                ? EmitStrategy.onWindowClose()
                : EmitStrategy.onWindowUpdate();
    }

    private static Materialized kept(JsonNode op) {
        Materialized materialized = materialized(op);
        return materialized.withKeySerde(KEYS);
    }

    static KTable of(JsonNode op, KStream<Object, String> stream) {
        KGroupedStream<Object, String> grouped = grouped(op, stream);
        JsonNode window = op.path("window");
        if (window.isMissingNode() || window.isNull()) {
            switch (text(op, "kind")) {
                case "count":
                    return texts(grouped.count(counts(op)));
                case "reduce":
                    return same(grouped.reduce(reducer(op), kept(op)));
                default:
                    return grouped.aggregate(initializer(op), aggregator(function(op)), kept(op));
            }
        }
        if (text(window, "kind").equals("session")) {
            return inSessions(op, grouped.windowedBy(sessions(window)));
        }
        TimeWindowedKStream<Object, String> windowed;
        switch (text(window, "kind")) {
            case "time":
                windowed = grouped.windowedBy(time(window));
                break;
            case "unlimited":
                windowed = grouped.windowedBy(unlimited(window));
                break;
            default:
                windowed = grouped.windowedBy(sliding(window));
        }
        windowed = windowed.emitStrategy(emit(op));
        switch (text(op, "kind")) {
            case "count":
                return texts(windowed.count(counts(op)));
            case "reduce":
                return same(windowed.reduce(reducer(op), kept(op)));
            default:
                return windowed.aggregate(initializer(op), aggregator(function(op)), kept(op));
        }
    }

    private static KTable inSessions(JsonNode op, SessionWindowedKStream<Object, String> stream) {
        SessionWindowedKStream<Object, String> windowed = stream.emitStrategy(emit(op));
        switch (text(op, "kind")) {
            case "count":
                return texts(windowed.count(counts(op)));
            case "reduce":
                return same(windowed.reduce(reducer(op), kept(op)));
            default:
                return windowed.aggregate(
                        initializer(op), aggregator(function(op)), merger(op), kept(op));
        }
    }

    private static Duration millis(JsonNode window, String field) {
        return Duration.ofMillis(window.path(field).asLong());
    }

    private static TimeWindows time(JsonNode window) {
        TimeWindows windows =
                TimeWindows.ofSizeAndGrace(millis(window, "size"), millis(window, "grace"));
        return window.has("advance") ? windows.advanceBy(millis(window, "advance")) : windows;
    }

    private static UnlimitedWindows unlimited(JsonNode window) {
        return UnlimitedWindows.of().startOn(Instant.ofEpochMilli(window.path("size").asLong()));
    }

    private static SlidingWindows sliding(JsonNode window) {
        return SlidingWindows.ofTimeDifferenceAndGrace(
                millis(window, "size"), millis(window, "grace"));
    }

    private static SessionWindows sessions(JsonNode window) {
        return SessionWindows.ofInactivityGapAndGrace(millis(window, "size"), millis(window, "grace"));
    }

    static KTable together(JsonNode op, List<KStream<Object, String>> streams) {
        CogroupedKStream<Object, String> cogrouped = null;
        for (int at = 0; at < op.path("fns").size(); at += 1) {
            var aggregator = aggregator(op.path("fns").path(at).asText());
            // A grouping with a key of its own is the first one's alone.
            if (cogrouped == null) {
                cogrouped = grouped(op, streams.get(at)).cogroup(aggregator);
            } else {
                var grouped = streams.get(at).groupByKey(Grouped.with(KEYS, VALUES));
                cogrouped = cogrouped.cogroup(grouped, aggregator);
            }
        }
        Initializer<String> initializer = initializer(op);
        Named named = named(op);
        JsonNode window = op.path("window");
        if (window.isMissingNode() || window.isNull()) {
            return cogrouped.aggregate(initializer, named, kept(op));
        }
        switch (text(window, "kind")) {
            case "time":
                return cogrouped.windowedBy(time(window)).aggregate(initializer, named, kept(op));
            case "unlimited":
                return cogrouped.windowedBy(unlimited(window)).aggregate(initializer, named, kept(op));
            case "sliding":
                return cogrouped.windowedBy(sliding(window)).aggregate(initializer, named, kept(op));
            default:
                return cogrouped
                        .windowedBy(sessions(window))
                        .aggregate(initializer, merger(op), named, kept(op));
        }
    }
}
