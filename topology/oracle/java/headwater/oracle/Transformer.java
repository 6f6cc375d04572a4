package headwater.oracle;

import org.apache.kafka.streams.kstream.ValueTransformerWithKey;
import org.apache.kafka.streams.processor.ProcessorContext;

/** A transformer of a table's values that keeps nothing. */
final class Transformer implements ValueTransformerWithKey<Object, String, String> {
    private final String function;

    Transformer(String function) {
        this.function = function;
    }

    @Override
    public void init(ProcessorContext context) {}

    @Override
    public String transform(Object key, String value) {
        return Functions.map(function, key, value);
    }

    @Override
    public void close() {}
}
