//! A simulation of replica groups: three members of the production code, with disks, clocks and a network that fail.
//! A seed reproduces a run.
//!
//! | file | what |
//! |---|---|
//! | `world` | three members, their disks and clocks, the network, a client |
//! | `disk` | what becomes durable late, and may be lost until then |
//! | `truth` | what must hold after every event |
//! | `chaos` | runs with faults by chance |
//! | `directed` | faults at the moments in which chance would find them too rarely |
//! | `hostile` | peers that send anything |
//!
//! REPLICA_START and REPLICA_SEEDS choose the seeds; a failure prints its seed.

mod chaos;
mod directed;
mod disk;
mod hostile;
mod truth;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};

use world::Totals;

/// Number of seeds in an ordinary test run.
const SEEDS: u64 = 2_000;

/// Each half of the seeds is a test, so that two of them run in parallel.
fn run_half(half: u64) -> Totals {
    let mut sum = Totals::default();
    let (start, count) = (number("REPLICA_START").unwrap_or(1), number("REPLICA_SEEDS").unwrap_or(SEEDS));
    for seed in (start..start + count).filter(|seed| seed % 2 == half) {
        let mut world = chaos::world(seed);
        if catch_unwind(AssertUnwindSafe(|| chaos::run(&mut world))).is_err() {
            let (story, now_us) = (world.story.join("\n"), world.now_us);
            let again = format!("REPLICA_START={seed} REPLICA_SEEDS=1 cargo test --test replica");
            panic!("seed {seed} failed after {now_us} us:\n{story}\nrerun: {again}");
        }
        let totals = world.totals();
        sum.acked += totals.acked;
        sum.crashes += totals.crashes;
        sum.leaders += totals.leaders;
        sum.fetches += totals.fetches;
        sum.dropped += totals.dropped;
        sum.slow += totals.slow;
        sum.virtual_ms += totals.virtual_ms;
    }
    sum
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

#[test]
fn even_seeds_keep_every_promise() {
    println!("{:?}", run_half(0));
}

#[test]
fn odd_seeds_keep_every_promise() {
    println!("{:?}", run_half(1));
}

#[test]
fn two_runs_of_one_seed_are_identical() {
    for seed in 1..=20 {
        let runs = [(); 2].map(|()| {
            let mut world = chaos::world(seed);
            chaos::run(&mut world);
            (world.story, world.now_us, world.truth.committed())
        });
        assert_eq!(runs[0], runs[1], "two runs of seed {seed} differ");
    }
}
