//! Runs in which faults happen by chance, with times between them in which the group must work again.

use fastrand::Rng;

use crate::journal::Bug;
use crate::truth::Truth;
use crate::world::{Member, Profile, Weather, World};

/// After the last fault, a proposal must be committed within this time. It is enough for two elections: the first one
/// fails when a member that knows a newer term refuses its vote, or when two members whose clocks differ become
/// candidates at once. While the third member recovers, both others must agree, and the slowest rank begins its second
/// attempt up to three seconds after the fault (seed 5010175 with journals).
const LIVELY_US: u64 = 3_500_000;

/// Once entries are committed again, every member votes within this time, also one that has lost its disk.
const FULL_US: u64 = 2_000_000;

/// The time in which that almost always happens. Runs that take longer are counted.
const USUAL_US: u64 = 2_000_000;

/// Returns the groups of a seed, in journals or not.
pub(crate) fn world(seed: u64, has_journal: bool, bug: Option<Bug>) -> World {
    let mut rng = Rng::with_seed(seed);
    let profile = Profile { has_journal, bug, ..Profile::random(&mut rng) };
    // Some groups begin with the log of a single member.
    let is_old = !has_journal && rng.u32(..4) == 0;
    let begins_with = is_old.then(|| (rng.usize(..3), rng.u64(1..200)));
    let profile = Profile { begins_with, ..profile };
    World::new(rng, profile)
}

/// Runs a group through times of faults and times of peace.
pub(crate) fn run(world: &mut World) {
    let rounds = world.rng.u32(1..=3);
    for _ in 0..rounds {
        let until_us = world.now_us + world.rng.u64(500_000..4_000_000);
        while world.now_us < until_us {
            break_something(world);
            let wait_us = world.rng.u64(10_000..600_000);
            world.run_for(wait_us);
        }
        world.heal();
        let healed_us = world.now_us;
        let is_after = |from_us: &Option<u64>| from_us.is_some_and(|from_us| from_us >= healed_us);
        let commits_again = |world: &World| world.acked_from_us.iter().all(is_after);
        assert!(world.run_until(healed_us + LIVELY_US, commits_again), "nothing was committed for {LIVELY_US} us");
        world.totals.slow += u64::from(world.now_us > healed_us + USUAL_US);
        let is_full = world.run_until(world.now_us + FULL_US, World::are_full);
        assert!(is_full, "a member does not vote {FULL_US} us after the group commits again");
    }
    // Members that are behind catch up. A lost offer of a snapshot is repeated after a second.
    let until_us = world.now_us + LIVELY_US;
    world.run_for(USUAL_US / 2);
    let committed: Vec<u64> = world.truths.iter().map(Truth::committed).collect();
    let has_it = |member: &Member| member.copies.iter().zip(&committed).all(|(copy, index)| copy.applied >= *index);
    let all_have_it = |world: &World| world.members.iter().all(has_it);
    let is_done = world.run_until(until_us, all_have_it);
    let applied = |member: &Member| member.copies.iter().map(|copy| copy.applied).collect::<Vec<_>>();
    assert!(is_done, "a member is behind: {:?} of {committed:?}", world.members.each_ref().map(applied));
}

fn break_something(world: &mut World) {
    world.is_healed = false;
    let member = world.rng.usize(..3);
    let faults = if world.members[member].store.journal.is_some() { 20 } else { 16 };
    match world.rng.u32(..faults) {
        0 | 1 => crash(world, member),
        2 if world.rng.bool() => (0..3).for_each(|member| crash(world, member)),
        3 | 4 => {
            let other = (member + world.rng.usize(1..3)) % 3;
            world.cut[member][other] ^= true;
            world.tell(format!("cut {:?}", world.cut));
        }
        5 => {
            let is_cut = world.rng.bool();
            for other in 0..3 {
                (world.cut[member][other], world.cut[other][member]) = (is_cut, is_cut);
            }
            world.tell(format!("cut {:?}", world.cut));
        }
        6 => {
            world.cut = [[false; 3]; 3];
            world.tell("nothing is cut".to_owned());
        }
        7 | 8 => stall(world, &[member]),
        9 => stall(world, &[0, 1, 2]),
        10 => {
            world.members[member].paused_until_us = world.now_us + world.rng.u64(10_000..2_000_000);
            world.tell(format!("{member} stops until {} us", world.members[member].paused_until_us));
        }
        11 => {
            let mut often = || world.rng.u32(..4) * world.rng.u32(..100);
            world.weather = Weather { dropped: often(), doubled: often(), late: often(), stalls: often() / 50 };
            world.tell(format!("{:?}", world.weather));
        }
        12 | 13 => wipe(world, member),
        14 | 15 => {
            world.timeout_now_us = world.rng.u64(..3) * 1_000_000;
            (0..world.truths.len()).for_each(|group| world.hand_over(group, member));
        }
        _ => break_disk(world, member),
    }
}

/// Loses the disk of a member, if neither of the others is recovering from such a loss, and if both vote without
/// restriction or nothing is committed yet. The log of a group that had a single member is spared while no other member
/// has it.
fn wipe(world: &mut World, member: usize) {
    let is_new = world.profile.begins_with.is_none() && world.truths.iter().all(|truth| truth.committed() == 0);
    let mut others = world.members.iter().enumerate().filter(|(place, _)| *place != member).map(|(_, other)| other);
    let is_safe = others.all(|other| other.lost.is_empty() && (is_new || other.store.is_full()));
    if is_safe {
        let for_us = world.rng.u64(1_000..1_000_000);
        world.wipe(member, for_us);
    }
}

fn crash(world: &mut World, member: usize) {
    let for_us = world.rng.u64(20_000..1_500_000);
    let is_machine = world.rng.u32(..4) > 0;
    world.crash(member, is_machine, for_us);
}

/// Machines stop while they change a file, or a disk does not sync.
fn break_disk(world: &mut World, member: usize) {
    let (is_shared, changes, syncs) = (world.rng.u32(..4) == 0, world.rng.u64(..40), world.rng.u64(..5));
    let fails = world.rng.u32(..3) == 0;
    let of = if is_shared { 0..3 } else { member..member + 1 };
    let what =
        if fails { format!("does not sync after {syncs} times") } else { format!("stops after {changes} changes") };
    world.tell(format!("the disk of {of:?} {what}"));
    for journal in world.members[of].iter().filter_map(|member| member.store.journal.as_ref()) {
        if fails {
            journal.disk.fail_sync_after(Some(syncs));
        } else {
            journal.disk.stop_after(changes);
        }
    }
}

fn stall(world: &mut World, members: &[usize]) {
    let until_us = world.now_us + world.rng.u64(50_000..1_500_000);
    world.tell(format!("the disks of {members:?} stall until {until_us} us"));
    members.iter().for_each(|member| world.members[*member].store.stalled_until_us = until_us);
}
