package headwater.bench;

import com.sun.management.OperatingSystemMXBean;
import java.io.BufferedReader;
import java.io.FileDescriptor;
import java.io.FileOutputStream;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.lang.management.ManagementFactory;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.List;
import java.util.Properties;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.streams.StreamsConfig;
import org.apache.kafka.streams.Topology;
import org.apache.kafka.streams.state.BuiltInDslStoreSuppliers;

/** {@code Bench NAME TOPIC=FILE…}: see README.md. */
public final class Bench {
    private Bench() {}

    public static void main(String[] args) throws Exception {
        List<Frames.Frame> frames = new ArrayList<>();
        for (int index = 1; index < args.length; index += 1) {
            String[] input = args[index].split("=", 2);
            frames.addAll(Frames.read(input[0], Path.of(input[1])));
        }
        // Stable: of equal times, the first topic goes first.
        frames.sort(Comparator.comparingLong(Frames.Frame::time));
        OperatingSystemMXBean system =
                (OperatingSystemMXBean) ManagementFactory.getOperatingSystemMXBean();
        PrintStream out =
                new PrintStream(new FileOutputStream(FileDescriptor.out), true, StandardCharsets.UTF_8);
        System.setOut(System.err);
        BufferedReader in =
                new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        Path state = Files.createTempDirectory("headwater-bench");
        int number = 0;
        while (in.readLine() != null) {
            number += 1;
            Properties properties = properties(state.resolve(Integer.toString(number)));
            Topology topology = Topologies.named(args[0], properties);
            long started = system.getProcessCpuTime();
            long written = run(args[0], topology, properties, frames);
            double seconds = (system.getProcessCpuTime() - started) / 1e9;
            out.println(seconds + " " + written);
        }
        try (var paths = Files.walk(state)) {
            for (Path path : paths.sorted(Comparator.reverseOrder()).toList()) {
                Files.deleteIfExists(path);
            }
        }
    }

    private static long run(
            String name, Topology topology, Properties properties, List<Frames.Frame> frames)
            throws Exception {
        if (name.equals(Topologies.RESTORE)) {
            try (Restored restored = new Restored(topology, properties, "counts")) {
                return restored.run(frames);
            }
        }
        try (Fed fed = new Fed(topology, properties)) {
            return fed.run(frames);
        }
    }

    private static Properties properties(Path state) {
        Properties properties = new Properties();
        properties.put(StreamsConfig.APPLICATION_ID_CONFIG, "bench");
        properties.put(StreamsConfig.BOOTSTRAP_SERVERS_CONFIG, "none:1");
        properties.put(StreamsConfig.STATE_DIR_CONFIG, state.toString());
        properties.put(StreamsConfig.STATESTORE_CACHE_MAX_BYTES_CONFIG, "0");
        // What is there is processed: the records come in the order of their times.
        properties.put(StreamsConfig.MAX_TASK_IDLE_MS_CONFIG, "-1");
        properties.put(
                StreamsConfig.DSL_STORE_SUPPLIERS_CLASS_CONFIG,
                BuiltInDslStoreSuppliers.InMemoryDslStoreSuppliers.class);
        properties.put(
                StreamsConfig.DEFAULT_KEY_SERDE_CLASS_CONFIG, Serdes.StringSerde.class);
        properties.put(StreamsConfig.DEFAULT_VALUE_SERDE_CLASS_CONFIG, Serdes.LongSerde.class);
        return properties;
    }
}
