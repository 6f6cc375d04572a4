package headwater.oracle;

import com.fasterxml.jackson.databind.JsonNode;
import java.time.Duration;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import org.apache.kafka.common.serialization.Serde;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.common.utils.Bytes;
import org.apache.kafka.streams.KeyValue;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.Topology;
import org.apache.kafka.streams.kstream.Branched;
import org.apache.kafka.streams.kstream.BranchedKStream;
import org.apache.kafka.streams.kstream.Consumed;
import org.apache.kafka.streams.kstream.Grouped;
import org.apache.kafka.streams.kstream.KGroupedTable;
import org.apache.kafka.streams.kstream.KStream;
import org.apache.kafka.streams.kstream.KTable;
import org.apache.kafka.streams.kstream.Materialized;
import org.apache.kafka.streams.kstream.Named;
import org.apache.kafka.streams.kstream.Produced;
import org.apache.kafka.streams.kstream.Repartitioned;
import org.apache.kafka.streams.kstream.Suppressed;
import org.apache.kafka.streams.kstream.ValueMapperWithKey;
import org.apache.kafka.streams.kstream.internals.NamedInternal;
import org.apache.kafka.streams.processor.StateStore;
import org.apache.kafka.streams.state.KeyValueStore;
import org.apache.kafka.streams.state.Stores;

/** Builds the topology of a case from its operators. Keys may be in windows: they are objects. */
@SuppressWarnings({"unchecked", "rawtypes"})
final class Builder {
    static final Serde<Object> KEYS = new TextSerde();
    static final Serde<String> VALUES = Serdes.String();

    private final StreamsBuilder builder = new StreamsBuilder();
    private final JsonNode operators;
    final Map<String, Object> results = new HashMap<>();

    Builder(JsonNode operators) {
        this.operators = operators;
    }

    Topology build(Properties properties) {
        for (JsonNode op : operators) {
            Object result = add(op);
            if (result != null) {
                results.put(op.path("id").asText(), result);
            }
        }
        return builder.build(properties);
    }

    static String text(JsonNode op, String field) {
        JsonNode node = op.path(field);
        return node.isMissingNode() || node.isNull() ? null : node.asText();
    }

    Object input(JsonNode op) {
        return result(text(op, "from"));
    }

    Object other(JsonNode op) {
        return result(op.path("with").path(0).asText());
    }

    Object result(String id) {
        Object found = results.get(id);
        if (found == null) {
            throw new IllegalArgumentException("there is no " + id);
        }
        return found;
    }

    static <S extends StateStore> Materialized<Object, String, S> materialized(JsonNode op) {
        Materialized<Object, String, S> materialized = Materialized.as(text(op, "store"));
        if (op.has("retention")) {
            materialized = materialized.withRetention(Duration.ofMillis(op.get("retention").asLong()));
        }
        return materialized.withValueSerde(VALUES);
    }

    /** Its name, or none: every operator takes one. */
    static Named named(JsonNode op) {
        return op.has("name") ? Named.as(text(op, "name")) : NamedInternal.empty();
    }

    private Object add(JsonNode op) {
        String kind = text(op, "op");
        switch (kind) {
            case "stream":
                return builder.stream(List.of(text(op, "topic").split(",")), consumed(op));
            case "table":
                return table(op);
            case "globalTable":
                Materialized<Object, String, KeyValueStore<Bytes, byte[]>> global = materialized(op);
                return builder.globalTable(text(op, "topic"), consumed(op), global.withKeySerde(KEYS));
            case "join":
                return Joins.join(op, input(op), other(op));
            case "foreignKeyJoin":
                return Joins.foreignKey(op, (KTable) input(op), (KTable) other(op));
            default:
        }
        Object input = input(op);
        if (input instanceof KStream stream) {
            return ofStream(op, kind, stream);
        }
        return ofTable(op, kind, (KTable) input);
    }

    private static Consumed<Object, String> consumed(JsonNode op) {
        Consumed<Object, String> consumed = Consumed.with(KEYS, VALUES);
        return op.has("name") ? consumed.withName(text(op, "name")) : consumed;
    }

    private KTable<Object, String> table(JsonNode op) {
        String topic = text(op, "topic");
        if (!op.has("store")) {
            return builder.table(topic, consumed(op));
        }
        if (op.has("history")) {
            Duration history = Duration.ofMillis(op.get("history").asLong());
            Materialized versioned =
                    Materialized.as(Stores.persistentVersionedKeyValueStore(text(op, "store"), history));
            return builder.table(
                    topic, consumed(op), versioned.withKeySerde(KEYS).withValueSerde(VALUES));
        }
        Materialized<Object, String, KeyValueStore<Bytes, byte[]>> plain = materialized(op);
        return builder.table(topic, consumed(op), plain.withKeySerde(KEYS));
    }

    private Object ofStream(JsonNode op, String kind, KStream<Object, String> stream) {
        String fn = text(op, "fn");
        String key = text(op, "key");
        Named named = named(op);
        switch (kind) {
            case "filter":
                return stream.filter((k, v) -> Functions.test(fn, k, v), named);
            case "filterNot":
                return stream.filterNot((k, v) -> Functions.test(fn, k, v), named);
            case "mapValues":
                ValueMapperWithKey<Object, String, String> mapper =
                        (k, v) -> Functions.map(fn, k, v);
                return stream.mapValues(mapper, named);
            case "peek":
                return stream.peek((k, v) -> {}, named);
            case "selectKey":
                return stream.selectKey((k, v) -> (Object) Functions.map(key, k, v), named);
            case "map":
                return stream.map(
                        (k, v) ->
                                KeyValue.pair(
                                        (Object) Functions.map(key, k, v), Functions.map(fn, k, v)),
                        named);
            case "flatMap":
                return stream.flatMap((k, v) -> Functions.flatMap(fn, k, v), named);
            case "flatMapValues":
                return stream.flatMapValues(
                        v -> Functions.flatMap(fn, null, v).stream().map(pair -> pair.value).toList(),
                        named);
            case "merge":
                return stream.merge((KStream<Object, String>) other(op), named);
            case "repartition":
                Repartitioned<Object, String> repartitioned = Repartitioned.as(text(op, "name"));
                repartitioned = repartitioned.withKeySerde(KEYS).withValueSerde(VALUES);
                return stream.repartition(
                        op.has("partitions")
                                ? repartitioned.withNumberOfPartitions(op.get("partitions").asInt())
                                : repartitioned);
            case "toTable":
                Materialized<Object, String, KeyValueStore<Bytes, byte[]>> kept = materialized(op);
                return stream.toTable(named, kept.withKeySerde(KEYS));
            case "split":
                split(op, stream);
                return null;
            case "to":
                stream.to(text(op, "topic"), produced(op));
                return null;
            case "toBy":
                String prefix = text(op, "topic");
                stream.to(
                        (k, v, context) -> {
                            String suffix = Functions.map(fn, k, v);
                            return prefix + (suffix == null ? "" : suffix);
                        },
                        produced(op));
                return null;
            case "process":
            case "processValues":
                return Processors.process(op, builder, stream);
            case "aggregate":
                return Aggregations.of(op, stream);
            case "cogroup":
                List<KStream<Object, String>> streams = new ArrayList<>(List.of(stream));
                for (JsonNode id : op.path("with")) {
                    streams.add((KStream<Object, String>) result(id.asText()));
                }
                return Aggregations.together(op, streams);
            default:
                throw new IllegalArgumentException("streams have no " + kind);
        }
    }

    private static Produced<Object, String> produced(JsonNode op) {
        Produced<Object, String> produced = Produced.with(KEYS, VALUES);
        return op.has("name") ? produced.withName(text(op, "name")) : produced;
    }

    private void split(JsonNode op, KStream<Object, String> stream) {
        BranchedKStream<Object, String> split =
                op.has("name") ? stream.split(named(op)) : stream.split();
        int number = 0;
        for (JsonNode branch : op.path("branches")) {
            String fn = branch.asText();
            number += 1;
            split = split.branch((k, v) -> Functions.test(fn, k, v), Branched.as("-" + number));
        }
        Map<String, KStream<Object, String>> branches =
                op.path("default").asBoolean()
                        ? split.defaultBranch(Branched.as("-0"))
                        : split.noDefaultBranch();
        branches.forEach(
                (name, branch) ->
                        results.put(
                                op.path("id").asText()
                                        + "."
                                        + name.substring(name.lastIndexOf('-') + 1),
                                branch));
    }

    private Object ofTable(JsonNode op, String kind, KTable<Object, String> table) {
        String fn = text(op, "fn");
        Named named = named(op);
        Materialized store = op.has("store") ? materialized(op) : null;
        switch (kind) {
            case "filter":
                return store == null
                        ? table.filter((k, v) -> Functions.test(fn, k, v), named)
                        : table.filter((k, v) -> Functions.test(fn, k, v), named, store);
            case "filterNot":
                return store == null
                        ? table.filterNot((k, v) -> Functions.test(fn, k, v), named)
                        : table.filterNot((k, v) -> Functions.test(fn, k, v), named, store);
            case "mapValues":
                ValueMapperWithKey<Object, String, String> mapper =
                        (k, v) -> Functions.map(fn, k, v);
                return store == null
                        ? table.mapValues(mapper, named)
                        : table.mapValues(mapper, named, store);
            case "transformValues":
                return store == null
                        ? table.transformValues(() -> new Transformer(fn), named)
                        : table.transformValues(() -> new Transformer(fn), store, named);
            case "toStream":
                return table.toStream(named);
            case "suppress":
                return table.suppress(suppressed(op));
            case "aggregate":
                return aggregate(op, table);
            default:
                throw new IllegalArgumentException("tables have no " + kind);
        }
    }

    private static Suppressed suppressed(JsonNode op) {
        Suppressed suppressed;
        if (!op.has("limit")) {
            suppressed = Suppressed.untilWindowCloses(Suppressed.BufferConfig.unbounded());
        } else {
            Duration limit = Duration.ofMillis(op.get("limit").asLong());
            suppressed =
                    op.has("maxRecords")
                            ? Suppressed.untilTimeLimit(
                                    limit,
                                    Suppressed.BufferConfig.maxRecords(op.get("maxRecords").asLong()))
                            : Suppressed.untilTimeLimit(limit, Suppressed.BufferConfig.unbounded());
        }
        return suppressed.withName(text(op, "name"));
    }

    private static KTable<Object, String> aggregate(JsonNode op, KTable<Object, String> table) {
        String key = text(op, "key");
        String fn = text(op, "fn");
        Grouped<Object, String> grouped = Grouped.with(KEYS, VALUES);
        if (op.has("grouped")) {
            grouped = grouped.withName(text(op, "grouped"));
        }
        KGroupedTable<Object, String> groups =
                table.groupBy(
                        (k, v) ->
                                KeyValue.pair(
                                        (Object) Functions.map(key, k, v),
                                        fn == null ? v : Functions.map(fn, k, v)),
                        grouped);
        String add = op.has("add") ? text(op, "add") : "append:";
        String subtract = op.has("subtract") ? text(op, "subtract") : "append:";
        switch (text(op, "kind")) {
            case "count":
                return Aggregations.texts(groups.count(Aggregations.counts(op)));
            case "reduce":
                Materialized<Object, String, KeyValueStore<Bytes, byte[]>> reduced = materialized(op);
                return groups.reduce(
                        (sum, v) -> Functions.reduce(add, sum, v),
                        (sum, v) -> Functions.reduce(subtract, sum, v),
                        reduced.withKeySerde(KEYS));
            default:
                Materialized<Object, String, KeyValueStore<Bytes, byte[]>> kept = materialized(op);
                return groups.aggregate(
                        () -> "",
                        (k, v, sum) -> Functions.aggregate(add, sum, v),
                        (k, v, sum) -> Functions.aggregate(subtract, sum, v),
                        kept.withKeySerde(KEYS));
        }
    }
}
