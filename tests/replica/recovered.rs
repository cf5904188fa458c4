//! Groups that lose two of their three disks, and are recovered from the third one.

use crate::directed::{cut, settled};
use crate::store::Store;
use crate::wiped::ends_well;
use crate::world::World;

/// A member, and the folder that it has lost with its id.
type Lost = (usize, (Store, u64));

/// A group that was recovered from the disk of the member `survivor`, and the two folders that were lost. The survivor
/// may lack what the others had, or have what nobody had acknowledged.
fn recovered(seed: u64) -> (World, usize, [Lost; 2]) {
    let (mut world, leader) = settled(seed);
    let survivor = world.rng.usize(..3);
    let others = [1, 2].map(|by| (survivor + by) % 3);
    if world.rng.bool() {
        others.into_iter().for_each(|other| cut(&mut world, survivor, other));
        let wait_us = world.rng.u64(..2_500_000);
        world.run_for(wait_us);
    }
    world.crash(leader, true, 1_000);
    let folders = others.map(|other| {
        let folder = (world.members[other].store.copy(), world.members[other].disk);
        world.wipe(other, 100_000);
        (other, folder)
    });
    world.cut = [[false; 3]; 3];
    let wait_us = world.rng.u64(..200_000);
    world.run_for(wait_us);
    world.recover_from(survivor, 50_000);
    (world, survivor, folders)
}

#[test]
fn a_group_is_recovered_from_the_last_of_three_disks() {
    let (mut lost, mut more) = (0, 0);
    for seed in 1..=200 {
        let (mut world, survivor, folders) = recovered(seed);
        let had = folders.iter().map(|(_, (store, _))| store.durable[0].commit).max().expect("two");
        let begins_with = world.truths[0].committed() - 1;
        lost += u32::from(had > begins_with);
        more += u32::from(begins_with > had);
        ends_well(&mut world);
        let founding = world.members[survivor].store.durable[0].hard.founding;
        assert_eq!((founding.number, founding.last), (2, begins_with + 1));
        // What is committed from now on survives the loss of any one disk again, and any crash.
        let wiped = world.rng.usize(..3);
        world.wipe(wiped, 1_000);
        ends_well(&mut world);
        (0..3).for_each(|member| world.crash(member, true, 1_000));
        ends_well(&mut world);
    }
    assert!(lost > 20 && more > 20, "{lost} have lost committed entries, {more} have more than that");
}

/// The survivor must not found the group while another member has a copy from before: that one may have votes and
/// acknowledgements of the lost members.
#[test]
fn a_group_is_not_founded_while_another_copy_is_older() {
    let (mut world, survivor, [(other, folder), _]) = recovered(1);
    let empty = world.exchange(other, folder, 1_000);
    world.outsider = Some(other);
    world.run_for(8_000_000);
    assert_eq!(world.leader(0), None);
    let told = world.story.iter().any(|line| line.contains(&format!("{survivor} in group 0: Older")));
    assert!(told, "{}", world.story.join("\n"));
    world.outsider = None;
    world.exchange(other, empty, 1_000);
    world.members[other].lost.clear();
    ends_well(&mut world);
}

/// A lost disk comes back after the recovery. Its member neither votes nor serves, whoever else is away.
#[test]
fn a_folder_from_before_the_recovery_takes_no_part() {
    for seed in 1..=200 {
        let (mut world, survivor, folders) = recovered(seed);
        ends_well(&mut world);
        let [(other, folder), _] = folders;
        let new = world.exchange(other, folder, 1_000);
        (world.outsider, world.expects_bad) = (Some(other), true);
        match world.rng.usize(..3) {
            0 => world.crash(survivor, true, 2_000_000),
            1 => world.crash(3 - survivor - other, true, 2_000_000),
            _ => {}
        }
        world.run_for(6_000_000);
        assert_eq!(world.bad, [other], "seed {seed}: {}", world.story.join("\n"));
        world.outsider = None;
        world.exchange(other, new, 1_000);
        world.members[other].lost.clear();
        ends_well(&mut world);
    }
}

/// The same operator's error twice: the group is recovered from two folders.
#[test]
fn a_group_that_is_recovered_from_two_disks_is_founded_with_neither() {
    let (mut world, survivor, [(other, folder), _]) = recovered(1);
    let contents = folder.0.durable[0].clone();
    world.crash(other, true, 1_000);
    let hard = world.members[survivor].store.durable[0].hard;
    world.members[other].store.begin_with(0, crate::store::Contents { hard, ..contents });
    world.outsider = Some(other);
    world.run_for(5_000_000);
    let told = world.story.iter().filter(|line| line.ends_with("TwoLogs")).count();
    assert_eq!((world.leader(0), told), (None, 2), "{}", world.story.join("\n"));
}
