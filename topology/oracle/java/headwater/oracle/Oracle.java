package headwater.oracle;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.BufferedReader;
import java.io.FileDescriptor;
import java.io.FileOutputStream;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.time.Instant;
import java.util.Properties;
import java.util.TreeSet;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.header.internals.RecordHeaders;
import org.apache.kafka.common.serialization.StringDeserializer;
import org.apache.kafka.common.serialization.StringSerializer;
import org.apache.kafka.streams.StreamsConfig;
import org.apache.kafka.streams.Topology;
import org.apache.kafka.streams.TopologyTestDriver;
import org.apache.kafka.streams.test.TestRecord;

/** Reads cases from its input, one a line, and writes what Kafka Streams makes of each. */
public final class Oracle {
    private static final ObjectMapper JSON = new ObjectMapper();

    private Oracle() {}

    public static void main(String[] args) throws Exception {
        // Every topology opens stores: in memory that takes a tenth of the time.
        Path memory = Path.of("/dev/shm");
        Path state =
                Files.isWritable(memory)
                        ? Files.createTempDirectory(memory, "headwater-oracle")
                        : Files.createTempDirectory("headwater-oracle");
        BufferedReader in =
                new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        PrintStream out =
                new PrintStream(new FileOutputStream(FileDescriptor.out), false, StandardCharsets.UTF_8);
        // What a library prints must not be taken for an answer.
        System.setOut(System.err);
        int number = 0;
        for (String line = in.readLine(); line != null; line = in.readLine()) {
            // What a topology that cannot start leaves open stays in a folder of its own.
            number += 1;
            Path own = state.resolve(Integer.toString(number));
            out.println(JSON.writeValueAsString(answer(JSON.readTree(line), own)));
            out.flush();
        }
        deleteAll(state);
    }

    private static void deleteAll(Path folder) throws Exception {
        try (var paths = Files.walk(folder)) {
            for (Path path : paths.sorted(java.util.Comparator.reverseOrder()).toList()) {
                Files.deleteIfExists(path);
            }
        }
    }

    private static ObjectNode answer(JsonNode testCase, Path state) {
        ObjectNode answer = JSON.createObjectNode();
        ArrayNode expected = answer.putArray("expected");
        Properties properties = properties(testCase.path("settings"), state);
        try {
            Topology topology = new Builder(testCase.path("operators")).build(properties);
            answer.put("describe", topology.describe().toString());
            run(testCase, topology, properties, answer, expected);
        } catch (RuntimeException failure) {
            answer.put("error", text(failure));
        }
        return answer;
    }

    private static String text(Throwable failure) {
        StringBuilder text = new StringBuilder();
        for (Throwable cause = failure; cause != null; cause = cause.getCause()) {
            text.append(text.isEmpty() ? "" : ": ").append(cause);
        }
        return text.toString();
    }

    private static Properties properties(JsonNode settings, Path state) {
        Properties properties = new Properties();
        properties.put(StreamsConfig.APPLICATION_ID_CONFIG, "test");
        properties.put(StreamsConfig.BOOTSTRAP_SERVERS_CONFIG, "none:1");
        properties.put(StreamsConfig.STATE_DIR_CONFIG, state.toString());
        String cache = settings.path("cache").asBoolean() ? "10485760" : "0";
        properties.put(StreamsConfig.STATESTORE_CACHE_MAX_BYTES_CONFIG, cache);
        properties.put(StreamsConfig.DEFAULT_KEY_SERDE_CLASS_CONFIG, TextSerde.class);
        properties.put(StreamsConfig.DEFAULT_VALUE_SERDE_CLASS_CONFIG, TextSerde.class);
        if (settings.has("optimization")) {
            properties.put(
                    StreamsConfig.TOPOLOGY_OPTIMIZATION_CONFIG, settings.get("optimization").asText());
        }
        if (settings.has("idle_ms")) {
            properties.put(StreamsConfig.MAX_TASK_IDLE_MS_CONFIG, settings.get("idle_ms").asText());
        }
        if (settings.has("emit_interval_ms")) {
            long interval = settings.get("emit_interval_ms").asLong();
            properties.put(
                    StreamsConfig.InternalConfig
                            .EMIT_INTERVAL_MS_KSTREAMS_OUTER_JOIN_SPURIOUS_RESULTS_FIX,
                    interval);
            properties.put(
                    StreamsConfig.InternalConfig.EMIT_INTERVAL_MS_KSTREAMS_WINDOWED_AGGREGATION,
                    interval);
        }
        return properties;
    }

    private static void run(
            JsonNode testCase,
            Topology topology,
            Properties properties,
            ObjectNode answer,
            ArrayNode expected) {
        TreeSet<String> topics = new TreeSet<>();
        for (JsonNode operator : testCase.path("operators")) {
            if (operator.path("op").asText().equals("to")) {
                topics.add(operator.path("topic").asText());
            }
        }
        try (TopologyTestDriver driver =
                new TopologyTestDriver(topology, properties, Instant.ofEpochMilli(0))) {
            for (JsonNode input : testCase.path("inputs")) {
                RuntimeException failure = null;
                try {
                    pipe(driver, input);
                } catch (RuntimeException caught) {
                    failure = caught;
                }
                for (String topic : topics) {
                    read(driver, topic, input.path("i").asInt(), expected);
                }
                if (failure != null) {
                    answer.put("error", text(failure));
                    return;
                }
            }
        }
    }

    private static void pipe(TopologyTestDriver driver, JsonNode input) {
        if (input.has("advance_wall_clock_ms")) {
            driver.advanceWallClockTime(
                    Duration.ofMillis(input.get("advance_wall_clock_ms").asLong()));
            return;
        }
        RecordHeaders headers = new RecordHeaders();
        for (JsonNode header : input.path("headers")) {
            JsonNode value = header.path(1);
            headers.add(
                    header.path(0).asText(),
                    value.isNull() ? null : value.asText().getBytes(StandardCharsets.UTF_8));
        }
        driver.createInputTopic(
                        input.get("topic").asText(), new StringSerializer(), new StringSerializer())
                .pipeInput(
                        new TestRecord<>(
                                orNull(input.path("key")),
                                orNull(input.path("value")),
                                headers,
                                input.get("ts").asLong()));
    }

    private static String orNull(JsonNode node) {
        return node.isNull() || node.isMissingNode() ? null : node.asText();
    }

    private static void read(
            TopologyTestDriver driver, String topic, int after, ArrayNode expected) {
        var output =
                driver.createOutputTopic(topic, new StringDeserializer(), new StringDeserializer());
        while (!output.isEmpty()) {
            TestRecord<String, String> record = output.readRecord();
            ObjectNode found = expected.addObject();
            found.put("after_input", after).put("topic", topic);
            found.put("key", record.key()).put("value", record.value());
            found.put("ts", record.timestamp());
            ArrayNode headers = JSON.createArrayNode();
            for (Header header : record.headers()) {
                byte[] value = header.value();
                ArrayNode pair = headers.addArray().add(header.key());
                pair.add(value == null ? null : new String(value, StandardCharsets.UTF_8));
            }
            if (!headers.isEmpty()) {
                found.set("headers", headers);
            }
        }
    }
}
