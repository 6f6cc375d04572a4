//! Reading the fixed layouts of our own small files. All numbers are big-endian.

/// Takes fields from the front of bytes; `None` where they end early.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// The next `len` bytes.
    pub(crate) fn bytes(&mut self, len: usize) -> Option<&'a [u8]> {
        let (head, tail) = self.rest.split_at_checked(len)?;
        self.rest = tail;
        Some(head)
    }

    /// The next `N` bytes.
    pub(crate) fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, tail) = self.rest.split_first_chunk::<N>()?;
        self.rest = tail;
        Some(*head)
    }

    pub(crate) fn u8(&mut self) -> Option<u8> {
        self.array::<1>().map(u8::from_be_bytes)
    }

    pub(crate) fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_be_bytes)
    }

    pub(crate) fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_be_bytes)
    }

    pub(crate) fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_be_bytes)
    }

    pub(crate) fn i64(&mut self) -> Option<i64> {
        self.array().map(i64::from_be_bytes)
    }

    pub(crate) fn u128(&mut self) -> Option<u128> {
        self.array().map(u128::from_be_bytes)
    }

    /// A string behind its length in two bytes, as [`put_string`] writes it.
    pub(crate) fn string(&mut self) -> Option<&'a str> {
        let len = self.u16()?;
        std::str::from_utf8(self.bytes(len.into())?).ok()
    }

    /// What is left.
    pub(crate) fn rest(self) -> &'a [u8] {
        self.rest
    }
}

/// Appends a string behind its length in two bytes; false, and nothing, if it is too long.
#[must_use]
pub(crate) fn put_string(buffer: &mut Vec<u8>, string: &str) -> bool {
    let Ok(len) = u16::try_from(string.len()) else { return false };
    buffer.extend_from_slice(&len.to_be_bytes());
    buffer.extend_from_slice(string.as_bytes());
    true
}

/// How many bytes there are up to the last one that is not zero.
pub(crate) fn written_len(bytes: &[u8]) -> usize {
    /// As much as is compared in one step.
    const STEP: [u8; 64] = [0; 64];
    let zeros = bytes.rchunks_exact(STEP.len()).take_while(|chunk| *chunk == STEP).count();
    let bytes = bytes.get(..bytes.len() - zeros * STEP.len()).unwrap_or_default();
    bytes.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1)
}

/// Appends a checksum over all that is there.
pub(crate) fn put_checksum(buffer: &mut Vec<u8>) {
    let checksum = crc32fast::hash(buffer);
    buffer.extend_from_slice(&checksum.to_be_bytes());
}

/// The bytes before the checksum that [`put_checksum`] added, if it matches.
pub(crate) fn checked(bytes: &[u8]) -> Option<&[u8]> {
    let (content, checksum) = bytes.split_last_chunk::<4>()?;
    (crc32fast::hash(content) == u32::from_be_bytes(*checksum)).then_some(content)
}
