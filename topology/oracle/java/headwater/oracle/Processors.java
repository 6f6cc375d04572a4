package headwater.oracle;

import static headwater.oracle.Builder.named;
import static headwater.oracle.Builder.text;

import com.fasterxml.jackson.databind.JsonNode;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import org.apache.kafka.common.header.Headers;
import org.apache.kafka.common.header.internals.RecordHeaders;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.streams.KeyValue;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.kstream.KStream;
import org.apache.kafka.streams.processor.PunctuationType;
import org.apache.kafka.streams.processor.api.FixedKeyProcessor;
import org.apache.kafka.streams.processor.api.FixedKeyProcessorContext;
import org.apache.kafka.streams.processor.api.FixedKeyRecord;
import org.apache.kafka.streams.processor.api.Processor;
import org.apache.kafka.streams.processor.api.ProcessorContext;
import org.apache.kafka.streams.processor.api.Record;
import org.apache.kafka.streams.state.KeyValueIterator;
import org.apache.kafka.streams.state.KeyValueStore;
import org.apache.kafka.streams.state.Stores;

/** The processors of the cases, by name; processors.rs has the same. */
final class Processors {
    private Processors() {}

    static KStream<Object, String> process(
            JsonNode op, StreamsBuilder builder, KStream<Object, String> stream) {
        String store = text(op, "store");
        String[] stores = store == null ? new String[0] : new String[] {store};
        if (store != null) {
            builder.addStateStore(
                    Stores.keyValueStoreBuilder(
                            Stores.persistentKeyValueStore(store), Serdes.String(), Serdes.String()));
        }
        String fn = text(op, "fn");
        int at = fn.indexOf(':');
        String name = at < 0 ? fn : fn.substring(0, at);
        String argument = at < 0 ? "" : fn.substring(at + 1);
        if (text(op, "op").equals("process")) {
            return op.has("name")
                    ? stream.process(() -> new Own(name, argument, store), named(op), stores)
                    : stream.process(() -> new Own(name, argument, store), stores);
        }
        return op.has("name")
                ? stream.processValues(() -> new OwnValues(name, argument, store), named(op), stores)
                : stream.processValues(() -> new OwnValues(name, argument, store), stores);
    }

    private static String count(KeyValueStore<String, String> store, Object key) {
        String text = key == null ? "null" : key.toString();
        String before = store.get(text);
        String count = Long.toString((before == null ? 0 : Long.parseLong(before)) + 1);
        store.put(text, count);
        return count;
    }

    private static final class Own implements Processor<Object, String, Object, String> {
        private final String name;
        private final String argument;
        private final String storeName;
        private ProcessorContext<Object, String> context;
        private KeyValueStore<String, String> store;

        Own(String name, String argument, String storeName) {
            this.name = name;
            this.argument = argument;
            this.storeName = storeName;
        }

        @Override
        public void init(ProcessorContext<Object, String> own) {
            context = own;
            store = storeName == null ? null : own.getStateStore(storeName);
            switch (name) {
                case "stream-time":
                    own.schedule(interval(), PunctuationType.STREAM_TIME, this::at);
                    break;
                case "wall-clock":
                    own.schedule(interval(), PunctuationType.WALL_CLOCK_TIME, this::at);
                    break;
                case "sweep":
                    own.schedule(interval(), PunctuationType.WALL_CLOCK_TIME, this::sweep);
                    break;
                default:
            }
        }

        private Duration interval() {
            return Duration.ofMillis(Long.parseLong(argument));
        }

        private void at(long time) {
            context.forward(new Record<>("at", Long.toString(time), time));
        }

        private void sweep(long time) {
            List<KeyValue<String, String>> kept = new ArrayList<>();
            try (KeyValueIterator<String, String> all = store.all()) {
                all.forEachRemaining(kept::add);
            }
            for (KeyValue<String, String> pair : kept) {
                store.delete(pair.key);
                context.forward(new Record<>(pair.key, pair.value, time));
            }
        }

        @Override
        public void process(Record<Object, String> record) {
            switch (name) {
                case "stream-time":
                case "wall-clock":
                    break;
                case "sweep":
                    if (record.key() != null) {
                        store.put(record.key().toString(), record.value());
                    }
                    break;
                case "later":
                    long later = record.timestamp() + Long.parseLong(argument);
                    context.forward(record.withTimestamp(later));
                    break;
                case "header":
                    String[] pair = argument.split("=");
                    Headers headers = new RecordHeaders(record.headers());
                    headers.add(pair[0], pair[1].getBytes(StandardCharsets.UTF_8));
                    context.forward(record.withHeaders(headers));
                    break;
                case "tally":
                    context.forward(record.withValue(count(store, record.key())));
                    break;
                case "twice":
                    context.forward(record);
                    context.forward(record);
                    break;
                default:
                    context.forward(record);
            }
        }
    }

    private static final class OwnValues implements FixedKeyProcessor<Object, String, String> {
        private final String name;
        private final String argument;
        private final String storeName;
        private FixedKeyProcessorContext<Object, String> context;
        private KeyValueStore<String, String> store;

        OwnValues(String name, String argument, String storeName) {
            this.name = name;
            this.argument = argument;
            this.storeName = storeName;
        }

        @Override
        public void init(FixedKeyProcessorContext<Object, String> own) {
            context = own;
            store = storeName == null ? null : own.getStateStore(storeName);
        }

        @Override
        public void process(FixedKeyRecord<Object, String> record) {
            String value =
                    name.equals("tally")
                            ? count(store, record.key())
                            : Functions.map("text:" + argument, record.key(), record.value());
            context.forward(record.withValue(value));
        }
    }
}
