//! Groups that are founded more than once.

use super::*;
use crate::limits::{JOIN_NOTE_TICKS, LEADERLESS_TICKS};

const FIRST: Founding = Founding { number: 1, disks: [7, 8, 9], last: 0 };
const SECOND: Founding = Founding { number: 5, disks: [7, 18, 19], last: 4 };

fn config(id: u64, disk: u64) -> Config {
    Config { id: member(id), members: [1, 2, 3].map(member).to_vec(), disk, window_bytes: LOG_WINDOW_BYTES }
}

/// The member 2, whose folder has this id, in a state without a log.
fn newcomer(disk: u64, hard: Hard) -> Replica {
    Replica::new(&config(2, disk), Restored { hard, ..Restored::default() }, &mut Vec::new()).expect("nothing is lost")
}

fn answer(from: u64, disk: u64, standing: Standing, founding: Founding) -> Input {
    let payload = Payload::JoinAnswer { standing, is_leading: false, asker: 8, disk, last: 4, founding };
    Input::Message(Message { from: member(from), to: member(2), term: 3, founding: founding.id(), payload })
}

fn joining(out: &[Output]) -> Vec<Joining> {
    out.iter().filter_map(|output| if let Output::Joining(joining) = output { Some(*joining) } else { None }).collect()
}

#[test]
fn each_founding_has_an_id() {
    let ids = [FIRST, SECOND, Founding { number: 6, ..SECOND }, Founding { last: 5, ..SECOND }].map(|it| it.id());
    assert!(ids.iter().enumerate().all(|(nth, id)| !ids[..nth].contains(id)), "{ids:x?}");
    assert_eq!(ids.map(Founding::number_of), [1, 5, 6, 5]);
    assert_eq!(Founding { number: 4, ..Founding::default() }.id(), 0);
}

#[test]
fn a_newcomer_joins_the_founding_at_which_it_was_present() {
    let unknown = |number| Hard { founding: Founding { number, ..Founding::default() }, ..Hard::default() };
    for (dropped, expected) in [(0, vec![Joining::Joined]), (4, vec![Joining::Joined]), (5, vec![]), (6, vec![])] {
        let founding = Founding { disks: [7, 8, 19], ..SECOND };
        let out = handled(&mut newcomer(8, unknown(dropped)), answer(1, 7, Standing::Member, founding));
        assert_eq!(joining(&out), expected, "after the founding {dropped} was dropped");
    }
}

#[test]
fn a_member_recovers_only_if_both_others_belong_to_the_same_founding() {
    for (other, expected) in [(SECOND, Joining::Recovers), (FIRST, Joining::Older { member: member(3) })] {
        let mut replica = newcomer(8, Hard::default());
        let first = Founding { disks: [7, 28, 9], ..other };
        let second = Founding { disks: [7, 28, 9], ..SECOND };
        assert_eq!(joining(&handled(&mut replica, answer(3, 9, Standing::Member, first))), []);
        assert_eq!(joining(&handled(&mut replica, answer(1, 7, Standing::Member, second))), [expected]);
    }
}

#[test]
fn a_newcomer_reports_that_only_one_copy_is_left() {
    let mut replica = newcomer(8, Hard::default());
    (1..JOIN_NOTE_TICKS).for_each(|_| drop(handled(&mut replica, Input::Tick)));
    handled(&mut replica, answer(1, 7, Standing::Newcomer, Founding::default()));
    handled(&mut replica, answer(3, 9, Standing::Member, SECOND));
    let told = joining(&handled(&mut replica, Input::Tick));
    assert_eq!(told, [Joining::OneLeft { member: member(3) }]);
}

#[test]
fn a_copy_of_an_earlier_founding_ends_when_it_hears_of_a_later_one() {
    let of = |founding: Founding| Restored { hard: Hard { founding, ..restored().hard }, ..restored() };
    let heartbeat = |founding: Founding| {
        let payload = Payload::Heartbeat { commit: 3, context: 0 };
        Input::Message(Message { from: member(1), to: member(2), term: 9, founding: founding.id(), payload })
    };
    let mut old = start(2, of(FIRST));
    assert_eq!(handle(&mut old, heartbeat(SECOND)), [Output::Bad(Fault::Replaced)]);
    assert!(old.is_bad());
    // The later one is not impressed, whatever the term, and says so once.
    let mut new = start(2, Restored { base: (3, 2), entries: restored().entries.split_off(3), ..of(SECOND) });
    let older = Joining::Older { member: member(1) };
    assert_eq!(handle(&mut new, heartbeat(FIRST)), [Output::Joining(older)]);
    assert_eq!((handle(&mut new, heartbeat(FIRST)), new.dropped()), (vec![], 2));
    // It answers a join, so that the other learns of the later founding.
    let payload = Payload::Join { disk: 7, last: 0 };
    let join = Message { from: member(1), to: member(2), term: 9, founding: FIRST.id(), payload };
    let out = handle(&mut new, Input::Message(join));
    assert!(matches!(&out[..], [Output::Send(Message { founding, .. })] if *founding == SECOND.id()), "{out:?}");
}

#[test]
fn a_member_without_a_leader_reports_that_now_and_then() {
    let mut replica = follower();
    let ticks = 2 * usize::try_from(LEADERLESS_TICKS).unwrap() + 10;
    let told = |_| joining(&handle(&mut replica, Input::Tick)).contains(&Joining::Leaderless);
    assert_eq!((0..ticks).map(told).filter(|told| *told).count(), 2);
}
