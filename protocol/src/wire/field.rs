//! Fields of args: fixed fields in order, then TLVs up to the end.
//!
//! A TLV is `u8 tag, u16 length, value`. An unknown tag is ignored unless its highest bit, *critical*, is set.

use byteorder::{BigEndian, ByteOrder};

use super::status::Status;
use crate::types::{NameError, TopicName};

/// The tag bit that forbids a reader to ignore an unknown TLV.
pub const TAG_CRITICAL: u8 = 0x80;

/// GREASE tags, which never get a meaning. A sender may insert them anywhere, to make sure that receivers ignore
/// unknown tags.
pub const TAGS_GREASE: [u8; 4] = [0x1F, 0x3F, 0x5F, 0x7F];

/// Reserved tags with the names that they will have; 0x19 to 0x1E are reserved without names. Until they are assigned,
/// they count as unknown tags.
pub const TAGS_RESERVED: [(u8, &str); 14] = [
    (0x20, "LINK_NONCE"),
    (0x21, "LINK_PROOF"),
    (0x30, "SLOTS"),
    (0x31, "SLOT"),
    (0x32, "NEXT_DIMENSION"),
    (0x40, "EXPECT_NEXT"),
    (0x41, "EXPECT_KEY"),
    (0x42, "SPANS"),
    (0x43, "ATTEMPTS"),
    (0x44, "REASON"),
    (0x45, "CURSOR"),
    (0x46, "RECORDS"),
    (0x48, "SINCE"),
    (0x49, "REVISION"),
];

/// Appends fields to a frame under construction.
#[derive(Debug)]
pub struct Writer<'a>(&'a mut Vec<u8>);

impl<'a> Writer<'a> {
    /// Creates a writer that appends to `out`.
    pub const fn new(out: &'a mut Vec<u8>) -> Self {
        Self(out)
    }

    /// Appends one byte.
    pub fn u8(&mut self, value: u8) -> &mut Self {
        self.0.push(value);
        self
    }

    /// Appends two bytes, big-endian.
    pub fn u16(&mut self, value: u16) -> &mut Self {
        self.bytes(&value.to_be_bytes())
    }

    /// Appends four bytes, big-endian.
    pub fn u32(&mut self, value: u32) -> &mut Self {
        self.bytes(&value.to_be_bytes())
    }

    /// Appends eight bytes, big-endian.
    pub fn u64(&mut self, value: u64) -> &mut Self {
        self.bytes(&value.to_be_bytes())
    }

    /// Appends raw bytes.
    pub fn bytes(&mut self, value: &[u8]) -> &mut Self {
        self.0.extend_from_slice(value);
        self
    }

    /// Appends text after one byte with its length.
    ///
    /// # Panics
    /// If the text exceeds 255 bytes; the types of the encoded values exclude that.
    pub fn str8(&mut self, text: &str) -> &mut Self {
        self.u8(u8::try_from(text.len()).expect("labels and names are below 256 bytes")).bytes(text.as_bytes())
    }

    /// Appends text after two bytes with its length. Text longer than `max` bytes is cut at a character boundary.
    pub fn str16(&mut self, text: &str, max: u16) -> &mut Self {
        let cut = text.floor_char_boundary(usize::from(max).min(text.len()));
        self.u16(u16::try_from(cut).expect("at most max")).bytes(&text.as_bytes()[..cut])
    }

    /// Appends a TLV.
    ///
    /// # Panics
    /// If the value exceeds 65 535 bytes; the types of the encoded values exclude that.
    pub fn tlv(&mut self, tag: u8, value: &[u8]) -> &mut Self {
        self.u8(tag).u16(u16::try_from(value.len()).expect("details are below 64 KiB")).bytes(value)
    }
}

/// Receives every field that a [`Reader`] decodes. With it, programs that display the fields of a frame reuse the
/// decoder, which is the only description of each layout. The observer `()` ignores everything and costs nothing.
pub trait Observer {
    /// Called for each field that is a number, whether its value is valid or not. `name` is its name in protocol.md;
    /// `bytes` is the part of the input that holds it.
    fn field(&mut self, name: &'static str, bytes: &[u8]);

    /// Called for each text, whether it is valid or not; `bytes` holds its length and the text.
    fn text(&mut self, name: &'static str, bytes: &[u8], text: &[u8]);

    /// Called for each TLV, after the fields of its value. `head` holds its tag and its length.
    fn tlv(&mut self, tag: u8, head: &[u8], value: &[u8], is_known: bool);
}

impl Observer for () {
    fn field(&mut self, _: &'static str, _: &[u8]) {}

    fn text(&mut self, _: &'static str, _: &[u8], _: &[u8]) {}

    fn tlv(&mut self, _: u8, _: &[u8], _: &[u8], _: bool) {}
}

impl<O: Observer> Observer for &mut O {
    fn field(&mut self, name: &'static str, bytes: &[u8]) {
        (**self).field(name, bytes);
    }

    fn text(&mut self, name: &'static str, bytes: &[u8], text: &[u8]) {
        (**self).text(name, bytes, text);
    }

    fn tlv(&mut self, tag: u8, head: &[u8], value: &[u8], is_known: bool) {
        (**self).tlv(tag, head, value, is_known);
    }
}

/// Decodes fields from the front of args.
#[derive(Clone, Debug)]
pub struct Reader<'a, O = ()> {
    rest: &'a [u8],
    observer: O,
}

impl<'a> Reader<'a> {
    /// Creates a reader that starts at the beginning of `args`.
    pub const fn new(args: &'a [u8]) -> Self {
        Self { rest: args, observer: () }
    }
}

impl<'a, O: Observer> Reader<'a, O> {
    /// Creates a reader whose fields are reported to `observer`.
    pub const fn observed(args: &'a [u8], observer: O) -> Self {
        Self { rest: args, observer }
    }

    /// Creates a reader of other bytes with the same observer: of a payload, or of the value of a TLV.
    pub const fn nested<'b>(&mut self, bytes: &'b [u8]) -> Reader<'b, &mut O> {
        Reader { rest: bytes, observer: &mut self.observer }
    }

    /// Returns true if all bytes have been read.
    pub const fn is_at_end(&self) -> bool {
        self.rest.is_empty()
    }

    /// Returns the unread bytes.
    pub const fn remaining(&self) -> &'a [u8] {
        self.rest
    }

    /// Reads `count` bytes.
    ///
    /// # Errors
    /// Returns [`DecodeError::Short`].
    pub fn bytes(&mut self, count: usize, field: &'static str) -> Result<&'a [u8], DecodeError> {
        let taken = self.take(count, field)?;
        self.observer.field(field, taken);
        Ok(taken)
    }

    /// Returns a reader of the next `count` bytes with the same observer.
    ///
    /// # Errors
    /// Returns [`DecodeError::Short`].
    pub fn part(&mut self, count: usize, field: &'static str) -> Result<Reader<'a, &mut O>, DecodeError> {
        let rest = self.take(count, field)?;
        Ok(Reader { rest, observer: &mut self.observer })
    }

    /// Reads all bytes that are left.
    pub fn rest(&mut self, field: &'static str) -> &'a [u8] {
        let rest = std::mem::take(&mut self.rest);
        self.observer.field(field, rest);
        rest
    }

    /// Reads one byte.
    ///
    /// # Errors
    /// Returns [`DecodeError::Short`].
    pub fn u8(&mut self, field: &'static str) -> Result<u8, DecodeError> {
        Ok(self.bytes(1, field)?[0])
    }

    /// Reads one byte that must be 0 or 1.
    ///
    /// # Errors
    /// Returns [`DecodeError::Short`] or [`DecodeError::Value`].
    pub fn bool(&mut self, field: &'static str) -> Result<bool, DecodeError> {
        match self.u8(field)? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(DecodeError::Value { field }),
        }
    }

    /// Reads two bytes, big-endian.
    ///
    /// # Errors
    /// Returns [`DecodeError::Short`].
    pub fn u16(&mut self, field: &'static str) -> Result<u16, DecodeError> {
        Ok(BigEndian::read_u16(self.bytes(2, field)?))
    }

    /// Reads four bytes, big-endian.
    ///
    /// # Errors
    /// Returns [`DecodeError::Short`].
    pub fn u32(&mut self, field: &'static str) -> Result<u32, DecodeError> {
        Ok(BigEndian::read_u32(self.bytes(4, field)?))
    }

    /// Reads eight bytes, big-endian.
    ///
    /// # Errors
    /// Returns [`DecodeError::Short`].
    pub fn u64(&mut self, field: &'static str) -> Result<u64, DecodeError> {
        Ok(BigEndian::read_u64(self.bytes(8, field)?))
    }

    /// Reads text that is preceded by its length in one byte.
    ///
    /// # Errors
    /// Returns [`DecodeError::Short`], or [`DecodeError::Text`] if it is not UTF-8.
    pub fn str8(&mut self, field: &'static str) -> Result<&'a str, DecodeError> {
        let whole = self.rest;
        let length = self.take(1, field)?[0];
        self.text(whole, usize::from(length), field)
    }

    /// Reads text that is preceded by its length in two bytes.
    ///
    /// # Errors
    /// Returns [`DecodeError::Short`], or [`DecodeError::Text`] if it is not UTF-8.
    pub fn str16(&mut self, field: &'static str) -> Result<&'a str, DecodeError> {
        let whole = self.rest;
        let length = BigEndian::read_u16(self.take(2, field)?);
        self.text(whole, usize::from(length), field)
    }

    /// Reads a topic name, encoded as by [`Writer::str8`].
    ///
    /// # Errors
    /// Returns the errors of [`Self::str8`], or [`DecodeError::Name`] if the text is not a topic name.
    pub fn topic(&mut self) -> Result<TopicName<'a>, DecodeError> {
        TopicName::new(self.str8("topic")?).map_err(DecodeError::from)
    }

    /// Reads the TLVs up to the end of args. The tag and a reader of the value are passed to `known`, which returns
    /// whether it knows the tag.
    ///
    /// # Errors
    /// Returns an error for a TLV that overruns args, a duplicate tag, an unknown critical tag, or a value that `known`
    /// rejects.
    pub fn tlvs(
        mut self,
        mut known: impl FnMut(u8, Reader<'a, &mut O>) -> Result<bool, DecodeError>,
    ) -> Result<(), DecodeError> {
        let mut seen = [0u64; 4];
        while !self.is_at_end() {
            let head = self.take(3, "TLV")?;
            let tag = head[0];
            let length = usize::from(BigEndian::read_u16(&head[1..]));
            let value = self.take(length, "TLV")?;
            let (word, bit) = (usize::from(tag / 64), 1u64 << (tag % 64));
            if seen[word] & bit != 0 {
                return Err(DecodeError::TagTwice { tag });
            }
            seen[word] |= bit;
            let is_known = known(tag, self.nested(value))?;
            self.observer.tlv(tag, head, value, is_known);
            if !is_known && tag & TAG_CRITICAL != 0 {
                return Err(DecodeError::TagCritical { tag });
            }
        }
        Ok(())
    }

    /// Reads the end of the args of an operation without TLVs of its own: unknown tags that are not critical are
    /// ignored.
    ///
    /// # Errors
    /// Returns the errors of [`Self::tlvs`].
    pub fn end(self) -> Result<(), DecodeError> {
        self.tlvs(|_, _| Ok(false))
    }

    /// Reads text whose length has been read; `whole` begins with the length.
    fn text(&mut self, whole: &'a [u8], length: usize, field: &'static str) -> Result<&'a str, DecodeError> {
        let text = self.take(length, field)?;
        self.observer.text(field, read_of(whole, self.rest), text);
        std::str::from_utf8(text).map_err(|_| DecodeError::Text { field })
    }

    fn take(&mut self, count: usize, field: &'static str) -> Result<&'a [u8], DecodeError> {
        let Some((taken, rest)) = self.rest.split_at_checked(count) else { return Err(DecodeError::Short { field }) };
        self.rest = rest;
        Ok(taken)
    }
}

/// Returns what has been read of `whole` when `rest` is left.
fn read_of<'a>(whole: &'a [u8], rest: &[u8]) -> &'a [u8] {
    &whole[..whole.len().saturating_sub(rest.len())]
}

/// Why args cannot be decoded. The frame's boundaries are intact, so the connection can continue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Args end within a field.
    #[error("args end within the field {field}")]
    Short {
        /// The field.
        field: &'static str,
    },
    /// A text is not UTF-8.
    #[error("the field {field} is not UTF-8")]
    Text {
        /// The field.
        field: &'static str,
    },
    /// A value is not allowed in its field.
    #[error("the field {field} has an invalid value")]
    Value {
        /// The field.
        field: &'static str,
    },
    /// A name is not a topic name.
    #[error(transparent)]
    Name(#[from] NameError),
    /// A TLV occurs twice.
    #[error("TLV {tag:#04x} occurs twice")]
    TagTwice {
        /// The tag of the TLV.
        tag: u8,
    },
    /// A critical TLV is unknown.
    #[error("TLV {tag:#04x} is critical and unknown to this version")]
    TagCritical {
        /// The tag of the TLV.
        tag: u8,
    },
    /// A request to change settings has an unknown setting.
    #[error("this version does not know setting {number}")]
    Setting {
        /// The number of the setting.
        number: u8,
    },
    /// The frame has a payload, but the operation takes none.
    #[error("this operation takes no payload")]
    Payload,
}

impl DecodeError {
    /// Returns the status with which the request is refused.
    pub const fn status(self) -> Status {
        match self {
            Self::Name(_) => Status::InvalidName,
            Self::TagCritical { .. } | Self::Setting { .. } => Status::Unsupported,
            Self::Short { .. } | Self::Text { .. } | Self::Value { .. } | Self::TagTwice { .. } | Self::Payload => {
                Status::MalformedArgs
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tlvs_are_known_ignored_or_refused() {
        let cases: [(&[u8], Result<(), DecodeError>); 7] = [
            (&[], Ok(())),
            (&[0x1F, 0, 2, 9, 9], Ok(())),
            (&[0x10, 0, 0], Ok(())),
            (&[0x90, 0, 0], Err(DecodeError::TagCritical { tag: 0x90 })),
            (&[0x1F, 0, 0, 0x1F, 0, 0], Err(DecodeError::TagTwice { tag: 0x1F })),
            (&[0x1F, 0, 2, 9], Err(DecodeError::Short { field: "TLV" })),
            (&[0x1F, 0], Err(DecodeError::Short { field: "TLV" })),
        ];
        for (args, expected) in cases {
            assert_eq!(Reader::new(args).tlvs(|tag, _| Ok(tag == 0x10)), expected, "{args:02x?}");
        }
    }

    #[test]
    fn long_text_is_cut_at_a_character() {
        let mut out = Vec::new();
        Writer::new(&mut out).str16("a\u{e9}b", 2);
        assert_eq!(out, [0, 1, b'a']);
    }
}
