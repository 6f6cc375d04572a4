package headwater.bench;

import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;

/** Reads the input files of the benchmarks. */
final class Frames {
    /** A record of an input. */
    record Frame(String topic, long time, byte[] key, byte[] value) {}

    private static final int HEADER_BYTES = 8;

    private Frames() {}

    static List<Frame> read(String topic, Path path) throws IOException {
        ByteBuffer bytes = ByteBuffer.wrap(Files.readAllBytes(path));
        List<Frame> frames = new ArrayList<>();
        while (bytes.hasRemaining()) {
            bytes.position(bytes.position() + HEADER_BYTES);
            long time = bytes.getLong();
            int keyLength = bytes.getInt();
            int valueLength = bytes.getInt();
            frames.add(new Frame(topic, time, take(bytes, keyLength), take(bytes, valueLength)));
        }
        return frames;
    }

    private static byte[] take(ByteBuffer bytes, int length) {
        if (length < 0) {
            return null;
        }
        byte[] taken = new byte[length];
        bytes.get(taken);
        return taken;
    }
}
