//! A node that is unreachable for long: the subscribers that depend on it are notified once, nobody else is, and all
//! are notified when it is back. Its links go down and up once, however often its neighbours have dialled meanwhile.

use dht_node::types::Dimension;
use fastrand::Rng;

use crate::client::Role;
use crate::crowd::Sower;
use crate::faults::{Fault, Kind};
use crate::host::Care;
use crate::profile::Profile;
use crate::subscriber::Subscriber;
use crate::world::World;

/// The fault of the node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum What {
    /// All of its links are cut, without any notification.
    CutOff,
    /// The node hangs.
    Frozen,
}

pub(crate) const ALL: [What; 2] = [What::CutOff, What::Frozen];

/// The node with the fault.
const NODE: usize = 5;
const TOPICS: usize = 24;
const SUBSCRIBERS: usize = 16;
/// Subscribers start when the topics exist.
const SUBSCRIBE_US: u64 = 1_000_000;
const BREAK_US: u64 = 3_000_000;
/// By then all notices must have been sent.
const TOLD_US: u64 = BREAK_US + 5_000_000;
const HEAL_US: u64 = BREAK_US + 9_000_000;
/// By then links must be up again, and all notices must have been sent.
const BACK_US: u64 = HEAL_US + 4_000_000;

/// Runs it, and fails unless exactly the expected subscribers are waiting at each time.
pub(crate) fn check(what: What) {
    let mut rng = Rng::with_seed(what as u64);
    let names = (0..TOPICS).map(|index| format!("outage-{index}")).collect();
    let mut profile = Profile::calm(Dimension::new(3).expect("it is small"), names, BACK_US);
    // There are no other faults, but this is not a calm run.
    profile.faults.kinds = vec![Kind::Cut];
    profile.clients.think_us = (50_000, 100_000);
    let mut roles = vec![Role::Sower(Sower::of(TOPICS))];
    let subscriber = || Subscriber::of_all(TOPICS, SUBSCRIBE_US).staying();
    roles.extend((0..SUBSCRIBERS).map(|_| Role::Subscriber(subscriber())));
    let mut world = World::with(profile, roles, &mut rng);
    world.care = Care::EachTurn;
    world.run_until(BREAK_US);
    assert!(world.model.seats.len() > SUBSCRIBERS * TOPICS / 2, "most subscriptions exist");
    assert_eq!(waiting(&world, what, false), 0);
    break_it(&mut world, what);
    world.run_until(TOLD_US);
    let count = waiting(&world, what, true);
    assert!(count > 0, "{what:?}");
    world.run_until(HEAL_US);
    assert_eq!(waiting(&world, what, true), count, "once");
    heal_it(&mut world, what);
    world.run_until(BACK_US);
    assert_eq!(waiting(&world, what, false), 0);
    let losses: u64 = world.hosts.iter().flatten().map(|host| host.driver.turn.conns.counts[1]).sum();
    assert_eq!(
        losses,
        links(&world).len() as u64,
        "{what:?}: each end must report the loss of each link of the node once"
    );
    world.run();
    let totals = &world.trace.totals;
    assert_eq!((totals.waited, totals.flowed), (count, count), "{what:?}");
}

/// Returns how many are waiting. Fails unless these are the ones that cannot get records while the node is unreachable.
fn waiting(world: &World, what: What, is_out: bool) -> u64 {
    let mut count = 0;
    for seat in world.model.seats.values() {
        let home = world.profile.topics[seat.name].home;
        let is_cut = home == NODE || what == What::CutOff && seat.node == NODE;
        let expected = is_out && home != seat.node && is_cut;
        assert!(
            seat.waits.is_none_or(|waits| waits == expected),
            "{what:?} at {}: home {home}, {seat:?}",
            world.now_us
        );
        count += u64::from(seat.waits == Some(true));
    }
    count
}

fn links(world: &World) -> Vec<(usize, usize)> {
    let links = world.ground.edges().filter(|(a, b)| [*a, *b].contains(&NODE));
    links.flat_map(|(a, b)| [(a, b), (b, a)]).collect()
}

fn break_it(world: &mut World, what: What) {
    match what {
        What::CutOff => links(world).into_iter().for_each(|(from, to)| world.apply(Fault::Cut { from, to })),
        What::Frozen => world.apply(Fault::Stall { node: NODE, until_us: HEAL_US }),
    }
}

fn heal_it(world: &mut World, what: What) {
    match what {
        What::CutOff => links(world).into_iter().for_each(|(from, to)| world.apply(Fault::Heal { from, to })),
        What::Frozen => {} // the stall ends by itself
    }
}
