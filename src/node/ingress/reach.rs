//! Nodes that were found unreachable: for how long, and which requests for them are refused at once. Nodes that have
//! left a request unanswered, to which others are preferred for a while.

use crate::limits::{OUT_OF_REACH_KNOWN_US, SILENT_LEADER_US, UNREACHABLE_HOLD_US};
use crate::types::NodeId;

/// What is known about the reachability of each node of the cube, by its id.
#[derive(Debug)]
pub(super) struct Reach {
    targets: Vec<Target>,
}

/// What is known about one node. All times are monotonic, in microseconds.
#[derive(Clone, Debug, Default)]
struct Target {
    /// Until then requests for the node count as UNREACHABLE without being sent.
    held_until_us: u64,
    /// Monotonic time in microseconds until which other nodes are preferred to this one, because it has left a request
    /// unanswered.
    silent_until_us: u64,
    /// The requests for the node that found no path to it; `None` while it is reachable.
    failures: Option<Failures>,
}

/// Requests for a node that failed in quick succession.
#[derive(Clone, Copy, Debug)]
struct Failures {
    first_us: u64,
    last_us: u64,
}

impl Failures {
    /// Returns false when no request has tried the node for so long that it may be reachable again.
    const fn are_recent(self, now_us: u64) -> bool {
        self.last_us + OUT_OF_REACH_KNOWN_US >= now_us
    }
}

impl Reach {
    /// Returns a table of `nodes` nodes, all of which count as reachable.
    pub(super) fn new(nodes: u16) -> Self {
        Self { targets: vec![Target::default(); usize::from(nodes)] }
    }

    /// Returns true if a request for the target counts as UNREACHABLE at once, because the target was recently found to
    /// be unreachable. One request in each [`UNREACHABLE_HOLD_US`] is let through as a probe. If no request came for
    /// that long after a hold ended, the target is assumed to be reachable again.
    pub(super) fn is_held(&mut self, target: NodeId, now_us: u64) -> bool {
        let until = &mut self.targets[usize::from(target.index())].held_until_us;
        if *until > now_us {
            return true;
        }
        let is_recent = *until > 0 && now_us - *until < UNREACHABLE_HOLD_US;
        *until = if is_recent { now_us + UNREACHABLE_HOLD_US } else { 0 };
        false
    }

    /// Records whether a request reached its target. A failure during a hold does not extend the hold; otherwise a
    /// steady stream of requests would keep a target that has recovered unreachable.
    pub(super) fn note_reached(&mut self, target: NodeId, is_reached: bool, now_us: u64) {
        let target = &mut self.targets[usize::from(target.index())];
        if is_reached {
            *target = Target::default();
            return;
        }
        let first_us = target.failures.filter(|failures| failures.are_recent(now_us)).map(|failures| failures.first_us);
        target.failures = Some(Failures { first_us: first_us.unwrap_or(now_us), last_us: now_us });
        if target.held_until_us <= now_us {
            target.held_until_us = now_us + UNREACHABLE_HOLD_US;
        }
    }

    /// Records that a node has left a request unanswered.
    pub(super) fn note_silent(&mut self, node: NodeId, now_us: u64) {
        self.targets[usize::from(node.index())].silent_until_us = now_us + SILENT_LEADER_US;
    }

    /// Returns true if a node was silent or unreachable just now, so that another one is asked first if there is one.
    pub(super) fn is_doubtful(&self, node: NodeId, now_us: u64) -> bool {
        let target = &self.targets[usize::from(node.index())];
        target.silent_until_us.max(target.held_until_us) > now_us
    }

    /// Returns for how long a node has been unreachable, in microseconds: 0 when it is not, or when no request has
    /// tried it for some time.
    pub(super) fn unreachable_for_us(&self, target: NodeId, now_us: u64) -> u64 {
        let failures = self.targets[usize::from(target.index())].failures;
        let recent = failures.filter(|failures| failures.are_recent(now_us));
        recent.map_or(0, |failures| now_us.saturating_sub(failures.first_us))
    }

    /// Ends all holds.
    pub(super) fn release_all(&mut self) {
        self.targets.iter_mut().for_each(|target| target.held_until_us = 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Dimension;

    const LATER_US: u64 = 1_000_000;

    fn node(id: u16) -> NodeId {
        NodeId::new(id, Dimension::new(2).unwrap()).unwrap()
    }

    /// Returns a table in which 11 was found to be unreachable at [`LATER_US`].
    fn with_unreachable() -> Reach {
        let mut reach = Reach::new(4);
        reach.note_reached(node(3), false, LATER_US);
        reach
    }

    #[test]
    fn an_unreachable_target_is_held_and_one_request_in_each_hold_time_is_let_through() {
        let mut reach = with_unreachable();
        let ends_us = LATER_US + UNREACHABLE_HOLD_US;
        // Another failure during the hold does not extend it.
        reach.note_reached(node(3), false, ends_us - 1);
        let cases = [
            (LATER_US, true),
            (ends_us - 1, true),
            (ends_us, false),
            (ends_us, true),
            (ends_us + UNREACHABLE_HOLD_US - 1, true),
            (ends_us + UNREACHABLE_HOLD_US, false),
            (ends_us + UNREACHABLE_HOLD_US, true),
            // No request came for the length of a hold after the hold had ended.
            (ends_us + 3 * UNREACHABLE_HOLD_US, false),
            (ends_us + 3 * UNREACHABLE_HOLD_US, false),
        ];
        for (now_us, expected) in cases {
            assert_eq!(reach.is_held(node(3), now_us), expected, "{} us", now_us - LATER_US);
            assert!(!reach.is_held(node(1), now_us), "only the target that was unreachable is held");
        }
    }

    #[test]
    fn a_hold_ends_when_the_target_is_reached() {
        let mut reach = with_unreachable();
        assert!(reach.is_held(node(3), LATER_US + 1));
        reach.note_reached(node(3), true, LATER_US);
        assert!(!reach.is_held(node(3), LATER_US + 1));
    }

    #[test]
    fn a_silent_node_is_doubtful_until_it_answers_or_for_some_time() {
        let mut reach = Reach::new(4);
        reach.note_silent(node(3), LATER_US);
        let ends_us = LATER_US + SILENT_LEADER_US;
        assert_eq!([ends_us - 1, ends_us].map(|now_us| reach.is_doubtful(node(3), now_us)), [true, false]);
        assert!(!reach.is_held(node(3), LATER_US) && !reach.is_doubtful(node(1), LATER_US));
        reach.note_reached(node(3), true, LATER_US);
        assert!(!reach.is_doubtful(node(3), LATER_US));
        assert!(with_unreachable().is_doubtful(node(3), LATER_US));
    }

    #[test]
    fn a_target_is_known_to_be_unreachable_since_the_first_of_requests_that_fail_in_quick_succession() {
        let mut reach = with_unreachable();
        let (once_us, again_us) = (LATER_US + OUT_OF_REACH_KNOWN_US, LATER_US + 2 * OUT_OF_REACH_KNOWN_US);
        assert_eq!(reach.unreachable_for_us(node(3), once_us), OUT_OF_REACH_KNOWN_US);
        assert_eq!(reach.unreachable_for_us(node(3), once_us + 1), 0, "no request has tried it for some time");
        reach.note_reached(node(3), false, once_us);
        assert_eq!(reach.unreachable_for_us(node(3), again_us), 2 * OUT_OF_REACH_KNOWN_US);
        // A failure after a pause begins anew.
        reach.note_reached(node(3), false, again_us + 1);
        assert_eq!(reach.unreachable_for_us(node(3), again_us + 3), 2);
        reach.note_reached(node(3), true, again_us + 4);
        assert_eq!(reach.unreachable_for_us(node(3), again_us + 5), 0);
    }
}
