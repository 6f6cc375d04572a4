package headwater.oracle;

import static headwater.oracle.Builder.KEYS;
import static headwater.oracle.Builder.VALUES;
import static headwater.oracle.Builder.materialized;
import static headwater.oracle.Builder.named;
import static headwater.oracle.Builder.text;

import com.fasterxml.jackson.databind.JsonNode;
import java.time.Duration;
import org.apache.kafka.streams.kstream.GlobalKTable;
import org.apache.kafka.streams.kstream.JoinWindows;
import org.apache.kafka.streams.kstream.Joined;
import org.apache.kafka.streams.kstream.KStream;
import org.apache.kafka.streams.kstream.KTable;
import org.apache.kafka.streams.kstream.KeyValueMapper;
import org.apache.kafka.streams.kstream.Materialized;
import org.apache.kafka.streams.kstream.Named;
import org.apache.kafka.streams.kstream.StreamJoined;
import org.apache.kafka.streams.kstream.TableJoined;
import org.apache.kafka.streams.kstream.ValueJoiner;

/** Joins of every kind. */
@SuppressWarnings({"unchecked", "rawtypes"})
final class Joins {
    private Joins() {}

    static Object join(JsonNode op, Object left, Object right) {
        String fn = text(op, "fn");
        ValueJoiner<String, String, String> joiner = (l, r) -> Functions.join(fn, l, r);
        if (left instanceof KStream stream) {
            if (right instanceof KStream other) {
                return streams(op, stream, other, joiner);
            }
            if (right instanceof KTable table) {
                return streamTable(op, stream, table, joiner);
            }
            return streamGlobal(op, stream, (GlobalKTable) right, joiner);
        }
        return tables(op, (KTable) left, (KTable) right, joiner);
    }

    @SuppressWarnings("deprecation")
    private static JoinWindows windows(JsonNode op) {
        Duration before = Duration.ofMillis(op.path("before").asLong());
        JoinWindows windows =
                op.path("legacy").asBoolean()
                        ? JoinWindows.of(before)
                        : JoinWindows.ofTimeDifferenceAndGrace(
                                before, Duration.ofMillis(op.path("grace").asLong()));
        return op.has("after") ? windows.after(Duration.ofMillis(op.get("after").asLong())) : windows;
    }

    private static Object streams(JsonNode op, KStream left, KStream right, ValueJoiner joiner) {
        StreamJoined joined = StreamJoined.with(KEYS, VALUES, VALUES).withStoreName(text(op, "store"));
        if (op.has("name")) {
            joined = joined.withName(text(op, "name"));
        }
        switch (text(op, "kind")) {
            case "inner":
                return left.join(right, joiner, windows(op), joined);
            case "left":
                return left.leftJoin(right, joiner, windows(op), joined);
            default:
                return left.outerJoin(right, joiner, windows(op), joined);
        }
    }

    private static Object streamTable(JsonNode op, KStream left, KTable right, ValueJoiner joiner) {
        Joined joined = Joined.with(KEYS, VALUES, VALUES);
        if (op.has("name")) {
            joined = joined.withName(text(op, "name"));
        }
        if (op.has("grace")) {
            joined = joined.withGracePeriod(Duration.ofMillis(op.get("grace").asLong()));
        }
        return text(op, "kind").equals("inner")
                ? left.join(right, joiner, joined)
                : left.leftJoin(right, joiner, joined);
    }

    private static Object streamGlobal(
            JsonNode op, KStream left, GlobalKTable right, ValueJoiner joiner) {
        String key = text(op, "key");
        KeyValueMapper<Object, String, Object> mapper = (k, v) -> Functions.map(key, k, v);
        Named named = named(op);
        return text(op, "kind").equals("inner")
                ? left.join(right, mapper, joiner, named)
                : left.leftJoin(right, mapper, joiner, named);
    }

    private static Object tables(JsonNode op, KTable left, KTable right, ValueJoiner joiner) {
        Named named = named(op);
        Materialized store = op.has("store") ? materialized(op) : null;
        switch (text(op, "kind")) {
            case "inner":
                return store == null
                        ? left.join(right, joiner, named)
                        : left.join(right, joiner, named, store);
            case "left":
                return store == null
                        ? left.leftJoin(right, joiner, named)
                        : left.leftJoin(right, joiner, named, store);
            default:
                return store == null
                        ? left.outerJoin(right, joiner, named)
                        : left.outerJoin(right, joiner, named, store);
        }
    }

    static Object foreignKey(JsonNode op, KTable left, KTable right) {
        String fn = text(op, "fn");
        String key = text(op, "key");
        ValueJoiner<String, String, String> joiner = (l, r) -> Functions.join(fn, l, r);
        java.util.function.BiFunction<Object, String, Object> extractor =
                (k, v) -> Functions.map(key, k, v);
        TableJoined joined = TableJoined.as(text(op, "name"));
        boolean inner = text(op, "kind").equals("inner");
        if (!op.has("store")) {
            return inner
                    ? left.join(right, extractor, joiner, joined)
                    : left.leftJoin(right, extractor, joiner, joined);
        }
        Materialized store = materialized(op);
        return inner
                ? left.join(right, extractor, joiner, joined, store)
                : left.leftJoin(right, extractor, joiner, joined, store);
    }
}
