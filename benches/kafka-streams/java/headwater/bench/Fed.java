package headwater.bench;

import java.lang.reflect.Field;
import java.time.Instant;
import java.util.HashMap;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Properties;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.producer.MockProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.record.TimestampType;
import org.apache.kafka.streams.Topology;
import org.apache.kafka.streams.TopologyTestDriver;
import org.apache.kafka.streams.processor.internals.StreamTask;

/** Runs a topology without a broker, at the pace of a poll and not of a test. */
final class Fed implements AutoCloseable {
    private static final int POLL_RECORDS = 1_000;
    private static final int COMMIT_RECORDS = 100_000;

    private final TopologyTestDriver driver;
    private final StreamTask task;
    private final MockProducer<byte[], byte[]> producer;
    private final Map<String, TopicPartition> partitions;
    private final Map<String, Long> offsets = new HashMap<>();
    private long written;

    @SuppressWarnings("unchecked")
    Fed(Topology topology, Properties properties) throws ReflectiveOperationException {
        driver = new TopologyTestDriver(topology, properties, Instant.ofEpochMilli(0));
        task = (StreamTask) field("task");
        producer = (MockProducer<byte[], byte[]>) field("producer");
        partitions = (Map<String, TopicPartition>) field("partitionsByInputTopic");
    }

    private Object field(String name) throws ReflectiveOperationException {
        Field field = TopologyTestDriver.class.getDeclaredField(name);
        field.setAccessible(true);
        return field.get(driver);
    }

    /** Processes all records, and returns how many were written to the output. */
    long run(List<Frames.Frame> frames) {
        int sinceCommit = 0;
        for (int from = 0; from < frames.size(); from += POLL_RECORDS) {
            int to = Math.min(from + POLL_RECORDS, frames.size());
            Map<String, List<ConsumerRecord<byte[], byte[]>>> polled = new HashMap<>();
            for (Frames.Frame frame : frames.subList(from, to)) {
                add(polled, frame.topic(), frame.time(), frame.key(), frame.value());
            }
            work(polled);
            sinceCommit += to - from;
            if (sinceCommit >= COMMIT_RECORDS) {
                commit();
                sinceCommit = 0;
            }
        }
        commit();
        return written;
    }

    private void add(
            Map<String, List<ConsumerRecord<byte[], byte[]>>> into,
            String topic,
            long time,
            byte[] key,
            byte[] value) {
        TopicPartition partition = partitions.get(topic);
        long offset = offsets.merge(topic, 1L, Long::sum) - 1;
        into.computeIfAbsent(topic, unused -> new ArrayList<>())
                .add(
                        new ConsumerRecord<>(
                                partition.topic(),
                                partition.partition(),
                                offset,
                                time,
                                TimestampType.CREATE_TIME,
                                key == null ? 0 : key.length,
                                value == null ? 0 : value.length,
                                key,
                                value,
                                new org.apache.kafka.common.header.internals.RecordHeaders(),
                                Optional.empty()));
    }

    /** Processes what was polled, and what came of it in repartition topics. */
    private void work(Map<String, List<ConsumerRecord<byte[], byte[]>>> polled) {
        Map<String, List<ConsumerRecord<byte[], byte[]>>> next = polled;
        while (!next.isEmpty()) {
            next.forEach((topic, records) -> task.addRecords(partitions.get(topic), records));
            while (task.process(0)) {
                task.maybePunctuateStreamTime();
            }
            next = new HashMap<>();
            for (ProducerRecord<byte[], byte[]> sent : producer.history()) {
                if (partitions.containsKey(sent.topic())) {
                    add(next, sent.topic(), sent.timestamp(), sent.key(), sent.value());
                } else if (sent.topic().equals("out")) {
                    written += 1;
                }
            }
            producer.clear();
        }
    }

    private void commit() {
        task.prepareCommit(true);
        task.postCommit(true);
        work(new HashMap<>());
    }

    @Override
    public void close() {
        driver.close();
    }
}
