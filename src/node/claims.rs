//! What the routes of frames that neighbours pass on may claim.
//!
//! A node trusts its neighbours, and frames are not signed. But much of what a frame claims about its way can be
//! checked where it arrives, and so can whether its source may send it at all: only the members of a group know the
//! topics of its slot. These checks keep a fault, or a process that only pretends to be a node, from affecting topics,
//! clients and subscriptions of others.

use super::Settings;
use crate::cube;
use crate::types::{NodeId, SlotId};
use crate::wire::{Flags, Frame, Kind, Opcode, Route, Status};

/// What is wrong with the route of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FalseClaim {
    /// No node that follows the protocol passes on such a frame. The link ends.
    Impossible(&'static str),
    /// It claims to come from this node, and is for this node, which sends itself nothing of that kind. It is dropped.
    FromHere,
}

impl Settings {
    /// Checks what the route of a frame claims that `neighbour` has passed on. The dimension of the route must include
    /// this node.
    ///
    /// # Errors
    /// Returns what is wrong with it.
    pub(super) fn check_claims(&self, neighbour: NodeId, frame: &Frame<'_>, route: &Route) -> Result<(), FalseClaim> {
        let &Route { source, target, hops, ttl, kind, dimension, .. } = route;
        let distance = (source.index() ^ self.id.index()).count_ones();
        let (hops, left) = (u32::from(hops), u32::from(ttl));
        let is_possible = hops > 0 && hops + left <= u32::from(cube::hops_limit(dimension));
        // Each hop changes one bit of the id, whichever way a frame goes.
        if !is_possible || hops < distance || !(hops - distance).is_multiple_of(2) {
            return Err(FalseClaim::Impossible("a frame from that source cannot have made that number of hops"));
        }
        if hops == 1 && source != neighbour {
            return Err(FalseClaim::Impossible("a frame that has made one hop must come from the neighbour itself"));
        }
        let is_multicast = kind == Kind::Multicast;
        let opcode = Opcode::from_number(frame.header.opcode);
        let is_push = opcode.is_none_or(Opcode::is_push);
        let is_oneway = frame.header.flags.has(Flags::ONEWAY) && !frame.header.flags.has(Flags::RESPONSE);
        if is_multicast && !(is_push && is_oneway) {
            return Err(FalseClaim::Impossible("only DELIVER and EVENT have several targets"));
        }
        let is_for_here = if is_multicast { route.targets.contains(self.id) } else { target == self.id };
        // A request of a client comes back if it was handed on to this node, which leads the group by now.
        let may_come_back = !frame.header.flags.has(Flags::RESPONSE)
            && opcode.is_none_or(|opcode| !opcode.is_push() && !opcode.is_between_nodes());
        if source == self.id && is_for_here && !may_come_back { Err(FalseClaim::FromHere) } else { Ok(()) }
    }

    /// Returns true if a node keeps the topics of a slot, and so may say something about them.
    pub(super) fn is_member(&self, slot: SlotId, node: NodeId) -> bool {
        self.members_of(slot).any(|member| member == node)
    }
}

/// Returns true for the statuses with which any node may answer a request that it forwards.
pub(super) fn is_of_way(status: u8) -> bool {
    [Status::Unreachable, Status::TtlExpired, Status::Overloaded].map(Status::number).contains(&status)
}

#[cfg(test)]
mod tests {
    use super::super::tests::settings;
    use super::*;
    use crate::types::RequestId;
    use crate::wire::{Head, Origin, TrafficClass};

    fn id(node: u16) -> NodeId {
        NodeId::new(node, settings(0, 3).dimension).unwrap()
    }

    fn frame(opcode: Opcode, flags: Flags) -> Frame<'static> {
        let mut bytes = Vec::new();
        let head = Head { opcode: opcode.number(), flags, status: 0, request_id: RequestId(7) };
        head.seal(None, (0, 0), &mut bytes, |_| ());
        Frame::sealed(bytes)
    }

    /// Checks a request that node 000 gets from node 001, with that source and target, after so many hops of so many.
    fn check(
        (source, target): (u16, u16),
        (hops, ttl): (u16, u16),
        change: impl FnOnce(&mut Route),
    ) -> Result<(), FalseClaim> {
        let settings = settings(0, 3);
        let route = settings.new_route(id(target), Kind::Node, TrafficClass::Bulk, Origin::from_number(0));
        let mut route = Route { source: id(source), hops, ttl, ..route };
        change(&mut route);
        settings.check_claims(id(1), &frame(Opcode::Ping, Flags::default()), &route)
    }

    #[test]
    fn a_frame_cannot_have_made_any_number_of_hops() {
        // The source, the hops made and those left, and whether the frame can have come here.
        let cases = [
            (1, 1, 63, true),
            (1, 3, 61, true),
            (1, 1, 0, true),
            (1, 0, 64, false),
            (1, 2, 62, false),
            (1, 1, 64, false),
            (1, u16::MAX, u16::MAX, false),
            // A neighbour that is not the one at the other end of the link.
            (2, 1, 63, false),
            (2, 3, 61, true),
            (3, 2, 62, true),
            (3, 1, 63, false),
            (7, 3, 61, true),
            (7, 2, 62, false),
            (7, 63, 1, true),
            (0, 2, 62, true),
            (0, 1, 63, false),
        ];
        for (source, hops, ttl, is_possible) in cases {
            let checked = check((source, 4), (hops, ttl), |_| ());
            assert_eq!(checked.is_ok(), is_possible, "from {source} after {hops} hops of {ttl}: {checked:?}");
        }
    }

    #[test]
    fn only_requests_of_clients_come_back_to_the_node_that_has_sent_them() {
        let response = Flags::RESPONSE;
        let cases = [
            (Opcode::Create, Flags::default(), true),
            (Opcode::Create, response, false),
            (Opcode::Feed, Flags::default(), false),
            (Opcode::Raft, Flags::ONEWAY, false),
            (Opcode::Deliver, Flags::ONEWAY, false),
        ];
        for (opcode, flags, is_possible) in cases {
            for target in [0, 4] {
                let settings = settings(0, 3);
                let route = settings.new_route(id(target), Kind::Node, TrafficClass::Bulk, Origin::from_number(0));
                let route = Route { source: id(0), hops: 2, ttl: 62, ..route };
                let expected = if is_possible || target != 0 { Ok(()) } else { Err(FalseClaim::FromHere) };
                assert_eq!(settings.check_claims(id(1), &frame(opcode, flags), &route), expected, "{opcode:?}");
            }
        }
    }

    #[test]
    fn only_pushes_have_several_targets() {
        let multicast =
            |route: &mut Route| (route.kind, route.targets) = (Kind::Multicast, [id(0)].into_iter().collect());
        assert!(matches!(check((1, 0), (1, 63), multicast), Err(FalseClaim::Impossible(_))));
        let settings = settings(0, 3);
        let push = frame(Opcode::Deliver, Flags::ONEWAY);
        let mut route = settings.new_route(id(0), Kind::Multicast, TrafficClass::Control, Origin::from_number(0));
        (route.source, route.hops, route.ttl) = (id(1), 1, 63);
        route.targets = [id(0), id(2)].into_iter().collect();
        assert_eq!(settings.check_claims(id(1), &push, &route), Ok(()));
        (route.source, route.hops, route.ttl) = (id(0), 2, 62);
        assert_eq!(settings.check_claims(id(1), &push, &route), Err(FalseClaim::FromHere));
    }
}
