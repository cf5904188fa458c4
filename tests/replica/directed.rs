//! Faults at the moments at which they would do harm, which chance finds too rarely.

use fastrand::Rng;

use dht_node::replica::Role;

use crate::world::{Profile, World};

/// A group that has worked for a while, and its leader.
pub(crate) fn settled(seed: u64) -> (World, usize) {
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
        // The others commit something without it, so that nothing is lost.
        world.run_for(50_000);
        world.members[2].store = older;
        world.expects_bad = true;
        world.run_for(1_000_000);
        assert_eq!((world.bad.as_slice(), world.leader(0)), ([2].as_slice(), Some(leader)), "seed {seed}");
    }
}

/// All logs are equal, so anybody can be elected. The old leader has a lease because a follower has answered it. That
/// follower restarts, and forgets the leader, while the other one, which hears from nobody else, asks for its vote.
#[test]
fn a_member_that_restarts_elects_nobody_during_the_lease_of_its_leader() {
    for seed in 1..=300 {
        let (mut world, leader) = settled(seed);
        world.is_idle = true;
        world.run_for(100_000);
        cut(&mut world, leader, 2);
        let wait_us = world.rng.u64(500_000..2_500_000);
        world.run_for(wait_us);
        let down_us = world.rng.u64(5_000..40_000);
        world.crash(1, false, down_us);
        world.run_for(down_us);
        cut(&mut world, leader, 1);
        takes_over(&mut world, leader);
    }
}

/// Answers to the leader take so long that a lease that began with them would last until after the next election.
#[test]
fn a_lease_does_not_begin_with_an_answer_that_was_on_its_way_for_long() {
    for seed in 1..=300 {
        let (mut world, leader) = settled(seed);
        world.is_idle = true;
        world.run_for(100_000);
        cut(&mut world, leader, 2);
        world.extra_us[1][leader] = 700_000;
        let wait_us = world.rng.u64(2_000_000..4_000_000);
        world.run_for(wait_us);
        assert_eq!(world.leader(0), Some(leader), "seed {seed}");
        // The answers that are on their way arrive.
        world.cut[leader][1] = true;
        takes_over(&mut world, leader);
    }
}

#[test]
fn leadership_that_is_handed_over_is_away_at_once_and_nothing_is_lost() {
    for seed in 1..=60 {
        let (mut world, leader) = settled(seed);
        let (to, started_us) = (world.rng.usize(1..3), world.now_us);
        world.hand_over(0, to);
        let has_new = |world: &World| world.leader(0) == Some(to) && world.acked_from_us[0] > Some(started_us);
        assert!(world.run_until(started_us + 100_000, has_new), "seed {seed}: {}", world.story.join("\n"));
        assert_eq!(world.truths[0].leaders(), 2, "seed {seed}: {leader} and {to}");
    }
}

#[test]
fn a_leader_that_cannot_hand_over_leads_on() {
    for seed in 1..=20 {
        let (mut world, leader) = settled(seed);
        world.cut[leader][1] = true;
        world.hand_over(0, 1);
        world.run_for(100_000);
        let asked_us = world.now_us;
        assert_eq!(world.leader(0), Some(leader), "seed {seed}");
        let goes_on = |world: &World| world.acked_from_us[0] > Some(asked_us);
        assert!(world.run_until(asked_us + 1_500_000, goes_on), "seed {seed}: {}", world.story.join("\n"));
    }
}

/// The message that makes another member a candidate arrives only when the leader has given up the hand-over and leads
/// on.
#[test]
fn a_leader_that_began_to_hand_over_has_no_lease_until_another_one_leads() {
    for seed in 1..=100 {
        let (mut world, leader) = settled(seed);
        world.timeout_now_us = 2_000_000;
        world.hand_over(0, 1);
        let until_us = world.now_us + 900_000;
        world.run_until(until_us, |_| false);
        assert_eq!(world.leader(0), Some(leader), "seed {seed}");
        world.is_idle = true;
        // Messages that are in flight arrive.
        world.run_for(50_000);
        let reads = world.totals.reads;
        let is_elected = |world: &World| world.leader(0) == Some(1);
        while !is_elected(&world) {
            // Until then, the others take part in rounds; their votes do not reach the old leader.
            world.cut[1][leader] = world.cut[2][leader] && world.rng.bool();
            world.extra_us[1][leader] = 300_000;
            world.run_for(1_000);
            assert!(world.now_us < until_us + 3_000_000, "seed {seed}: {}", world.story.join("\n"));
        }
        cut(&mut world, leader, 1);
        cut(&mut world, leader, 2);
        assert!(world.totals.reads[1] > reads[1], "seed {seed}: rounds tell it that it leads");
        takes_over(&mut world, leader);
    }
}

pub(crate) fn cut(world: &mut World, one: usize, other: usize) {
    (world.cut[one][other], world.cut[other][one]) = (true, true);
}

/// Another member is elected and acknowledges something, and the old leader answers no read after that.
fn takes_over(world: &mut World, leader: usize) {
    world.is_idle = false;
    let (reads, committed) = (world.totals.reads, world.truths[0].committed());
    let is_done = |world: &World| {
        let has_new = world.leader(0) != Some(leader) && world.truths[0].committed() > committed + 5;
        has_new && world.totals.reads[1] > reads[1]
    };
    assert!(world.run_until(world.now_us + 3_000_000, is_done), "{}", world.story.join("\n"));
}

fn role(world: &World, member: usize) -> Role {
    world.members[member].copies[0].replica.role()
}
