//! Numbers of bytes as people write them.

use std::fmt;
use std::str::FromStr;

use bytesize::ByteSize;

/// A number of bytes: `4096`, `64KiB` (times 1024), `64kB` or `64K` (times 1000).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size(pub u64);

/// Text that is not a number of bytes, or a number that exceeds 64 bits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SizeError {
    text: String,
}

impl FromStr for Size {
    type Err = SizeError;

    fn from_str(text: &str) -> Result<Self, SizeError> {
        let size = text.trim().parse::<ByteSize>().map(|size| size.as_u64());
        // What is larger comes out as the largest.
        size.ok().filter(|size| *size < u64::MAX).map(Self).ok_or_else(|| SizeError { text: text.to_owned() })
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (shift, unit) in [(40, "TiB"), (30, "GiB"), (20, "MiB"), (10, "KiB")] {
            if self.0 > 0 && self.0.trailing_zeros() >= shift {
                return write!(f, "{}{unit}", self.0 >> shift);
            }
        }
        self.0.fmt(f)
    }
}

impl fmt::Display for SizeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} is not a size; write it like 4096, 64MiB (times 1024) or 64MB (times 1000)", self.text)
    }
}

impl std::error::Error for SizeError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_unit_means_a_power_of_1024_only_with_an_i() {
        let cases = [
            ("0", Some(0)),
            ("4096", Some(4096)),
            ("4096B", Some(4096)),
            ("64KiB", Some(64 << 10)),
            ("64 kib", Some(64 << 10)),
            ("64Mi", Some(64 << 20)),
            ("64MiB", Some(64 << 20)),
            ("64M", Some(64_000_000)),
            ("64MB", Some(64_000_000)),
            ("64mb", Some(64_000_000)),
            ("1.5GiB", Some(3 << 29)),
            ("2TB", Some(2_000_000_000_000)),
            ("18446744073709551614", Some(u64::MAX - 1)),
            ("18446744073709551616", None),
            ("99999999TiB", None),
            ("", None),
            ("MiB", None),
            ("-1", None),
            ("1..5K", None),
            ("64 parsecs", None),
        ];
        for (text, expected) in cases {
            assert_eq!(text.parse::<Size>().ok().map(|size| size.0), expected, "{text:?}");
        }
    }

    #[test]
    fn what_is_shown_is_read_again() {
        for (bytes, shown) in [(0, "0"), (1000, "1000"), (64 << 20, "64MiB"), (3 << 29, "1536MiB"), (1 << 40, "1TiB")] {
            assert_eq!((Size(bytes).to_string().as_str(), shown.parse()), (shown, Ok(Size(bytes))));
        }
    }
}
