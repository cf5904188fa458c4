//! The acknowledgements of batches that were appended one after the other.

use byteorder::{BigEndian, ByteOrder};

use super::log::{PUBLISHED_BASE, PUBLISHED_BYTES, PUBLISHED_COUNT};
use super::{Published, Response};
use crate::types::RequestId;
use crate::wire::Opcode;
use crate::wire::frame::{HEADER_BYTES, reseal};

/// The acknowledgements of batches that were appended one after the other for requests of one client. Each is a frame
/// of its own, which differs from the one before in few bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Acks {
    /// The acknowledgement of the first batch.
    pub first: Published,
    /// The request of each batch, and the number of its records.
    pub batches: Vec<(RequestId, u32)>,
}

impl Acks {
    /// Appends the frames to `out`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let Some((&(request_id, mut count), rest)) = self.batches.split_first() else { return };
        let start = out.len();
        let mut base = self.first.base;
        Response::Published(Published { count, ..self.first }).encode(Opcode::Publish.number(), request_id, None, out);
        let mut frame = [0; HEADER_BYTES + PUBLISHED_BYTES];
        frame.copy_from_slice(&out[start..]);
        for &(request_id, next_count) in rest {
            base = base.plus(count.into());
            count = next_count;
            let args = &mut frame[HEADER_BYTES..];
            BigEndian::write_u64(&mut args[PUBLISHED_BASE], base.0);
            BigEndian::write_u32(&mut args[PUBLISHED_COUNT], count);
            reseal(&mut frame, request_id);
            out.extend_from_slice(&frame);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{Epoch, Offset, TopicId};
    use crate::wire::response::Durability;

    #[test]
    fn each_frame_is_as_if_it_were_encoded_alone() {
        let first = Published {
            duplicate: false,
            topic_id: TopicId::new(77).unwrap(),
            epoch: Epoch(3),
            base: Offset(1 << 40),
            count: 2,
            append_us: 1_700_000_000_000_000,
            durability: Durability::Synced,
        };
        let batches = vec![(RequestId(9), 2), (RequestId(u64::MAX), 1), (RequestId(10), 70_000), (RequestId(11), 1)];
        let mut expected = b"before".to_vec();
        let mut base = first.base;
        for &(request_id, count) in &batches {
            let alone = Response::Published(Published { base, count, ..first });
            alone.encode(Opcode::Publish.number(), request_id, None, &mut expected);
            base = base.plus(count.into());
        }
        let mut frames = b"before".to_vec();
        Acks { first, batches }.encode(&mut frames);
        assert_eq!(frames, expected);
        Acks { first, batches: Vec::new() }.encode(&mut frames);
        assert_eq!(frames, expected, "no batch has no frame");
    }
}
