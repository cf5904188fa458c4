//! The founding of a group, and the recovery of a node whose disk was lost.

use super::*;
use crate::entry::{self, Body, Entry, LogPosition, MemberState, Stage};
use crate::types::Epoch;

impl Three {
    /// Replaces a node by one with an empty data folder. Messages on their way to the old one reach the new one.
    pub(super) fn wipe(&mut self, node: usize) {
        let id = u16::try_from(node).expect("one of three");
        self.now.monotonic_us += 1;
        let window_bytes = self.nodes[node].settings.log_window_bytes;
        self.nodes[node] = new_node(id, self.now, window_bytes);
        self.copying.forget(node);
        self.writes[node].clear();
        self.notes[node].clear();
        self.greet(node);
    }

    /// Returns the member states among the writes that a node has not finished.
    fn states(&self, node: usize) -> Vec<MemberState> {
        let state = |write: &Write| if let Write::State { state, .. } = write { Some(*state) } else { None };
        self.writes[node].iter().filter_map(state).collect()
    }
}

#[test]
fn three_new_nodes_found_a_group() {
    let mut three = Three::of_new_nodes();
    three.has_disk = vec![false; 3];
    three.tick(1);
    let states = three.states(0);
    let [MemberState { term: 1, vote: 0, commit: 0, stage: Stage::Full, founding }] = states[..] else {
        panic!("{states:?}")
    };
    assert_eq!((founding.disks, founding.last), ([1_000_000, 1_000_001, 1_000_002], 0));
    assert_eq!((three.states(1), three.states(2)), (vec![], vec![]), "the founding is not sent before it is durable");
    three.has_disk = vec![true; 3];
    three.tick(ELECTION_TICKS[0] + 1);
    assert_eq!(three.leads(), [0]);
    three.create(0, &names().next().unwrap());
    three.settle();
    assert_eq!(three.answers(0), [Status::Ok]);
}

#[test]
fn a_group_is_founded_by_three_only() {
    for away in 0..3 {
        let mut three = Three::of_new_nodes();
        three.cut = vec![away];
        three.tick(100);
        assert_eq!(three.leads(), [0; 0]);
        assert_eq!(three.written, [0; 3], "nothing was decided");
        three.cut.clear();
        three.tick(2 * ELECTION_TICKS[2]);
        assert_eq!(three.leads(), [0]);
    }
}

#[test]
fn a_node_that_has_lost_its_disk_gets_everything_from_the_others() {
    for wiped in 0..3 {
        let mut three = Three::of_new_nodes();
        three.tick(2 * ELECTION_TICKS[0]);
        let mut names = names();
        three.create(0, &names.next().unwrap());
        three.settle();
        assert_eq!(three.answers(0), [Status::Ok]);
        three.wipe(wiped);
        // Too little time has passed for leadership to return to the home.
        three.tick(3 * ELECTION_TICKS[2]);
        let leader = if wiped == 0 { 1 } else { 0 };
        assert_eq!(three.leads(), [leader]);
        assert_eq!([0, 1, 2].map(|node| three.topics(node)), [1; 3]);
        // The recovered node counts towards the majority again, so one of the others may be cut off.
        three.cut = vec![3 - leader - wiped];
        three.create(leader, &names.next().unwrap());
        three.settle();
        assert_eq!(three.answers(leader), [Status::Ok]);
    }
}

/// The home has topics from the time when it was the only node that kept them.
#[test]
fn what_one_node_had_is_kept_by_three() {
    let mut three = Three::of_new_nodes();
    let mut names = names();
    let entry = Entry::Create {
        name: names.next().unwrap().into(),
        seed: 1,
        epoch: Epoch(1),
        retention: Retention::default(),
        created_us: 1,
    };
    // Only the home has the one body of the log.
    let mut bytes = Vec::new();
    entry::encode(&mut [entry], &mut bytes);
    let body = Body { slot: SLOT, index: 1, term: 4, bytes: bytes.into() };
    let state = MemberState { term: 4, vote: 1, commit: 1, ..MemberState::default() };
    three.nodes[0].continue_log((SLOT, 7), (LogPosition::default(), state), vec![(body, Place::default())]);
    three.tick(3 * ELECTION_TICKS[0]);
    assert_eq!(three.leads(), [0]);
    three.create(0, &names.next().unwrap());
    three.settle();
    assert_eq!(three.answers(0), [Status::Ok]);
    three.tick(2);
    assert_eq!([0, 1, 2].map(|node| three.topics(node)), [2; 3]);
}
