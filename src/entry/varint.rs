//! Numbers in as few bytes as they need: seven bits per byte, lowest first.

use bytes::{Buf, BufMut};

/// Appends a number.
pub fn put(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        #[expect(clippy::cast_possible_truncation, reason = "the low seven bits")]
        out.put_u8(value as u8 | 0x80);
        value >>= 7;
    }
    #[expect(clippy::cast_possible_truncation, reason = "below 0x80")]
    out.put_u8(value as u8);
}

/// Returns the number of bytes that [`put`] appends.
pub const fn len(value: u64) -> usize {
    // A value of 0 takes one byte, like a value of a single bit.
    let bits = (value | 1).ilog2().saturating_add(1);
    bits.div_ceil(7) as usize
}

/// Takes a number from the front; returns `None` when the bytes do not begin with one.
pub fn take(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let byte = bytes.try_get_u8().ok()?;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

/// Appends the signed difference `to - from`, zigzag-encoded, because it is usually small.
pub fn put_delta(out: &mut Vec<u8>, from: u64, to: u64) {
    put(out, zigzag(from, to));
}

/// Returns the number of bytes that [`put_delta`] appends.
pub const fn delta_len(from: u64, to: u64) -> usize {
    len(zigzag(from, to))
}

const fn zigzag(from: u64, to: u64) -> u64 {
    let distance = to.wrapping_sub(from);
    if distance >> 63 == 0 { distance << 1 } else { (!distance) << 1 | 1 }
}

/// Takes a difference written by [`put_delta`] and returns `from` plus it.
pub fn take_delta(bytes: &mut &[u8], from: u64) -> Option<u64> {
    let bits = take(bytes)?;
    let distance = bits >> 1;
    Some(from.wrapping_add(if bits & 1 == 0 { distance } else { !distance }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_distances_come_back() {
        let numbers = [0, 1, 127, 128, 300, 1 << 32, u64::MAX - 1, u64::MAX];
        for from in numbers {
            for to in numbers {
                let mut out = Vec::new();
                put(&mut out, from);
                put_delta(&mut out, from, to);
                let mut rest = &out[..];
                assert_eq!((take(&mut rest), take_delta(&mut rest, from)), (Some(from), Some(to)));
                assert!(rest.is_empty());
            }
        }
        assert_eq!((take(&mut &[0x80][..]), take(&mut &[0xff; 11][..])), (None, None));
    }
}
