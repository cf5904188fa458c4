//! Faults at the moments at which they would do harm, which chance finds too rarely.

use fastrand::Rng;

use dht_node::replica::Role;

use crate::world::{Profile, World};

/// A group that has worked for a while, and its leader.
fn settled(seed: u64) -> (World, usize) {
    let mut world = World::new(Rng::with_seed(seed), Profile::even());
    world.run_for(3_000_000);
    let leader = world.leader(0).expect("somebody leads");
    assert_eq!(leader, 0, "the first rank");
    (world, leader)
}

#[test]
fn a_stall_of_a_disk_that_all_share_does_not_change_the_leader() {
    for seed in 1..=40 {
        let (mut world, leader) = settled(seed);
        let (role, leaders) = (role(&world, leader), world.truths[0].leaders());
        let wait_us = world.rng.u64(..800_000);
        world.run_for(wait_us);
        for member in &mut world.members {
            member.store.stalled_until_us = world.now_us + 1_200_000;
        }
        world.run_for(2_400_000);
        assert_eq!((self::role(&world, leader), world.truths[0].leaders()), (role, leaders), "seed {seed}");
    }
}

#[test]
fn the_second_rank_takes_over_when_the_leader_stops() {
    for seed in 1..=40 {
        let (mut world, leader) = settled(seed);
        let committed = world.truths[0].committed();
        world.crash(leader, true, 10_000_000);
        let crashed_us = world.now_us;
        let has_new = |world: &World| world.leader(0) == Some(1) && world.truths[0].committed() > committed + 2;
        assert!(world.run_until(crashed_us + 1_300_000, has_new), "seed {seed}: {}", world.story.join("\n"));
    }
}

/// The leader has restarted, and the other's log differs from its own far before the entries that it has in memory.
#[test]
fn a_follower_whose_log_differs_is_caught_up_without_a_read_for_each_entry() {
    let mut behind = 0;
    for seed in 1..=20 {
        let (mut world, leader) = settled(seed);
        for other in [1, 2] {
            (world.cut[leader][other], world.cut[other][leader]) = (true, true);
        }
        // It goes on as a leader for a while, and so does the one that the others elect.
        world.run_for(3_000_000);
        [1, 2].into_iter().for_each(|member| world.crash(member, true, 1_000));
        let has_new = |world: &World| world.leader(0).is_some_and(|leader| leader > 0);
        assert!(world.run_until(world.now_us + 3_000_000, has_new), "seed {seed}: {}", world.story.join("\n"));
        let (before, committed) = (world.totals.fetches, world.truths[0].committed());
        behind += committed - world.members[leader].copies[0].applied;
        world.cut = [[false; 3]; 3];
        let is_done = |world: &World| world.members[leader].copies[0].applied > committed;
        assert!(world.run_until(world.now_us + 1_000_000, is_done), "seed {seed}: {}", world.story.join("\n"));
        let fetches = world.totals.fetches - before;
        assert!(fetches < 30, "seed {seed}: {fetches} reads");
    }
    assert!(behind > 20 * 50, "{behind} entries were missing");
}

#[test]
fn a_member_that_lost_acknowledged_entries_is_found_bad_and_takes_no_part() {
    for seed in 1..=20 {
        let (mut world, leader) = settled(seed);
        // The disk of a follower goes back to an older state.
        let older = world.members[2].store.copy();
        world.run_for(500_000);
        world.crash(2, true, 100_000);
        world.members[2].store = older;
        world.expects_bad = true;
        world.run_for(1_000_000);
        assert_eq!((world.bad.as_slice(), world.leader(0)), ([2].as_slice(), Some(leader)), "seed {seed}");
    }
}

fn role(world: &World, member: usize) -> Role {
    world.members[member].copies[0].replica.role()
}
