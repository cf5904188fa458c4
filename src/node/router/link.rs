//! The state of the link to one neighbour, and what changes it.
//!
//! ```text
//!           dial              HELLO is accepted
//!   Down ─────────► Dialing ────────────────────► Up ──┐ HELLO of another instance: a replacement waits
//!   ▲ ▲               │ refused, or no answer     │ ▲──┘ a sign of life: the replacement is refused
//!   │ └───────────────┘                           │
//!   └─────────────────────────────────────────────┘ closed, silent, or the neighbour is shutting down
//! ```
//!
//! Only the node with the larger id dials. At the other one a link comes up from `Down`, and only there a second
//! connection may name the same neighbour.

use super::super::Step;
use super::super::end::End;
use super::{Router, Times};
use crate::limits::{DIAL_TIMEOUT_US, DUPLICATE_PROBE_US, REDIAL_US};
use crate::types::{ConnId, RequestId};

/// The link to a neighbour. All times are monotonic, in microseconds.
#[derive(Debug)]
pub(super) enum Link {
    /// There is no connection.
    Down {
        /// When the node with the larger id dials.
        dial_at_us: u64,
    },
    /// This node has dialled.
    Dialing {
        /// The connection on which HELLO has been sent; `None` until it is established.
        conn: Option<ConnId>,
        /// When this attempt is given up and another one is made.
        redial_at_us: u64,
    },
    /// Frames are exchanged.
    Up(Up),
}

/// A link that is up.
#[derive(Debug)]
pub(super) struct Up {
    pub conn: ConnId,
    /// The neighbour's instance id, which it chose at its start.
    pub instance: u64,
    pub times: Times,
    /// True while the send queue is above its high-water mark.
    pub is_full: bool,
    /// True once the neighbour has confirmed the GOAWAY of this node: it sends no further requests over the link.
    pub has_parted: bool,
    pub replacement: Option<Waiting>,
}

/// A replacement link that waits: it becomes the link unless the link shows a sign of life in time.
#[derive(Debug)]
pub(super) struct Waiting {
    greeting: Greeting,
    deadline_us: u64,
}

/// A neighbour's HELLO on a connection that this node has accepted.
#[derive(Clone, Copy, Debug)]
pub(in crate::node) struct Greeting {
    /// The connection.
    pub conn: ConnId,
    /// The request id of the HELLO.
    pub request_id: RequestId,
    /// The instance that sent it.
    pub instance: u64,
}

/// What a HELLO of a neighbour leads to.
#[derive(Debug)]
pub(in crate::node) enum Greeted {
    /// It is accepted: after `old` is closed and `refused` is refused, its connection can become the link.
    Welcome {
        /// The connection that was the link.
        old: Option<ConnId>,
        /// The replacement link that waited.
        refused: Option<Greeting>,
    },
    /// It waits as a replacement link. `refused` is refused and the link is sent PING.
    Wait {
        /// The replacement link that waited before.
        refused: Option<Greeting>,
    },
}

/// A link that has gone down.
#[derive(Debug)]
pub(in crate::node) struct WentDown {
    /// The replacement link that waited, and can become the link now.
    pub successor: Option<Greeting>,
}

/// What a connection of a neighbour is used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::node) enum Usage {
    /// This node has dialled, and its HELLO is unanswered.
    Dialed,
    /// It is the link.
    Link,
    /// It is a replacement link that waits.
    Replacement,
}

impl Link {
    /// Returns the link if it is up.
    pub(super) const fn up(&self) -> Option<&Up> {
        if let Self::Up(up) = self { Some(up) } else { None }
    }

    /// Returns the link if it is up.
    pub(super) const fn up_mut(&mut self) -> Option<&mut Up> {
        if let Self::Up(up) = self { Some(up) } else { None }
    }

    /// Returns the link if it is up and uses this connection.
    pub(super) fn over(&mut self, conn: ConnId) -> Option<&mut Up> {
        self.up_mut().filter(|up| up.conn == conn)
    }

    /// Returns all connections that the link uses.
    pub(super) fn conns(&self) -> impl Iterator<Item = ConnId> {
        let (conn, replacement) = match self {
            Self::Down { .. } => (None, None),
            Self::Dialing { conn, .. } => (*conn, None),
            Self::Up(up) => (Some(up.conn), up.replacement.as_ref()),
        };
        conn.into_iter().chain(replacement.map(|waiting| waiting.greeting.conn))
    }

    /// Returns the state after a link has gone down, or an attempt to connect has failed.
    fn to_redial(step: &mut Step<'_>) -> Self {
        Self::Down { dial_at_us: step.now.after_us(redial_after_us(step.random.u64(..))) }
    }

    /// Asserts the invariants. `dials` says whether this node dials the neighbour.
    pub(super) fn check(&self, dials: bool) {
        match self {
            Self::Down { .. } => {}
            Self::Dialing { .. } => assert!(dials, "the node with the larger id dials"),
            Self::Up(Up { conn, replacement: Some(waiting), .. }) => {
                assert!(!dials && waiting.greeting.conn != *conn, "a connection is in one use");
            }
            Self::Up(_) => {}
        }
    }
}

impl Up {
    /// Takes the replacement link, if one waits.
    pub(super) fn take_replacement(&mut self) -> Option<Greeting> {
        self.replacement.take().map(|waiting| waiting.greeting)
    }
}

impl Router {
    /// Returns what a connection of the neighbour across dimension `bit` is used for; `None` if it is used no more.
    pub(in crate::node) fn usage(&self, bit: u8, conn: ConnId) -> Option<Usage> {
        match self.link(bit) {
            Link::Dialing { conn: Some(dialed), .. } if *dialed == conn => Some(Usage::Dialed),
            Link::Up(up) if up.conn == conn => Some(Usage::Link),
            Link::Up(Up { replacement: Some(waiting), .. }) if waiting.greeting.conn == conn => {
                Some(Usage::Replacement)
            }
            Link::Down { .. } | Link::Dialing { .. } | Link::Up(_) => None,
        }
    }

    /// Begins an attempt to connect to the neighbour across dimension `bit`. A connect to an address that drops packets
    /// takes minutes to fail, so another attempt is made after [`DIAL_TIMEOUT_US`].
    pub(super) fn begin_dial(&mut self, bit: u8, now_us: u64) {
        let link = self.link_mut(bit);
        assert!(matches!(link, Link::Down { .. } | Link::Dialing { conn: None, .. }), "{link:?}");
        *link = Link::Dialing { conn: None, redial_at_us: now_us + DIAL_TIMEOUT_US };
    }

    /// Handles the success of a dial. Returns false if the connection is of no use: another attempt was faster.
    pub(in crate::node) fn on_dialed(&mut self, bit: u8, id: ConnId) -> bool {
        let link = self.link_mut(bit);
        let redial_at_us = match link {
            Link::Down { dial_at_us } => *dial_at_us,
            Link::Dialing { conn: None, redial_at_us } => *redial_at_us,
            Link::Dialing { conn: Some(_), .. } | Link::Up(_) => return false,
        };
        *link = Link::Dialing { conn: Some(id), redial_at_us };
        true
    }

    /// Handles the failure of a dial.
    pub(in crate::node) fn on_dial_failed(&mut self, step: &mut Step<'_>, bit: u8) {
        match self.link(bit) {
            Link::Down { .. } | Link::Dialing { conn: None, .. } => *self.link_mut(bit) = Link::to_redial(step),
            Link::Dialing { conn: Some(_), .. } | Link::Up(_) => {}
        }
    }

    /// Handles a HELLO of the neighbour across dimension `bit`, which dials this node.
    pub(in crate::node) fn on_greeting(&mut self, step: &Step<'_>, bit: u8, greeting: Greeting) -> Greeted {
        let Some(up) = self.link_mut(bit).up_mut() else { return Greeted::Welcome { old: None, refused: None } };
        let refused = up.take_replacement();
        // The instance has noticed the loss of its connection, and is alive.
        if up.instance == greeting.instance {
            return Greeted::Welcome { old: Some(up.conn), refused };
        }
        up.replacement = Some(Waiting { greeting, deadline_us: step.now.after_us(DUPLICATE_PROBE_US) });
        Greeted::Wait { refused }
    }

    /// Returns true if the link should have shown a sign of life by now, so that this replacement link would wait no
    /// more.
    pub(in crate::node) fn is_overdue(&self, bit: u8, conn: ConnId, now_us: u64) -> bool {
        let replacement = self.link(bit).up().and_then(|up| up.replacement.as_ref());
        replacement.is_some_and(|waiting| waiting.greeting.conn == conn && waiting.deadline_us <= now_us)
    }

    /// Makes a connection the link across dimension `bit`, which is down.
    pub(in crate::node) fn set_up(&mut self, step: &mut Step<'_>, bit: u8, conn: ConnId, instance: u64, times: Times) {
        let neighbour = self.neighbour_mut(bit);
        assert!(neighbour.link.up().is_none(), "a link is replaced only after it went down");
        log::info!("link to {} is up", step.settings.name(neighbour.node));
        step.stats.links_up += 1;
        let up = Up { conn, instance, times, is_full: false, has_parted: false, replacement: None };
        neighbour.link = Link::Up(up);
    }

    /// Handles the end of a connection of the neighbour across dimension `bit`. Returns what follows if it was the
    /// link.
    pub(in crate::node) fn on_end(
        &mut self,
        step: &mut Step<'_>,
        bit: u8,
        conn: ConnId,
        end: End<'_>,
    ) -> Option<WentDown> {
        let neighbour = self.neighbour_mut(bit);
        match &mut neighbour.link {
            Link::Up(up) if up.conn == conn => {
                log::info!("link to {} is down: {end}", step.settings.name(neighbour.node));
                step.stats.links_down += 1;
                let successor = up.take_replacement();
                neighbour.link = Link::to_redial(step);
                return Some(WentDown { successor });
            }
            Link::Up(up) => {
                up.replacement.take_if(|waiting| waiting.greeting.conn == conn);
            }
            Link::Dialing { conn: Some(dialed), .. } if *dialed == conn => neighbour.link = Link::to_redial(step),
            Link::Down { .. } | Link::Dialing { .. } => {}
        }
        None
    }
}

/// Returns the delay in microseconds before the next dial: half of [`REDIAL_US`] and a random part of the other half.
const fn redial_after_us(random: u64) -> u64 {
    REDIAL_US / 2 + random % (REDIAL_US / 2)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::Node;
    use crate::node::router::Due;
    use crate::node::tests::settings;
    use crate::types::Now;

    const START_US: u64 = 1_000_000;

    const fn conn(slot: u32) -> ConnId {
        ConnId { slot, generation: 1 }
    }

    /// Returns the HELLO of an instance, on the connection with the same number.
    fn greeting(instance: u32) -> Greeting {
        Greeting { conn: conn(instance), request_id: RequestId(1), instance: instance.into() }
    }

    /// Returns a node of the cube of dimension 1.
    fn node(id: u16) -> Node {
        Node::new(settings(id, 1), Now { monotonic_us: START_US, wall_us: 0 })
    }

    /// Calls `act` with the router of a node at a time after the start.
    fn at<R>(node: &mut Node, after_us: u64, act: impl FnOnce(&mut Router, &mut Step<'_>) -> R) -> R {
        let mut out = Vec::new();
        let (parts, mut step) = node.split(Now { monotonic_us: START_US + after_us, wall_us: 0 }, &mut out);
        let result = act(&mut parts.router, &mut step);
        parts.router.link(0).check(parts.router.dials(0));
        result
    }

    /// Makes node 0 the neighbour of instance 7, over connection 7.
    fn linked() -> Node {
        let mut node = node(0);
        at(&mut node, 0, |router, step| router.set_up(step, 0, conn(7), 7, Times::default()));
        node
    }

    /// Returns which connection is replaced at once, and which one is refused; `None` if the new one waits.
    fn outcome(greeted: &Greeted) -> (Option<Option<ConnId>>, Option<ConnId>) {
        match greeted {
            Greeted::Welcome { old, refused } => (Some(*old), refused.map(|refused| refused.conn)),
            Greeted::Wait { refused } => (None, refused.map(|refused| refused.conn)),
        }
    }

    #[test]
    fn a_hello_replaces_the_link_of_its_own_instance_and_waits_for_that_of_another() {
        // The instances that have said HELLO while the link of instance 7 was up, and what the last HELLO led to.
        let cases: [(&[u32], _); 4] = [
            (&[7], (Some(Some(conn(7))), None)),
            (&[8], (None, None)),
            (&[8, 9], (None, Some(conn(8)))),
            (&[8, 7], (Some(Some(conn(7))), Some(conn(8)))),
        ];
        for (instances, expected) in cases {
            let mut node = linked();
            let greeted = instances
                .iter()
                .map(|instance| at(&mut node, 0, |router, step| router.on_greeting(step, 0, greeting(*instance))));
            assert_eq!(outcome(&greeted.last().unwrap()), expected, "{instances:?}");
        }
        let greeted = at(&mut node(0), 0, |router, step| router.on_greeting(step, 0, greeting(7)));
        assert_eq!(outcome(&greeted), (Some(None), None), "the link is down");
    }

    #[test]
    fn a_replacement_link_follows_the_link_unless_either_ends_or_the_link_lives() {
        type Change = fn(&mut Router, &mut Step<'_>);
        let cases: [(&str, Change, Option<ConnId>); 4] = [
            ("nothing", |_, _| {}, Some(conn(8))),
            ("it ends", |router, step| assert!(router.on_end(step, 0, conn(8), End::Replaced).is_none()), None),
            (
                "another connection ends",
                |router, step| assert!(router.on_end(step, 0, conn(9), End::Replaced).is_none()),
                Some(conn(8)),
            ),
            (
                "a frame arrives on the link",
                |router, step| assert!(router.on_frame(step.now, 0, conn(7), 40).is_some()),
                None,
            ),
        ];
        for (what, change, expected) in cases {
            let mut node = linked();
            at(&mut node, 0, |router, step| router.on_greeting(step, 0, greeting(8)));
            at(&mut node, 0, change);
            let overdue = [DUPLICATE_PROBE_US - 1, DUPLICATE_PROBE_US]
                .map(|after_us| at(&mut node, 0, |router, _| router.is_overdue(0, conn(8), START_US + after_us)));
            assert_eq!(overdue, [false, expected.is_some()], "{what}");
            let down = at(&mut node, 0, |router, step| router.on_end(step, 0, conn(7), End::Replaced));
            assert_eq!(down.unwrap().successor.map(|successor| successor.conn), expected, "{what}");
            at(&mut node, 0, |router, _| assert!(matches!(router.link(0), Link::Down { .. })));
        }
    }

    #[test]
    fn an_attempt_to_connect_is_repeated_after_it_has_failed_or_was_not_answered() {
        let due = |node: &mut Node, after_us| at(node, after_us, |router, step| router.tick(step, 0));
        let mut node = node(1);
        assert_eq!(due(&mut node, 0), Some(Due::Dial { unanswered: None }));
        at(&mut node, 0, |router, step| router.dial(step, 0));
        assert_eq!(due(&mut node, DIAL_TIMEOUT_US - 1), None);
        assert_eq!(due(&mut node, DIAL_TIMEOUT_US), Some(Due::Dial { unanswered: None }));
        // It fails.
        at(&mut node, 0, |router, step| router.on_dial_failed(step, 0));
        assert_eq!(due(&mut node, REDIAL_US / 2 - 1), None);
        assert_eq!(due(&mut node, REDIAL_US), Some(Due::Dial { unanswered: None }));
        // HELLO is not answered. A second connection, and the failure of another attempt, change nothing.
        at(&mut node, 0, |router, step| router.dial(step, 0));
        assert!(at(&mut node, 0, |router, _| router.on_dialed(0, conn(3))));
        assert!(!at(&mut node, 0, |router, _| router.on_dialed(0, conn(4))));
        at(&mut node, 0, |router, step| router.on_dial_failed(step, 0));
        assert_eq!(at(&mut node, 0, |router, _| router.usage(0, conn(3))), Some(Usage::Dialed));
        assert_eq!(due(&mut node, DIAL_TIMEOUT_US), Some(Due::Dial { unanswered: Some(conn(3)) }));
        assert!(at(&mut node, 0, |router, step| router.on_end(step, 0, conn(3), End::Unanswered)).is_none());
        assert_eq!(due(&mut node, REDIAL_US), Some(Due::Dial { unanswered: None }));
        // A link that is up is not dialled.
        at(&mut node, 0, |router, step| {
            router.set_up(step, 0, conn(5), 7, Times { heard_us: START_US, sent_us: START_US })
        });
        assert!(!at(&mut node, 0, |router, _| router.on_dialed(0, conn(6))));
        assert_eq!(due(&mut node, 0), None);
    }

    #[test]
    fn the_node_with_the_smaller_id_does_not_dial() {
        assert_eq!(at(&mut node(0), REDIAL_US, |router, step| router.tick(step, 0)), None);
    }

    #[test]
    fn a_neighbour_is_dialled_again_after_half_of_the_time_at_least_and_all_of_it_at_most() {
        assert_eq!(redial_after_us(0), REDIAL_US / 2);
        assert_eq!(redial_after_us(REDIAL_US / 2 - 1), REDIAL_US - 1);
        assert_eq!(redial_after_us(REDIAL_US / 2), REDIAL_US / 2);
    }
}
