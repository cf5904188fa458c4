//! The one checksum of the wire, and of where a topic lives.

use std::sync::LazyLock;

use crc32fast::Hasher;

/// A hasher that has found out what this processor can do: finding out costs more than hashing a header.
static FRESH: LazyLock<Hasher> = LazyLock::new(Hasher::new);

/// CRC-32/ISO-HDLC, as in zlib: of `123456789` it is `0xCBF43926`.
#[inline]
pub fn crc32(bytes: &[u8]) -> u32 {
    let mut hasher = FRESH.clone();
    hasher.update(bytes);
    hasher.finalize()
}

/// The same of bytes that lie in several places.
pub fn crc32_of_parts<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> u32 {
    let mut hasher = FRESH.clone();
    parts.into_iter().for_each(|part| hasher.update(part));
    hasher.finalize()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_check_value_is_that_of_the_standard() {
        assert_eq!(crc32(b"123456789"), 0xCBF4_3926);
        assert_eq!(crc32(b""), 0);
        assert_eq!(crc32_of_parts([b"1234".as_slice(), b"", b"56789"]), 0xCBF4_3926);
    }
}
