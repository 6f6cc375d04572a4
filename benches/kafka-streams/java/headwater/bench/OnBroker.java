package headwater.bench;

import java.io.BufferedReader;
import java.io.FileDescriptor;
import java.io.FileOutputStream;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.time.Duration;
import java.util.Properties;
import java.util.concurrent.CountDownLatch;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.streams.CloseOptions;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.StreamsConfig;
import org.apache.kafka.streams.errors.StreamsUncaughtExceptionHandler;
import org.apache.kafka.streams.processor.StateRestoreListener;
import org.apache.kafka.streams.state.BuiltInDslStoreSuppliers;

/** {@code OnBroker BOOTSTRAP NAME STATE_DIR}: see README.md. */
public final class OnBroker {
    private static final Duration PATIENCE = Duration.ofSeconds(60);

    private OnBroker() {}

    public static void main(String[] args) throws Exception {
        PrintStream out =
                new PrintStream(new FileOutputStream(FileDescriptor.out), true, StandardCharsets.UTF_8);
        System.setOut(System.err);
        BufferedReader in =
                new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        Running running = null;
        for (String line = in.readLine(); line != null; line = in.readLine()) {
            String[] words = line.split(" ");
            switch (words[0]) {
                case "run" -> running = Running.start(args, words, out);
                case "close" -> {
                    running.close();
                    running = null;
                    out.println("closed");
                }
                default -> throw new IllegalArgumentException(line);
            }
        }
    }

    /** An application at work: {@code run APPLICATION_ID INPUT_PREFIX OUTPUT}. */
    private record Running(KafkaStreams streams) {
        static Running start(String[] args, String[] words, PrintStream out) throws Exception {
            Properties properties = properties(args[0], words[1], Path.of(args[2]));
            var topology = OnBrokerTopologies.named(args[1], words[2], words[3], properties);
            KafkaStreams streams = new KafkaStreams(topology, properties);
            Restores restores = new Restores();
            CountDownLatch isRunning = new CountDownLatch(1);
            streams.setGlobalStateRestoreListener(restores);
            streams.setStateListener(
                    (next, before) -> {
                        if (next == KafkaStreams.State.RUNNING) {
                            isRunning.countDown();
                        }
                    });
            streams.setUncaughtExceptionHandler(
                    failure -> {
                        failure.printStackTrace();
                        System.exit(1);
                        return StreamsUncaughtExceptionHandler.StreamThreadExceptionResponse
                                .SHUTDOWN_CLIENT;
                    });
            out.println("starting");
            streams.start();
            isRunning.await();
            out.println("running " + restores);
            return new Running(streams);
        }

        void close() {
            streams.close(
                    CloseOptions.timeout(PATIENCE)
                            .withGroupMembershipOperation(
                                    CloseOptions.GroupMembershipOperation.LEAVE_GROUP));
            // What it has of its own on the disk is gone; its changelogs stay.
            streams.cleanUp();
        }
    }

    private static Properties properties(String bootstrap, String applicationId, Path state) {
        Properties properties = new Properties();
        properties.put(StreamsConfig.APPLICATION_ID_CONFIG, applicationId);
        properties.put(StreamsConfig.BOOTSTRAP_SERVERS_CONFIG, bootstrap);
        properties.put(StreamsConfig.STATE_DIR_CONFIG, state.toString());
        properties.put(
                StreamsConfig.PROCESSING_GUARANTEE_CONFIG, StreamsConfig.EXACTLY_ONCE_V2);
        properties.put(StreamsConfig.COMMIT_INTERVAL_MS_CONFIG, "100");
        properties.put(StreamsConfig.NUM_STREAM_THREADS_CONFIG, "1");
        properties.put(StreamsConfig.STATESTORE_CACHE_MAX_BYTES_CONFIG, "0");
        properties.put(
                StreamsConfig.DSL_STORE_SUPPLIERS_CLASS_CONFIG,
                BuiltInDslStoreSuppliers.InMemoryDslStoreSuppliers.class);
        return properties;
    }

    /** From the begin of the first restore to the end of the last one. */
    private static final class Restores implements StateRestoreListener {
        private long begin;
        private long end;
        private long records;

        @Override
        public synchronized void onRestoreStart(
                TopicPartition partition, String store, long startOffset, long endOffset) {
            begin = begin == 0 ? System.nanoTime() : begin;
        }

        @Override
        public void onBatchRestored(
                TopicPartition partition, String store, long batchEnd, long restored) {}

        @Override
        public synchronized void onRestoreEnd(
                TopicPartition partition, String store, long restored) {
            end = System.nanoTime();
            records += restored;
        }

        @Override
        public synchronized String toString() {
            return (end - begin) / 1e6 + " " + records;
        }
    }
}
