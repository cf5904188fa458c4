//! Hand-overs of leadership: at a shutdown, because of a slow or full disk, and back to the home.

use super::*;
use crate::entry::Room;
use crate::limits::{HAND_OVER_TICKS, HOME_TICKS, SLOW_MEMORY_TICKS, SLOW_TICKS};

/// Lets time pass until a node leads.
pub(super) fn led_by(three: &mut Three, node: usize) {
    for _ in 0..4 * ELECTION_TICKS[2] {
        if three.leads() == [node] {
            return;
        }
        three.tick(1);
    }
    panic!("{:?} lead", three.leads());
}

/// Returns a group whose home, node 0, was elected and has created a topic, and the name of the topic.
pub(super) fn led_by_home() -> (Three, String) {
    let mut three = Three::new();
    let name = names().next().unwrap();
    three.tick(ELECTION_TICKS[0]);
    three.create(0, &name);
    three.tick(2);
    assert_eq!((three.leads(), three.answers(0)), (vec![0], vec![Status::Ok]));
    (three, name)
}

fn ticks(count: u32) -> usize {
    usize::try_from(count).unwrap()
}

impl Three {
    fn drain(&mut self, node: usize) {
        self.act(node, |parts, step| parts.on_drain(step));
    }

    fn advance_drain(&mut self, node: usize) -> bool {
        self.act(node, |parts, step| parts.advance_drain(step));
        self.nodes[node].parts.drain.has_begun()
    }

    fn fill(&mut self, node: usize, is_full: bool) {
        self.act(node, |parts, step| parts.on_space(step, Room { bytes: 1 << 20, is_full, log_kept: 0 }));
    }
}

#[test]
fn a_node_that_shuts_down_lets_another_one_lead_before_it_dismisses_its_clients() {
    let (mut three, name) = led_by_home();
    three.drain(0);
    assert_eq!(three.leads(), [0]);
    // The request waits for the outcome of the hand-over.
    three.publish(0, &name);
    assert!(!three.advance_drain(0));
    three.settle();
    assert_eq!((three.leads(), three.answers(0)), (vec![1], vec![]), "not proposed here, but sent to the new leader");
    assert_eq!(three.nodes[0].leaders.of(SLOT), three.nodes[1].settings.id);
    assert!(three.advance_drain(0));
    // The other two continue, and leadership does not return to the home, which is shutting down.
    three.publish(1, &name);
    three.settle();
    assert_eq!(three.answers(1), [Status::Ok]);
    three.tick(2 * ticks(HAND_OVER_TICKS));
    assert_eq!(three.leads(), [1]);
}

#[test]
fn what_waits_during_a_hand_over_that_fails_is_done_afterwards() {
    let (mut three, name) = led_by_home();
    three.drain(0);
    three.cut = vec![1];
    // The request to take over is lost.
    three.sent.retain(|(to, ..)| *to != 1);
    three.publish(0, &name);
    three.tick(ELECTION_TICKS[0] - 1);
    assert_eq!((three.leads(), three.answers(0)), (vec![0], vec![]));
    three.tick(1);
    three.act(0, |_, _| {});
    three.settle();
    assert_eq!((three.leads(), three.answers(0)), (vec![0], vec![Status::Ok]));
    assert!(three.advance_drain(0), "the shutdown continues although no other node leads");
}

#[test]
fn nothing_is_handed_over_to_a_node_that_shuts_down_too() {
    let (mut three, _) = led_by_home();
    three.drain(1);
    assert!(three.advance_drain(1), "it leads nothing");
    // With its answer to a heartbeat, node 1 tells the leader that it is shutting down.
    three.tick(2);
    three.drain(0);
    three.settle();
    assert_eq!(three.leads(), [2]);
    three.tick(2);
    three.drain(2);
    assert!(three.advance_drain(2), "no node is left that could lead");
    // A node that is shutting down ignores requests to take over.
    let payload = Payload::TimeoutNow;
    let [from, to] = [2, 1].map(|node: usize| member_of(three.nodes[node].settings.id));
    let term = three.nodes[1].leaders.known_term(SLOT).unwrap();
    three.act(1, |parts, step| {
        let message = Message { from, to, term, founding: parts.groups.existing_mut(SLOT).founding_id(), payload };
        assert!(!parts.groups.existing_mut(SLOT).on_message(step.settings, message));
    });
    three.settle();
    assert_eq!(three.leads(), [2]);
}

#[test]
fn a_node_that_is_elected_while_it_shuts_down_hands_over_at_once() {
    let (mut three, _) = led_by_home();
    three.drain(1);
    three.cut = vec![0];
    three.tick(2 * ELECTION_TICKS[0]);
    assert_eq!(three.leads(), [2]);
    assert_eq!(three.nodes[2].leaders.known_term(SLOT), three.nodes[1].leaders.known_term(SLOT));
}

#[test]
fn leadership_returns_home_when_that_has_been_caught_up_for_a_while() {
    let (mut three, name) = led_by_home();
    three.cut = vec![0];
    three.tick(2 * ELECTION_TICKS[0]);
    assert_eq!(three.leads(), [1]);
    three.publish(1, &name);
    three.cut.clear();
    three.tick(ticks(HOME_TICKS));
    assert_eq!(three.leads(), [1]);
    // The leader may hear of the home only with the next heartbeat.
    three.tick(5);
    assert_eq!(three.leads(), [0]);
    // Each interruption starts that time anew.
    three.cut = vec![0];
    three.tick(2 * ELECTION_TICKS[0]);
    three.cut.clear();
    for _ in 0..3 {
        three.tick(ticks(HOME_TICKS) - 5);
        three.cut = vec![0];
        three.tick(7);
        three.cut.clear();
    }
    assert_eq!(three.leads(), [1]);
}

#[test]
fn a_leader_whose_disk_is_slow_hands_over_and_gets_leadership_back_much_later() {
    let (mut three, name) = led_by_home();
    three.has_disk[0] = false;
    three.publish(0, &name);
    three.tick(ticks(SLOW_TICKS));
    assert_eq!(three.leads(), [0]);
    three.tick(2);
    assert_eq!((three.leads(), three.answers(0)), (vec![1], vec![]));
    three.has_disk[0] = true;
    three.tick(3);
    assert_eq!(three.answers(0), [Status::Ok], "both others had stored the batch");
    three.tick(ticks(SLOW_MEMORY_TICKS) - 10);
    assert_eq!(three.leads(), [1]);
    three.tick(15);
    assert_eq!(three.leads(), [0]);
}

#[test]
fn a_slow_disk_that_all_share_moves_nothing() {
    let (mut three, name) = led_by_home();
    three.has_disk = vec![false; 3];
    three.publish(0, &name);
    three.tick(2 * ticks(SLOW_TICKS));
    three.has_disk = vec![true; 3];
    three.tick(2);
    assert_eq!((three.leads(), three.answers(0)), (vec![0], vec![Status::Ok]));
}

#[test]
fn a_leader_whose_disk_is_full_hands_over_and_nobody_is_refused() {
    let (mut three, name) = led_by_home();
    three.fill(0, true);
    three.publish(0, &name);
    assert_eq!(three.answers(0), []);
    three.settle();
    assert_eq!((three.leads(), three.answers(0)), (vec![1], vec![]), "the ingress sends the request to the new leader");
    three.publish(1, &name);
    three.settle();
    assert_eq!(three.answers(1), [Status::Ok]);
    // The last hand-over was only a moment ago, so the next full leader refuses instead of handing over.
    three.fill(1, true);
    three.publish(1, &name);
    three.settle();
    assert_eq!(three.answers(1), [Status::Quota]);
}

#[test]
fn records_are_refused_when_two_disks_are_full() {
    for full in [[0, 1], [0, 2], [1, 2]] {
        let (mut three, name) = led_by_home();
        full.iter().rev().for_each(|node| {
            three.fill(*node, true);
            three.tick(3);
        });
        let leader = three.leads()[0];
        three.publish(leader, &name);
        three.settle();
        assert_eq!(three.answers(leader), [Status::Quota], "{full:?}");
        full.iter().for_each(|node| three.fill(*node, false));
        three.tick(3);
        three.publish(leader, &name);
        three.settle();
        assert_eq!(three.answers(leader), [Status::Ok], "{full:?}");
    }
}
