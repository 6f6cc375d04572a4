//! Kafka's variable-length integers: zig-zag, seven bits a byte, least significant group first.

/// The most bytes that an encoded 64-bit number takes.
pub(crate) const VARLONG_BYTES_MAX: usize = 10;

/// Appends `value`.
#[inline]
pub(crate) fn put(buffer: &mut Vec<u8>, value: i64) {
    // Nearly all numbers of a record take one byte, and nearly all others two.
    match zigzag(value) {
        rest if rest < 0x80 => buffer.push(low_byte(rest)),
        rest if rest < 0x4000 => {
            buffer.extend_from_slice(&[low_byte(rest) | 0x80, low_byte(rest >> 7)]);
        }
        rest => put_long(buffer, rest),
    }
}

fn put_long(buffer: &mut Vec<u8>, mut rest: u64) {
    while rest >= 0x80 {
        buffer.push(low_byte(rest) | 0x80);
        rest >>= 7;
    }
    buffer.push(low_byte(rest));
}

/// How many bytes [`put`] writes for `value`.
#[inline]
pub(crate) fn len(value: i64) -> usize {
    let bits = 64 - (zigzag(value) | 1).leading_zeros() as usize;
    // The bits divided by seven, rounded up: exact for all there are.
    (bits * 9 + 64) / 64
}

/// Reads a number and how many bytes it took; `None` if the bytes end early or overflow 64 bits.
#[inline]
pub(crate) fn get(bytes: &[u8]) -> Option<(i64, usize)> {
    // Nearly all numbers of a record take one byte, and nearly all others two.
    match *bytes {
        [low, ..] if low < 0x80 => Some((unzigzag(low.into()), 1)),
        [low, high, ..] if high < 0x80 => {
            Some((unzigzag(u64::from(low & 0x7f) | u64::from(high) << 7), 2))
        }
        _ => get_long(bytes),
    }
}

fn get_long(bytes: &[u8]) -> Option<(i64, usize)> {
    let mut value = 0u64;
    for (index, &byte) in bytes.iter().take(VARLONG_BYTES_MAX).enumerate() {
        if index == VARLONG_BYTES_MAX - 1 && byte > 1 {
            return None;
        }
        value |= u64::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            return Some((unzigzag(value), index + 1));
        }
    }
    None
}

fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)).cast_unsigned()
}

fn unzigzag(value: u64) -> i64 {
    (value >> 1).cast_signed() ^ -(value & 1).cast_signed()
}

fn low_byte(value: u64) -> u8 {
    value.to_be_bytes()[7]
}

#[cfg(test)]
mod tests {
    use super::{get, len, put};

    fn encode(value: i64) -> Vec<u8> {
        let mut buffer = Vec::new();
        put(&mut buffer, value);
        buffer
    }

    #[test]
    fn numbers_survive_a_round_trip_and_report_their_length() {
        let edges = [0, 1, -1, 63, 64, -64, -65, 8191, 8192, i64::from(i32::MAX), i64::MIN];
        for value in edges.into_iter().chain([i64::MAX, i64::from(i32::MIN), 300, -12_345_678]) {
            let bytes = encode(value);
            assert_eq!(bytes.len(), len(value), "{value}");
            assert_eq!(get(&bytes), Some((value, bytes.len())), "{value}");
        }
    }

    #[test]
    fn encodings_are_kafkas() {
        assert_eq!(encode(-1), [0x01]);
        assert_eq!(encode(1), [0x02]);
        assert_eq!(encode(-64), [0x7f]);
        assert_eq!(encode(64), [0x80, 0x01]);
    }

    #[test]
    fn unfinished_and_overlong_numbers_are_refused() {
        assert_eq!(get(&[]), None);
        assert_eq!(get(&[0x80]), None);
        assert_eq!(get(&[0xff; 11]), None);
        assert_eq!(get(&[0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x02]), None);
    }
}
