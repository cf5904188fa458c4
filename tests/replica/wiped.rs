//! Disks that are lost at the moments at which that could do harm.

use dht_node::replica::Stage;
use fastrand::Rng;

use crate::directed::{cut, settled};
use crate::world::{Profile, World};

/// The time in which a member recovers if there are no other faults.
const RECOVERS_US: u64 = 2_000_000;

/// Repairs everything, and waits until all members vote again and what was acknowledged is everywhere.
pub(crate) fn ends_well(world: &mut World) {
    world.heal();
    let healed_us = world.now_us;
    let is_done =
        |world: &World| world.are_full() && world.acked_from_us[0].is_some_and(|from_us| from_us >= healed_us);
    assert!(world.run_until(healed_us + 4_000_000, is_done), "{}", world.story.join("\n"));
    let committed = world.truths[0].committed();
    let has_it = |world: &World| world.members.iter().all(|member| member.copies[0].applied >= committed);
    assert!(world.run_until(world.now_us + 1_000_000, has_it), "{}", world.story.join("\n"));
}

fn stage(world: &World, member: usize) -> Stage {
    world.members[member].store.durable[0].hard.stage
}

#[test]
fn three_empty_folders_found_a_group_and_the_home_leads_it() {
    let (world, _) = settled(1);
    assert!(world.are_full());
    let foundings: Vec<_> = world.members.iter().map(|member| member.store.durable[0].hard.founding).collect();
    assert_eq!((foundings[0].disks, foundings[0].last), ([1, 2, 3], 0));
    assert!(foundings.iter().all(|founding| *founding == foundings[0]));
}

/// The founder stops, or loses its disk, as soon as the founding is durable there, before or after the others have
/// learned of it.
#[test]
fn a_founder_may_stop_or_lose_its_disk_right_after_the_founding() {
    for seed in 1..=200 {
        let mut world = World::new(Rng::with_seed(seed), Profile::even());
        let is_founded = |world: &World| world.members[0].store.is_full();
        assert!(world.run_until(1_000_000, is_founded));
        let wait_us = world.rng.u64(..3_000);
        world.run_for(wait_us);
        if seed % 2 == 0 {
            world.wipe(0, 200_000)
        } else {
            world.crash(0, true, 200_000)
        }
        world.run_for(400_000);
        ends_well(&mut world);
    }
}

/// A group that has had one member so far gets two others. No member is elected that does not have the whole log, even
/// while the only member that has it is away.
#[test]
fn the_log_of_a_single_member_is_in_the_log_of_every_leader() {
    for seed in 1..=200 {
        let mut rng = Rng::with_seed(seed);
        let founder = rng.usize(..3);
        let mut world = World::new(rng, Profile { begins_with: Some((founder, 40)), ..Profile::even() });
        let is_founded = |world: &World| world.members[founder].store.is_full();
        assert!(world.run_until(1_000_000, is_founded));
        let wait_us = world.rng.u64(..2_000_000);
        world.run_for(wait_us);
        world.crash(founder, true, 3_000_000);
        world.run_for(3_000_000);
        ends_well(&mut world);
        assert!(world.truths[0].committed() > 40);
    }
}

#[test]
fn two_logs_from_before_the_founding_are_not_mixed() {
    let mut world = World::new(Rng::with_seed(1), Profile { begins_with: Some((0, 9)), ..Profile::even() });
    let contents = world.members[0].store.durable[0].clone();
    world.crash(1, true, 1_000);
    world.members[1].store.begin_with(0, contents);
    world.run_for(5_000_000);
    let told = world.story.iter().filter(|line| line.ends_with("TwoLogs")).count();
    assert_eq!((world.leader(0), told), (None, 2), "{}", world.story.join("\n"));
}

/// Member 2 votes for member 1 in a later term, and loses its disk while the vote is on its way. If it then took over
/// the older term of member 0, it would acknowledge entries to that one which the new leader does not have.
#[test]
fn a_vote_on_its_way_binds_the_folder_that_replaces_the_lost_one() {
    let mut mattered = 0;
    for seed in 1..=300 {
        let (mut world, leader) = settled(seed);
        cut(&mut world, leader, 1);
        cut(&mut world, leader, 2);
        // Votes take long, so that one is on its way.
        world.extra_us[2][1] = 300_000;
        let has_voted = |world: &World| world.members[2].store.durable[0].hard.vote == Some(crate::world::id(1));
        assert!(world.run_until(world.now_us + 4_000_000, has_voted), "{}", world.story.join("\n"));
        world.wipe(2, 1_000);
        // The old leader can be reached again, and the candidate hears nothing but the vote.
        world.cut = [[false; 3]; 3];
        cut(&mut world, leader, 1);
        (world.cut[2][1], world.extra_us[2][1]) = (true, 0);
        let wait_us = world.rng.u64(..1_000_000);
        world.run_for(wait_us);
        mattered += u32::from(world.leader(0) == Some(1));
        ends_well(&mut world);
    }
    assert!(mattered > 100, "the candidate was elected {mattered} times");
}

/// An acknowledgement arrives at the leader when the folder that has sent it is lost already. So the leader commits an
/// entry that only it has.
#[test]
fn an_acknowledgement_on_its_way_commits_nothing_that_is_lost() {
    for seed in 1..=300 {
        let (mut world, leader) = settled(seed);
        cut(&mut world, leader, 2);
        world.extra_us[1][leader] = world.rng.u64(1_000..400_000);
        world.run_for(200_000);
        world.wipe(1, 1_000);
        let wait_us = world.rng.u64(..600_000);
        world.run_for(wait_us);
        world.crash(leader, true, 1_500_000);
        (world.cut, world.extra_us) = ([[false; 3]; 3], [[0; 3]; 3]);
        world.run_for(1_500_000);
        ends_well(&mut world);
    }
}

#[test]
fn a_folder_may_be_lost_again_while_it_recovers() {
    let mut again = 0;
    for seed in 1..=100 {
        let (mut world, _) = settled(seed);
        let member = world.rng.usize(..3);
        world.wipe(member, 10_000);
        let is_recovering = |world: &World| stage(world, member) == Stage::Recovering;
        assert!(world.run_until(world.now_us + RECOVERS_US, is_recovering), "{}", world.story.join("\n"));
        let wait_us = world.rng.u64(..300_000);
        world.run_for(wait_us);
        again += u32::from(!world.are_full());
        world.wipe(member, 10_000);
        ends_well(&mut world);
    }
    assert!(again > 20, "{again} had not recovered");
}

/// The leader stops while a member recovers from it. The others cannot elect a leader without it, and when it comes
/// back nothing is lost.
#[test]
fn the_leader_may_stop_while_a_member_recovers() {
    for seed in 1..=200 {
        let (mut world, leader) = settled(seed);
        world.wipe(2, 10_000);
        let wait_us = world.rng.u64(..600_000);
        world.run_for(wait_us);
        let for_us = world.rng.u64(20_000..2_500_000);
        world.crash(leader, true, for_us);
        world.run_for(for_us);
        ends_well(&mut world);
    }
}

/// Without other faults, the loss of a disk shows only inside the group: the leader stays, and the member soon is a
/// full one again.
#[test]
fn the_loss_of_a_followers_disk_does_not_change_the_leader() {
    for seed in 1..=20 {
        let (mut world, leader) = settled(seed);
        let leaders = world.truths[0].leaders();
        world.wipe(1, 10_000);
        assert!(world.run_until(world.now_us + RECOVERS_US, World::are_full), "{}", world.story.join("\n"));
        assert_eq!((world.leader(0), world.truths[0].leaders()), (Some(leader), leaders));
    }
}
