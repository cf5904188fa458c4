//! The comparison of a group's copies, and what happens to one that differs.

use super::moves::led_by_home;
use super::*;
use crate::limits::CHECK_TICKS;

/// Lets time pass until the copies have been compared.
fn compare(three: &mut Three) {
    for _ in 0..CHECK_TICKS {
        for node in 0..3 {
            three.act(node, |parts, step| parts.groups.existing_mut(SLOT).propose_check(step));
        }
    }
    three.settle();
    // Followers learn of the commit with the next heartbeat.
    three.tick(2);
}

fn is_bad(three: &Three) -> [bool; 3] {
    [0, 1, 2].map(|node: usize| three.nodes[node].parts.groups.of(SLOT).unwrap().is_bad())
}

#[test]
fn a_copy_that_differs_from_the_leaders_is_bad() {
    let (mut three, name) = led_by_home();
    three.publish(0, &name);
    three.settle();
    compare(&mut three);
    let (last, topics) = (three.nodes[0].image(SLOT).applied.index, three.nodes[0].image(SLOT).topics);
    assert_eq!((is_bad(&three), three.nodes[2].image(SLOT).topics == topics), ([false; 3], true));
    // Nothing has changed since, so no comparison is proposed.
    compare(&mut three);
    assert_eq!(three.nodes[0].image(SLOT).applied.index, last);
    let group = three.nodes[2].parts.groups.existing_mut(SLOT);
    group.spoil_digest();
    three.publish(0, &name);
    three.settle();
    three.tick(2);
    assert_eq!(is_bad(&three), [false; 3]);
    compare(&mut three);
    assert_eq!(is_bad(&three), [false, false, true]);
    // The other two members continue.
    three.publish(0, &name);
    three.settle();
    assert_eq!(three.answers(0), [Status::Ok; 3]);
}

#[test]
fn a_leader_that_differs_from_the_one_before_leads_no_more() {
    let (mut three, name) = led_by_home();
    three.nodes[1].parts.groups.existing_mut(SLOT).spoil_digest();
    three.publish(0, &name);
    three.tick(2);
    // Node 1 is elected while the comparison is in its log but not applied yet.
    for _ in 0..CHECK_TICKS {
        three.act(0, |parts, step| parts.groups.existing_mut(SLOT).propose_check(step));
    }
    three.settle();
    three.cut = vec![0];
    three.tick(2 * ELECTION_TICKS[0]);
    assert_eq!((is_bad(&three), three.leads()), ([false, true, false], vec![]));
    three.tick(2 * ELECTION_TICKS[0]);
    assert_eq!(three.leads(), [0; 0], "node 1 is bad and node 0 is cut off, so node 2 alone is no majority");
    three.cut.clear();
    three.tick(3 * ELECTION_TICKS[0]);
    assert_eq!(three.leads().len(), 1);
}
