//! Compression of the records of a batch: LZ4 frames, as Kafka's clients write and read them.

use std::io::{Read as _, Write as _};

use bytes::Bytes;
use lz4_flex::frame::{BlockMode, BlockSize, FrameDecoder, FrameEncoder, FrameInfo};

/// The most that the records of one batch may take when they are uncompressed: 100 bytes of LZ4 can
/// stand for 25 KB, and a reader has to have room for them.
pub(crate) const UNCOMPRESSED_BYTES_MAX: usize = 16 << 20;

/// Why records cannot be uncompressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unreadable {
    /// They are no LZ4 frame.
    Malformed,
    /// They take more than [`UNCOMPRESSED_BYTES_MAX`].
    TooLarge,
}

/// The records as one LZ4 frame; `None` if that is not shorter.
pub(super) fn compress(records: &[u8]) -> Option<Vec<u8>> {
    if records.len() > UNCOMPRESSED_BYTES_MAX {
        return None;
    }
    // What Kafka's own clients write: independent blocks of 64 KiB, and no checksum but the
    // batch's.
    let frame = FrameInfo::new().block_mode(BlockMode::Independent).block_size(BlockSize::Max64KB);
    let mut encoder = FrameEncoder::with_frame_info(frame, Vec::with_capacity(records.len() / 2));
    encoder.write_all(records).ok()?;
    let compressed = encoder.finish().ok()?;
    (compressed.len() < records.len()).then_some(compressed)
}

/// The records in an LZ4 frame.
pub(super) fn uncompress(frame: &[u8]) -> Result<Bytes, Unreadable> {
    let limit = UNCOMPRESSED_BYTES_MAX as u64 + 1;
    let mut records = Vec::new();
    let mut decoder = FrameDecoder::new(frame).take(limit);
    decoder.read_to_end(&mut records).map_err(|_| Unreadable::Malformed)?;
    if records.len() > UNCOMPRESSED_BYTES_MAX {
        return Err(Unreadable::TooLarge);
    }
    if !decoder.into_inner().into_inner().is_empty() {
        return Err(Unreadable::Malformed);
    }
    Ok(Bytes::from(records))
}

#[cfg(test)]
mod tests {
    use super::{UNCOMPRESSED_BYTES_MAX, Unreadable, compress, uncompress};
    use lz4_flex::frame::FrameEncoder;
    use std::io::Write as _;

    #[test]
    fn what_is_compressed_comes_back() {
        for len in [1_000, 64 << 10, (64 << 10) + 1, 1_000_000, UNCOMPRESSED_BYTES_MAX] {
            let records: Vec<u8> = (0..len).map(|n| b"kafka"[n / 7 % 5]).collect();
            let frame = compress(&records).unwrap();
            assert!(frame.len() < len / 4, "{len} gave {}", frame.len());
            assert_eq!(uncompress(&frame).unwrap(), records);
        }
    }

    #[test]
    fn what_does_not_get_shorter_stays_as_it_is() {
        let mut rng = fastrand::Rng::with_seed(7);
        let noise: Vec<u8> = (0..5_000).map(|_| rng.u8(..)).collect();
        assert_eq!((compress(&noise), compress(b"")), (None, None));
        assert_eq!(compress(&vec![0; UNCOMPRESSED_BYTES_MAX + 1]), None);
    }

    #[test]
    fn a_frame_that_grows_too_large_or_is_none_is_an_error() {
        let mut encoder = FrameEncoder::new(Vec::new());
        encoder.write_all(&vec![0; UNCOMPRESSED_BYTES_MAX + 1]).unwrap();
        let bomb = encoder.finish().unwrap();
        assert!(bomb.len() < 100_000, "{}", bomb.len());
        assert_eq!(uncompress(&bomb), Err(Unreadable::TooLarge));
        let good = compress(&[7; 1_000]).unwrap();
        let longer = [&good[..], b"x"].concat();
        for bad in [&good[..good.len() - 6], &good[1..], &longer, b"no frame"] {
            assert_eq!(uncompress(bad), Err(Unreadable::Malformed), "{bad:?}");
        }
    }
}
