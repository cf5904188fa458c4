//! The acknowledgements of batches that were appended one after the other.

use byteorder::{BigEndian, ByteOrder};

use super::log::{PUBLISHED_BASE, PUBLISHED_BYTES, PUBLISHED_COUNT};
use super::{Published, Response};
use crate::types::RequestId;
use crate::wire::frame::{HEADER_BYTES, reseal};
use crate::wire::{Opcode, Origin, Route};

/// The acknowledgements of batches that were appended one after the other for requests of one client, or of clients of
/// one ingress. Each is a frame of its own, which differs from the one before in few bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Acks {
    /// The acknowledgement of the first batch.
    pub first: Published,
    /// The request of each batch.
    pub batches: Vec<Ack>,
}

/// What distinguishes the acknowledgement of a batch from that of the batch before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ack {
    /// The id of the request.
    pub request_id: RequestId,
    /// The origin of the request; ignored when the frames have no route.
    pub origin: Origin,
    /// The number of records in the batch.
    pub count: u32,
}

impl Acks {
    /// Appends the frames to `out`, each with the route of its request.
    pub fn encode(&self, route: Option<&Route>, out: &mut Vec<u8>) {
        let Some((&Ack { request_id, origin, mut count }, rest)) = self.batches.split_first() else { return };
        let start = out.len();
        let mut base = self.first.base;
        let route = route.map(|route| Route { origin, ..route.clone() });
        let first = Response::Published(Published { count, ..self.first });
        first.encode(Opcode::Publish.number(), request_id, route.as_ref(), out);
        let (header, body) = out[start..].split_first_chunk::<HEADER_BYTES>().expect("a frame begins with its header");
        let (section, args) = body.split_last_chunk::<PUBLISHED_BYTES>().expect("it ends with its args");
        let (mut header, mut section, mut args) = (*header, section.to_vec(), *args);
        for ack in rest {
            base = base.plus(count.into());
            count = ack.count;
            BigEndian::write_u64(&mut args[PUBLISHED_BASE], base.0);
            BigEndian::write_u32(&mut args[PUBLISHED_COUNT], count);
            reseal(&mut header, &args, ack.request_id);
            out.extend_from_slice(&header);
            if !section.is_empty() {
                Route::set_origin(&mut section, ack.origin);
                out.extend_from_slice(&section);
            }
            out.extend_from_slice(&args);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{Dimension, Epoch, Link, LinkSet, NodeId, NodeSet, Offset, TopicId};
    use crate::wire::response::Durability;
    use crate::wire::{Kind, TrafficClass};

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
        let ack = |(id, slot, count)| {
            let origin = Origin { mark: 1, generation: 2, slot };
            Ack { request_id: RequestId(id), origin, count }
        };
        let batches = [(9, 3, 2), (u64::MAX, 4, 1), (10, 1, 70_000), (11, 5, 1)].map(ack).to_vec();
        let dimension = Dimension::new(2).unwrap();
        let here = NodeId::new(1, dimension).unwrap();
        let route = Route {
            source: here,
            target: NodeId::new(2, dimension).unwrap(),
            ttl: 3,
            hops: 1,
            kind: Kind::Node,
            class: TrafficClass::Bulk,
            dimension,
            origin: Origin::from_number(0),
            down: LinkSet::new(),
            targets: NodeSet::new(),
        };
        let mut down = LinkSet::new();
        down.insert(Link::new(here, 0));
        for route in [None, Some(Route { down, ..route.clone() }), Some(route)] {
            let mut expected = b"before".to_vec();
            let mut base = first.base;
            for &Ack { request_id, origin, count } in &batches {
                let alone = Response::Published(Published { base, count, ..first });
                let route = route.as_ref().map(|route| Route { origin, ..route.clone() });
                alone.encode(Opcode::Publish.number(), request_id, route.as_ref(), &mut expected);
                base = base.plus(count.into());
            }
            let mut frames = b"before".to_vec();
            Acks { first, batches: batches.clone() }.encode(route.as_ref(), &mut frames);
            assert_eq!(frames, expected);
            Acks { first, batches: Vec::new() }.encode(route.as_ref(), &mut frames);
            assert_eq!(frames, expected, "no batch has no frame");
        }
    }
}
