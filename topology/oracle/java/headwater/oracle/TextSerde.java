package headwater.oracle;

import java.nio.charset.StandardCharsets;
import org.apache.kafka.common.serialization.Deserializer;
import org.apache.kafka.common.serialization.Serde;
import org.apache.kafka.common.serialization.Serializer;
import org.apache.kafka.streams.kstream.Windowed;

/** Keys and values as their texts; a key in a window is {@code key@start/end}. */
public final class TextSerde implements Serde<Object> {
    static String text(Object object) {
        if (object instanceof Windowed<?> windowed) {
            return windowed.key() + "@" + windowed.window().start() + "/" + windowed.window().end();
        }
        return object == null ? null : object.toString();
    }

    @Override
    public Serializer<Object> serializer() {
        return (topic, object) ->
                object == null ? null : text(object).getBytes(StandardCharsets.UTF_8);
    }

    @Override
    public Deserializer<Object> deserializer() {
        return (topic, bytes) -> bytes == null ? null : new String(bytes, StandardCharsets.UTF_8);
    }
}
