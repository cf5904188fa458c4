//! Topic names and the reasons for which a name is rejected.

use std::fmt;

use crate::limits::TOPIC_NAME_MAX;

/// A valid topic name: 1 to 249 bytes of `A-Z a-z 0-9 . _ / -`, compared byte by byte.
///
/// It is borrowed, because most names are only passed on; a topic stores its own as a `Box<str>`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicName<'a>(&'a str);

impl<'a> TopicName<'a> {
    /// Validates a name that came from a person or the wire.
    ///
    /// # Errors
    /// Returns the rule that the name breaks.
    pub fn new(name: &'a str) -> Result<Self, NameError> {
        if name.is_empty() {
            return Err(NameError::Empty);
        }
        if name.len() > TOPIC_NAME_MAX {
            return Err(NameError::TooLong { length: name.len() });
        }
        if name.bytes().all(|byte| IS_ALLOWED[usize::from(byte)]) {
            return Ok(Self(name));
        }
        let found = name.chars().find(|c| !u8::try_from(*c).is_ok_and(|byte| IS_ALLOWED[usize::from(byte)]));
        Err(NameError::Character { found: found.expect("a byte that is not allowed belongs to such a character") })
    }

    /// Returns the name as a string slice.
    pub const fn as_str(self) -> &'a str {
        self.0
    }
}

impl fmt::Display for TopicName<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

/// The reason why a string is not a topic name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// The name is empty.
    #[error("a topic name has at least one character")]
    Empty,
    /// The name is longer than 249 bytes.
    #[error("a topic name has at most {TOPIC_NAME_MAX} bytes, this one has {length}")]
    TooLong {
        /// The name's length in bytes.
        length: usize,
    },
    /// The name contains a character that is not allowed.
    #[error("a topic name consists of A-Z a-z 0-9 . _ / -, this one contains {found:?}")]
    Character {
        /// The first such character.
        found: char,
    },
}

/// Allowed characters by byte value: a table, because names are checked with each request.
const IS_ALLOWED: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte: u8 = 0;
    while byte < 128 {
        table[byte as usize] = byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'/' | b'-');
        byte += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_checked_once_and_the_error_says_why() {
        let longest = "x".repeat(TOPIC_NAME_MAX);
        let too_long = "x".repeat(TOPIC_NAME_MAX + 1);
        let cases: [(&str, Result<(), NameError>); 7] = [
            ("orders", Ok(())),
            ("a/b.c_d-9", Ok(())),
            (&longest, Ok(())),
            ("", Err(NameError::Empty)),
            (&too_long, Err(NameError::TooLong { length: TOPIC_NAME_MAX + 1 })),
            ("two words", Err(NameError::Character { found: ' ' })),
            ("caf\u{e9}", Err(NameError::Character { found: '\u{e9}' })),
        ];
        for (name, expected) in cases {
            assert_eq!(TopicName::new(name).map(|_| ()), expected, "{name:?}");
        }
    }
}
