//! Encoded records, one after the other: the payload of PUBLISH, FETCH and DELIVER.
//!
//! ```text
//! u32 size | u8 attrs | [01: u64 timestamp_us] | [02: u16 length, key] | [04: u16 length, headers] | [10: 4 bytes]
//!     | value
//! ```
//!
//! `size` counts the bytes after itself; the value is what remains after the other parts. Headers are `u8 length, name,
//! u16 length, value` back to back. The attributes 08 (without bytes) and 10 are reserved: a reader skips them, so that
//! a later version can give them a meaning, and a publisher must not send them yet. A record does not refer to its
//! neighbours, so batches can be joined and split at any record boundary.

use byteorder::{BigEndian, ByteOrder};

use super::field::{DecodeError, Reader, Writer};

const SIZE_BYTES: usize = 4;
const ATTR_TIMESTAMP: u8 = 0x01;
const ATTR_KEY: u8 = 0x02;
const ATTR_HEADERS: u8 = 0x04;
/// A reserved attribute without bytes.
const ATTR_EMPTY: u8 = 0x08;
/// A reserved attribute with [`FOUR_BYTES`] bytes after the headers.
const ATTR_FOUR: u8 = 0x10;
const FOUR_BYTES: usize = 4;
/// The attributes that a publisher may send.
const ATTRS_PUBLISHED: u8 = ATTR_TIMESTAMP | ATTR_KEY | ATTR_HEADERS;
/// Further attributes, which a reader skips.
const ATTRS_SKIPPED: u8 = ATTR_EMPTY | ATTR_FOUR;

/// One record, borrowed from a payload.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Record<'a> {
    /// The publisher's timestamp, in microseconds since 1970.
    pub timestamp_us: Option<u64>,
    /// The key: what the record is about; at most 65 535 bytes.
    pub key: Option<&'a [u8]>,
    /// Names and values for the reader's use; at most 65 535 bytes in encoded form.
    pub headers: Headers<'a>,
    /// The content.
    pub value: &'a [u8],
}

/// The encoded headers of a record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Headers<'a>(&'a [u8]);

impl<'a> Headers<'a> {
    /// Returns the names and values in their order.
    pub fn iter(self) -> impl Iterator<Item = (&'a str, &'a [u8])> {
        let mut rest = Reader::new(self.0);
        std::iter::from_fn(move || header(&mut rest).ok())
    }

    /// Returns true if there are no headers.
    pub const fn is_empty(self) -> bool {
        self.0.is_empty()
    }
}

/// Encodes headers for a record.
///
/// # Errors
/// Returns an error for a name of more than 255 bytes, a value of more than 65 535 bytes, or headers that exceed 65 535
/// bytes in total.
pub fn encode_headers<'h>(headers: impl IntoIterator<Item = (&'h str, &'h [u8])>) -> Result<Vec<u8>, RecordError> {
    let mut bytes = Vec::new();
    for (name, value) in headers {
        let length = u16::try_from(value.len()).map_err(|_| RecordError::TooLong)?;
        if name.len() > usize::from(u8::MAX) {
            return Err(RecordError::TooLong);
        }
        Writer::new(&mut bytes).str8(name).u16(length).bytes(value);
    }
    if bytes.len() > usize::from(u16::MAX) { Err(RecordError::TooLong) } else { Ok(bytes) }
}

impl<'a> Record<'a> {
    /// Wraps headers that [`encode_headers`] has encoded.
    ///
    /// # Errors
    /// Returns [`RecordError::Header`] if the bytes are not such headers.
    pub fn with_headers(self, headers: &'a [u8]) -> Result<Self, RecordError> {
        check_headers(headers)?;
        Ok(Self { headers: Headers(headers), ..self })
    }

    /// Appends the record to a payload.
    ///
    /// # Errors
    /// Returns [`RecordError::TooLong`] if the key or the headers exceed 65 535 bytes, or the whole record exceeds 4
    /// GiB.
    #[expect(
        clippy::arithmetic_side_effects,
        reason = "lengths of buffers in memory add up to less than a usize holds"
    )]
    pub fn encode(&self, payload: &mut Vec<u8>) -> Result<(), RecordError> {
        let key_len = self.key.map(|key| u16::try_from(key.len())).transpose().map_err(|_| RecordError::TooLong)?;
        let headers_len = u16::try_from(self.headers.0.len()).map_err(|_| RecordError::TooLong)?;
        let start = payload.len();
        let attrs = if self.timestamp_us.is_some() { ATTR_TIMESTAMP } else { 0 }
            | if self.key.is_some() { ATTR_KEY } else { 0 }
            | if headers_len == 0 { 0 } else { ATTR_HEADERS };
        let mut out = Writer::new(payload);
        out.u32(0).u8(attrs);
        if let Some(timestamp_us) = self.timestamp_us {
            out.u64(timestamp_us);
        }
        if let (Some(key), Some(length)) = (self.key, key_len) {
            out.u16(length).bytes(key);
        }
        if headers_len > 0 {
            out.u16(headers_len).bytes(self.headers.0);
        }
        out.bytes(self.value);
        let Ok(size) = u32::try_from(payload.len() - start - SIZE_BYTES) else {
            payload.truncate(start);
            return Err(RecordError::TooLong);
        };
        BigEndian::write_u32(&mut payload[start..start + SIZE_BYTES], size);
        Ok(())
    }

    /// Decodes the record at the start of `payload`; returns it and the remaining bytes. Reserved attributes are
    /// skipped.
    ///
    /// # Errors
    /// Returns [`RecordError`] when the bytes are not a valid record.
    pub fn decode(payload: &'a [u8]) -> Result<(Self, &'a [u8]), RecordError> {
        let (record, rest) = split(payload)?;
        let mut fields = Reader::new(record);
        let attrs = fields.u8("attrs")?;
        if attrs & !(ATTRS_PUBLISHED | ATTRS_SKIPPED) != 0 {
            return Err(RecordError::Attrs { attrs });
        }
        let timestamp_us = if attrs & ATTR_TIMESTAMP != 0 { Some(fields.u64("timestamp")?) } else { None };
        let key = if attrs & ATTR_KEY != 0 { Some(short(&mut fields)?) } else { None };
        let headers = if attrs & ATTR_HEADERS != 0 { short(&mut fields)? } else { &[] };
        check_headers(headers)?;
        if attrs & ATTR_FOUR != 0 {
            fields.bytes(FOUR_BYTES, "attribute 0x10")?;
        }
        Ok((Self { timestamp_us, key, headers: Headers(headers), value: fields.remaining() }, rest))
    }
}

/// Checks that the payload of a PUBLISH consists of exactly `count` records, at least one, and that they have only
/// attributes that a publisher may send.
///
/// # Errors
/// Returns [`RecordError`], which says what is wrong.
pub fn check_published(payload: &[u8], count: u32) -> Result<(), RecordError> {
    check_with(payload, count, ATTRS_PUBLISHED)
}

/// Checks that a payload consists of exactly `count` records, at least one. They may have the reserved attributes.
///
/// # Errors
/// Returns [`RecordError`], which says what is wrong.
pub fn check(payload: &[u8], count: u32) -> Result<(), RecordError> {
    check_with(payload, count, ATTRS_PUBLISHED | ATTRS_SKIPPED)
}

fn check_with(payload: &[u8], count: u32, allowed: u8) -> Result<(), RecordError> {
    if count == 0 {
        return Err(RecordError::Empty);
    }
    let mut rest = payload;
    let mut found: u32 = 0;
    while !rest.is_empty() {
        match rest.get(SIZE_BYTES) {
            // A record without attributes, like most records, has nothing to check except its size.
            Some(0) => rest = split(rest)?.1,
            Some(attrs) if attrs & !allowed != 0 => return Err(RecordError::Attrs { attrs: *attrs }),
            Some(_) | None => rest = Record::decode(rest)?.1,
        }
        found = found.saturating_add(1);
    }
    if found == count { Ok(()) } else { Err(RecordError::Count { announced: count, found }) }
}

/// Returns the size of the first `count` records of a payload that [`check`] has accepted, in bytes.
pub fn prefix_len(payload: &[u8], count: u32) -> usize {
    let mut at = 0;
    for _ in 0..count {
        at = record_len(&payload[at..]).saturating_add(at);
    }
    at
}

/// Returns the number and total size of the first records that fit `max_bytes` and `max_records`.
pub fn fit(payload: &[u8], max_bytes: usize, max_records: u32) -> (u32, usize) {
    let (mut count, mut at) = (0_u32, 0);
    while count < max_records && at < payload.len() {
        let next = record_len(&payload[at..]).saturating_add(at);
        if next > max_bytes {
            break;
        }
        (count, at) = (count.saturating_add(1), next);
    }
    (count, at)
}

/// Returns the records of a payload; ends after the first malformed one.
pub fn iter(payload: &[u8]) -> impl Iterator<Item = Result<Record<'_>, RecordError>> {
    let mut rest = payload;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        match Record::decode(rest) {
            Ok((record, behind)) => {
                rest = behind;
                Some(Ok(record))
            }
            Err(error) => {
                rest = &[];
                Some(Err(error))
            }
        }
    })
}

/// Returns the size of the record at the start of a checked payload, in bytes.
fn record_len(payload: &[u8]) -> usize {
    SIZE_BYTES.saturating_add(BigEndian::read_u32(&payload[..SIZE_BYTES]) as usize)
}

fn split(payload: &[u8]) -> Result<(&[u8], &[u8]), RecordError> {
    let (size, rest) = payload.split_at_checked(SIZE_BYTES).ok_or(RecordError::Short)?;
    let size = BigEndian::read_u32(size) as usize;
    if size == 0 {
        return Err(RecordError::Short);
    }
    rest.split_at_checked(size).ok_or(RecordError::Short)
}

fn short<'a>(fields: &mut Reader<'a>) -> Result<&'a [u8], DecodeError> {
    let length = fields.u16("length")?;
    fields.bytes(usize::from(length), "value")
}

fn check_headers(headers: &[u8]) -> Result<(), RecordError> {
    let mut rest = Reader::new(headers);
    while !rest.is_at_end() {
        header(&mut rest).map_err(|_| RecordError::Header)?;
    }
    Ok(())
}

fn header<'a>(rest: &mut Reader<'a>) -> Result<(&'a str, &'a [u8]), DecodeError> {
    Ok((rest.str8("header name")?, short(rest)?))
}

/// Why a payload is not a sequence of records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// The payload ends within a record.
    #[error("the payload ends within a record")]
    Short,
    /// A record has attributes that this version does not know, or that a publisher must not send yet.
    #[error("a record has attributes {attrs:#04x}; only 0x01, 0x02 and 0x04 may be sent")]
    Attrs {
        /// The attribute byte.
        attrs: u8,
    },
    /// The headers do not fill their length exactly.
    #[error("a record's headers do not fill their length")]
    Header,
    /// The number of records is not the announced one.
    #[error("args announce {announced} records, the payload has {found}")]
    Count {
        /// The number in args.
        announced: u32,
        /// The number in the payload.
        found: u32,
    },
    /// The batch has no records.
    #[error("a batch has at least one record")]
    Empty,
    /// A key, a header or the whole record is too long for its length field.
    #[error("a key or the headers of a record exceed 65535 bytes, or the name of a header exceeds 255")]
    TooLong,
}

impl From<DecodeError> for RecordError {
    fn from(_: DecodeError) -> Self {
        Self::Short
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_come_back_from_their_bytes() {
        let headers = encode_headers([("trace", b"abc".as_slice()), ("", b"")]).unwrap();
        let records = [
            Record { value: b"hello", ..Record::default() },
            Record { key: Some(b"k1"), value: b"world", ..Record::default() },
            Record { timestamp_us: Some(7), key: Some(b""), ..Record::default() }.with_headers(&headers).unwrap(),
        ];
        let mut payload = Vec::new();
        records.iter().for_each(|record| record.encode(&mut payload).unwrap());
        assert_eq!(&payload[..10], b"\0\0\0\x06\0hello");
        assert_eq!(check(&payload, 3), Ok(()));
        let read: Vec<_> = iter(&payload).map(Result::unwrap).collect();
        assert_eq!(read, records);
        assert_eq!(read[2].headers.iter().collect::<Vec<_>>(), [("trace", b"abc".as_slice()), ("", b"")]);
    }

    #[test]
    fn a_reader_skips_the_attributes_that_are_set_aside_and_a_publisher_may_not_send_them() {
        // The bytes are: attributes, key, headers, the four reserved bytes, value.
        let cases: [(u8, &[u8]); 3] =
            [(0x08, b"\x08va"), (0x10, b"\x10\0\0\0\x09va"), (0x1A, b"\x1a\0\x01k\0\0\0\x09va")];
        for (attrs, body) in cases {
            let payload = [&u32::try_from(body.len()).unwrap().to_be_bytes(), body].concat();
            assert_eq!(check_published(&payload, 1), Err(RecordError::Attrs { attrs }));
            assert_eq!(check(&payload, 1), Ok(()));
            let record = Record::decode(&payload).unwrap().0;
            let key = (attrs & ATTR_KEY != 0).then_some(b"k".as_slice());
            assert_eq!(record, Record { key, value: b"va", ..Record::default() });
        }
        assert_eq!(Record::decode(b"\0\0\0\x04\x10\0\0\0"), Err(RecordError::Short));
        assert_eq!(Record::decode(b"\0\0\0\x01\x20"), Err(RecordError::Attrs { attrs: 0x20 }));
    }

    #[test]
    fn headers_have_names_and_values_up_to_their_limits() {
        let (name, value) = ("n".repeat(256), vec![0; 65_536]);
        // A header takes three bytes in addition to its name and its value; all headers together take at most 65 535.
        let cases = [
            (255, 1, Ok(259)),
            (256, 1, Err(RecordError::TooLong)),
            (0, 65_532, Ok(65_535)),
            (0, 65_533, Err(RecordError::TooLong)),
            (0, 65_536, Err(RecordError::TooLong)),
            (1, 65_531, Ok(65_535)),
        ];
        for (name_len, value_len, expected) in cases {
            let encoded = encode_headers([(&name[..name_len], &value[..value_len])]);
            assert_eq!(encoded.as_ref().map(Vec::len), expected.as_ref().map(|len| *len), "{name_len}, {value_len}");
            let Ok(headers) = encoded else { continue };
            let record = Record::default().with_headers(&headers).unwrap();
            assert_eq!((Headers::default().is_empty(), record.headers.is_empty()), (true, false));
        }
        let halves = encode_headers([("a", &value[..32_765]), ("b", &value[..32_762])]);
        assert_eq!(halves.map(|headers| headers.len()), Ok(65_535));
    }

    #[test]
    fn payloads_that_are_not_count_records_are_refused() {
        let cases: [(&[u8], u32, RecordError); 9] = [
            (b"", 0, RecordError::Empty),
            (b"", 1, RecordError::Count { announced: 1, found: 0 }),
            (b"\0\0\0\x01\0", 2, RecordError::Count { announced: 2, found: 1 }),
            (b"\0\0\0\x01\0\0", 1, RecordError::Short),
            (b"\0\0\0\0", 1, RecordError::Short),
            (b"\0\0\0\x02\0", 1, RecordError::Short),
            (b"\xff\xff\xff\xff\0", 1, RecordError::Short),
            (b"\0\0\0\x01\x08", 1, RecordError::Attrs { attrs: 8 }),
            (b"\0\0\0\x04\x04\0\x01\x05", 1, RecordError::Header),
        ];
        for (payload, count, expected) in cases {
            assert_eq!(check_published(payload, count), Err(expected), "{payload:02x?}");
        }
    }

    #[test]
    fn a_payload_is_cut_between_records() {
        let payload = b"\0\0\0\x02\0a\0\0\0\x03\0bc\0\0\0\x01\0";
        assert_eq!(prefix_len(payload, 2), 13);
        for (max_bytes, max_records, expected) in
            [(5, 9, (0, 0)), (6, 9, (1, 6)), (13, 9, (2, 13)), (99, 9, (3, 18)), (99, 1, (1, 6))]
        {
            assert_eq!(fit(payload, max_bytes, max_records), expected);
        }
    }
}
