//! Fields of args: fixed fields in order, then TLVs up to the end.
//!
//! A TLV is `u8 tag, u16 length, value`. An unknown tag is ignored unless its highest bit, *critical*, is set.

use std::fmt;

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

/// Decodes fields from the front of args.
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Creates a reader that starts at the beginning of `args`.
    pub const fn new(args: &'a [u8]) -> Self {
        Self { rest: args }
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
        let Some((taken, rest)) = self.rest.split_at_checked(count) else { return Err(DecodeError::Short { field }) };
        self.rest = rest;
        Ok(taken)
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

    /// Reads text after one byte with its length.
    ///
    /// # Errors
    /// Returns [`DecodeError::Short`], or [`DecodeError::Text`] if it is not UTF-8.
    pub fn str8(&mut self, field: &'static str) -> Result<&'a str, DecodeError> {
        let length = self.u8(field)?;
        self.text(usize::from(length), field)
    }

    /// Reads text after two bytes with its length.
    ///
    /// # Errors
    /// Returns [`DecodeError::Short`], or [`DecodeError::Text`] if it is not UTF-8.
    pub fn str16(&mut self, field: &'static str) -> Result<&'a str, DecodeError> {
        let length = self.u16(field)?;
        self.text(usize::from(length), field)
    }

    /// Reads a topic name, encoded as by [`Writer::str8`].
    ///
    /// # Errors
    /// As [`Self::str8`], or [`DecodeError::Name`].
    pub fn topic(&mut self) -> Result<TopicName<'a>, DecodeError> {
        TopicName::new(self.str8("topic")?).map_err(DecodeError::Name)
    }

    /// Reads the TLVs up to the end of args. Each is passed to `known`, which returns whether it knows the tag.
    ///
    /// # Errors
    /// Returns an error for a TLV that overruns args, a duplicate tag, an unknown critical tag, or a value that `known`
    /// rejects.
    pub fn tlvs(mut self, mut known: impl FnMut(u8, &'a [u8]) -> Result<bool, DecodeError>) -> Result<(), DecodeError> {
        let mut seen = [0u64; 4];
        while !self.is_at_end() {
            let tag = self.u8("TLV")?;
            let length = self.u16("TLV")?;
            let value = self.bytes(usize::from(length), "TLV")?;
            let (word, bit) = (usize::from(tag / 64), 1u64 << (tag % 64));
            if seen[word] & bit != 0 {
                return Err(DecodeError::TagTwice { tag });
            }
            seen[word] |= bit;
            if !known(tag, value)? && tag & TAG_CRITICAL != 0 {
                return Err(DecodeError::TagCritical { tag });
            }
        }
        Ok(())
    }

    /// Reads the end of the args of an operation without TLVs of its own: unknown tags that are not critical are
    /// ignored.
    ///
    /// # Errors
    /// As [`Self::tlvs`].
    pub fn end(self) -> Result<(), DecodeError> {
        self.tlvs(|_, _| Ok(false))
    }

    fn text(&mut self, length: usize, field: &'static str) -> Result<&'a str, DecodeError> {
        std::str::from_utf8(self.bytes(length, field)?).map_err(|_| DecodeError::Text { field })
    }
}

/// Why args cannot be decoded. The frame's boundaries are intact, so the connection can continue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DecodeError {
    /// Args end within a field.
    Short {
        /// The field.
        field: &'static str,
    },
    /// A text is not UTF-8.
    Text {
        /// The field.
        field: &'static str,
    },
    /// A value is not allowed in its field.
    Value {
        /// The field.
        field: &'static str,
    },
    /// A name is not a topic name.
    Name(NameError),
    /// A TLV occurs twice.
    TagTwice {
        /// Its tag.
        tag: u8,
    },
    /// A critical TLV is unknown.
    TagCritical {
        /// Its tag.
        tag: u8,
    },
    /// A request to change settings has an unknown setting.
    Setting {
        /// The number of the setting.
        number: u8,
    },
    /// There is a payload, but the operation takes none.
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

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Short { field } => write!(f, "args end within the field {field}"),
            Self::Text { field } => write!(f, "the field {field} is not UTF-8"),
            Self::Value { field } => write!(f, "the field {field} has a value that it cannot have"),
            Self::Name(error) => error.fmt(f),
            Self::TagTwice { tag } => write!(f, "TLV {tag:#04x} stands twice"),
            Self::TagCritical { tag } => write!(f, "TLV {tag:#04x} is critical and unknown to this version"),
            Self::Setting { number } => write!(f, "this version does not know setting {number}"),
            Self::Payload => f.write_str("this operation takes no payload"),
        }
    }
}

impl std::error::Error for DecodeError {}

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
