package headwater.bench;

import java.lang.reflect.Field;
import java.lang.reflect.Method;
import java.time.Instant;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import java.util.OptionalLong;
import java.util.Properties;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.header.internals.RecordHeaders;
import org.apache.kafka.common.record.TimestampType;
import org.apache.kafka.streams.Topology;
import org.apache.kafka.streams.TopologyTestDriver;
import org.apache.kafka.streams.processor.internals.AbstractTask;
import org.apache.kafka.streams.processor.internals.ProcessorStateManager;

/** Restores a store from its changelog without a broker: the state manager of a task, which is that of an application. */
final class Restored implements AutoCloseable {
    /** As many as a poll of the restore consumer returns. */
    private static final int POLL_RECORDS = 1_000;

    private final TopologyTestDriver driver;
    private final ProcessorStateManager manager;
    private final Method restore;
    private final Object metadata;
    private final String store;
    private final TopicPartition changelog;

    Restored(Topology topology, Properties properties, String store)
            throws ReflectiveOperationException {
        this.store = store;
        driver = new TopologyTestDriver(topology, properties, Instant.ofEpochMilli(0));
        Field task = TopologyTestDriver.class.getDeclaredField("task");
        task.setAccessible(true);
        Field state = AbstractTask.class.getDeclaredField("stateMgr");
        state.setAccessible(true);
        manager = (ProcessorStateManager) state.get(task.get(driver));
        changelog = manager.registeredChangelogPartitionFor(store);
        Method find =
                ProcessorStateManager.class.getDeclaredMethod("storeMetadata", TopicPartition.class);
        find.setAccessible(true);
        metadata = find.invoke(manager, changelog);
        restore =
                ProcessorStateManager.class.getDeclaredMethod(
                        "restore",
                        ProcessorStateManager.StateStoreMetadata.class,
                        List.class,
                        OptionalLong.class);
        restore.setAccessible(true);
    }

    /** Restores all records, and returns how many keys the store has then. */
    long run(List<Frames.Frame> frames) throws ReflectiveOperationException {
        List<ConsumerRecord<byte[], byte[]>> polled = new ArrayList<>(POLL_RECORDS);
        for (int offset = 0; offset < frames.size(); offset += 1) {
            polled.add(record(frames.get(offset), offset));
            if (polled.size() == POLL_RECORDS) {
                restore(polled);
            }
        }
        restore(polled);
        return driver.getTimestampedKeyValueStore(store).approximateNumEntries();
    }

    private ConsumerRecord<byte[], byte[]> record(Frames.Frame frame, long offset) {
        return new ConsumerRecord<>(
                changelog.topic(),
                changelog.partition(),
                offset,
                frame.time(),
                TimestampType.CREATE_TIME,
                frame.key().length,
                frame.value().length,
                frame.key(),
                frame.value(),
                new RecordHeaders(),
                Optional.empty());
    }

    private void restore(List<ConsumerRecord<byte[], byte[]>> polled)
            throws ReflectiveOperationException {
        if (!polled.isEmpty()) {
            restore.invoke(manager, metadata, polled, OptionalLong.empty());
            polled.clear();
        }
    }

    @Override
    public void close() {
        driver.close();
    }
}
