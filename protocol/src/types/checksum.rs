//! The checksum of the wire format, which also determines a topic's home.

use std::sync::LazyLock;

use crc32fast::Hasher;

/// A hasher that has already detected the processor's features, because detection costs more than hashing a header.
static FRESH: LazyLock<Hasher> = LazyLock::new(Hasher::new);

/// Returns the CRC-32/ISO-HDLC of `bytes`, as in zlib: that of `123456789` is `0xCBF43926`.
#[inline]
pub fn crc32(bytes: &[u8]) -> u32 {
    let mut hasher = FRESH.clone();
    hasher.update(bytes);
    hasher.finalize()
}

/// Returns the CRC-32 of the concatenated `parts`.
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
