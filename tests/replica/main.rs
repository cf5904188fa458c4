//! A simulation of replica groups: three members of the production code, with disks, clocks and a network that fail.
//! A seed reproduces a run.
//!
//! | file | what |
//! |---|---|
//! | `world` | three members, their disks and clocks, the network, a client |
//! | `store` | what becomes durable late, and may be lost until then |
//! | `journal` | in some runs: the production journal, with two groups in one log, on a disk that tears and fails |
//! | `wipes` | disks that are lost, and groups that had a single member |
//! | `reads` | reads, which miss nothing that was acknowledged before them |
//! | `truth` | what must hold after every event |
//! | `chaos` | runs with faults by chance |
//! | `directed`, `wiped`, `recovered` | faults at the moments in which chance would find them too rarely |
//! | `hostile`, `mob` | peers that send anything |
//!
//! REPLICA_START and REPLICA_SEEDS choose the seeds; a failure prints its seed.

mod chaos;
mod directed;
#[path = "../support/disk.rs"]
#[expect(dead_code, reason = "the tests of the journal use the rest")]
mod disk;
mod hostile;
mod journal;
mod mob;
#[path = "../support/opened.rs"]
mod opened;
mod reads;
mod recovered;
mod store;
mod truth;
mod wiped;
mod wipes;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};

use journal::Bug;
use world::Totals;

/// Number of seeds in an ordinary test run, without journals and with them.
const SEEDS: [u64; 2] = [1_200, 300];

/// Each half of the seeds is a test, so that two of them run in parallel.
fn run_half(half: u64, has_journal: bool) -> Totals {
    let mut sum = Totals::default();
    let everyday = SEEDS[usize::from(has_journal)];
    let (start, count) = (number("REPLICA_START").unwrap_or(1), number("REPLICA_SEEDS").unwrap_or(everyday));
    for seed in (start..start + count).filter(|seed| seed % 2 == half) {
        let mut world = chaos::world(seed, has_journal, None);
        if catch_unwind(AssertUnwindSafe(|| chaos::run(&mut world))).is_err() {
            let (story, now_us) = (world.story.join("\n"), world.now_us);
            let which = if has_journal { "with_journals" } else { "seeds_keep" };
            let again = format!("REPLICA_START={seed} REPLICA_SEEDS=1 cargo test --test replica {which}");
            panic!("seed {seed} failed after {now_us} us:\n{story}\nrerun: {again}");
        }
        let totals = world.totals();
        sum.acked += totals.acked;
        (0..2).for_each(|which| sum.reads[which] += totals.reads[which]);
        sum.crashes += totals.crashes;
        sum.wipes += totals.wipes;
        sum.recovered += totals.recovered;
        sum.leaders += totals.leaders;
        sum.hand_overs += totals.hand_overs;
        sum.fetches += totals.fetches;
        sum.copies += totals.copies;
        sum.dropped += totals.dropped;
        sum.slow += totals.slow;
        sum.checkpoints += totals.checkpoints;
        sum.torn += totals.torn;
        sum.virtual_ms += totals.virtual_ms;
    }
    sum
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

#[test]
fn even_seeds_keep_every_promise() {
    println!("{:?}", run_half(0, false));
}

#[test]
fn odd_seeds_keep_every_promise() {
    println!("{:?}", run_half(1, false));
}

#[test]
fn even_seeds_with_journals_keep_every_promise() {
    println!("{:?}", run_half(0, true));
}

#[test]
fn odd_seeds_with_journals_keep_every_promise() {
    println!("{:?}", run_half(1, true));
}

/// The promises of the journal hold only for who uses it in the right way, so the simulation must notice who does not.
#[test]
fn every_misuse_of_the_journal_is_found() {
    for bug in Bug::ALL {
        let finds = |seed: &u64| {
            let mut world = chaos::world(*seed, true, Some(bug));
            catch_unwind(AssertUnwindSafe(|| chaos::run(&mut world))).is_err()
        };
        let found = (1..=2_000).find(finds);
        println!("{bug:?} is found by seed {found:?}");
        assert!(found.is_some(), "{bug:?} is not found");
    }
}

#[test]
fn two_runs_of_one_seed_are_identical() {
    for seed in 1..=20 {
        let runs = [(); 2].map(|()| {
            let mut world = chaos::world(seed, seed % 2 == 0, None);
            chaos::run(&mut world);
            let committed: Vec<u64> = world.truths.iter().map(truth::Truth::committed).collect();
            (world.story, world.now_us, committed)
        });
        assert_eq!(runs[0], runs[1], "two runs of seed {seed} differ");
    }
}
