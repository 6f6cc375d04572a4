//! The parts that values of our own layouts in changelogs are made of: byte strings with their
//! length before them, and headers.

use headwater_log_store::Header;

use crate::error::BoxError;
use crate::record::Headers;

/// The length that stands for a null.
const NULL_LEN: i32 = -1;

/// Appends a length and the bytes, or the length of a null.
pub(crate) fn write_bytes(bytes: Option<&[u8]>, out: &mut Vec<u8>) -> Result<(), BoxError> {
    let len = bytes.map_or(Ok(NULL_LEN), |bytes| i32::try_from(bytes.len()))?;
    out.extend_from_slice(&len.to_be_bytes());
    out.extend_from_slice(bytes.unwrap_or_default());
    Ok(())
}

/// Takes what [`write_bytes`] has written off the front.
pub(crate) fn read_bytes<'a>(rest: &mut &'a [u8]) -> Result<Option<&'a [u8]>, BoxError> {
    let (len, after) = rest.split_first_chunk::<4>().ok_or("its value is cut short")?;
    let len = i32::from_be_bytes(*len);
    if len == NULL_LEN {
        *rest = after;
        return Ok(None);
    }
    let (bytes, after) =
        after.split_at_checked(usize::try_from(len)?).ok_or("its value is cut short")?;
    *rest = after;
    Ok(Some(bytes))
}

/// Appends headers: the last part of a value.
pub(crate) fn write_headers(headers: &Headers, out: &mut Vec<u8>) -> Result<(), BoxError> {
    for Header { key, value } in headers.iter() {
        write_bytes(Some(key.as_bytes()), out)?;
        write_bytes(value, out)?;
    }
    Ok(())
}

/// Takes all that is left for headers.
pub(crate) fn read_headers(mut rest: &[u8]) -> Result<Headers, BoxError> {
    let mut headers = Vec::new();
    while !rest.is_empty() {
        let key = read_bytes(&mut rest)?.ok_or("a header has no key")?;
        headers.push((std::str::from_utf8(key)?, read_bytes(&mut rest)?));
    }
    Ok(Headers::from_pairs(headers))
}
