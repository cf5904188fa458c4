//! A deterministic simulation of a whole cube: production nodes, production turns and real frames, with virtual time, a
//! seeded network, seeded clients and seeded faults. A seed reproduces a run.
//!
//! | file | what |
//! |---|---|
//! | `profile` | what a seed determines: cluster, network, clients, faults |
//! | `world` | time, the queue of events, the phases of a run |
//! | `storage` | a node's log: in memory, or the production journal on a simulated disk (`tests/support/disk.rs`) |
//! | `host`, `conns` | a node: the production loop over the simulated network, and the checks of its send queues |
//! | `edges` | pushes on links: each link carries a chunk once; lost and delayed pushes |
//! | `network` | byte streams with delay, small buffers, cuts and resets |
//! | `faults` | the faults and their repair |
//! | `client`, `session` | a client and its connection |
//! | `publisher`, `reader`, `admin`, `verifier` | the activities of clients |
//! | `subscriber`, `subscription` | clients that subscribe, and the rules for the next item |
//! | `crowd` | a separate run with ten thousand feeds |
//! | `outage` | a separate run with a node that is unreachable for long |
//! | `hostile`, `attacks` | clients that violate the protocol, and the required reactions |
//! | `check`, `model`, `ground` | whether every response is true; what was published; which nodes and links are up |
//! | `losses` | whether all losses after crashes with interval sync are reported, and nothing else is lost |
//! | `ages` | whether records expire on time, whatever the clocks do |
//! | `gaps` | whether records that subscriptions missed were really removed |
//! | `trace` | the last events, totals, and the fingerprint |
//!
//! SIM_SEED runs one seed with a check after every event; SIM_START and SIM_SEEDS select a range; SIM_STORY=1000 shows
//! that many events of a run that fails.

mod admin;
mod ages;
mod asked;
mod attacks;
mod changes;
mod check;
mod client;
mod conns;
mod copies;
mod craft;
mod crowd;
#[path = "../support/disk.rs"]
#[expect(dead_code, reason = "the test of the journal uses the rest")]
mod disk;
mod edges;
mod faults;
mod frames;
mod gaps;
mod ground;
mod host;
mod hostile;
mod losses;
mod model;
mod names;
mod network;
mod nodes;
mod outage;
mod phases;
mod profile;
mod publisher;
mod reader;
#[path = "../support/records.rs"]
mod records;
mod rot;
mod session;
mod storage;
mod subscriber;
mod subscription;
mod trace;
mod truth;
mod verifier;
mod wire;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};

use host::Care;
use trace::Totals;
use world::World;

/// Number of seeds in an ordinary test run.
const SEEDS: u64 = 2_000;

/// Each half of the seeds is a test, so that two of them run in parallel.
fn run_half(half: u64) -> Totals {
    let mut totals = Totals::default();
    if let Some(seed) = number("SIM_SEED") {
        if half == 0 {
            run(seed, Care::EachEvent, &mut totals);
        }
        return totals;
    }
    let (start, count) = (number("SIM_START").unwrap_or(1), number("SIM_SEEDS").unwrap_or(SEEDS));
    (start..start + count).filter(|seed| seed % 2 == half).for_each(|seed| {
        run(seed, Care::EachTurn, &mut totals);
    });
    totals
}

/// The totals of the halves that have ended.
#[expect(clippy::disallowed_types, reason = "the halves run in parallel, and the one that ends last checks both")]
static TOTALS: std::sync::Mutex<Option<Totals>> = std::sync::Mutex::new(None);

/// Checks what the seeds have shown, once both halves have ended: some events are so rare that one half may have none.
fn check_coverage(of_half: &Totals) {
    let both = {
        let mut both = TOTALS.lock().expect("nothing fails while it is locked");
        let both = both.get_or_insert_default();
        both.add(of_half);
        *both
    };
    both.check_coverage();
}

/// Runs a seed, and returns its fingerprint.
fn run(seed: u64, care: Care, totals: &mut Totals) -> u64 {
    let mut world = World::new(seed, care);
    world.trace.more = number("SIM_STORY").map_or(0, |more| usize::try_from(more).expect("so many"));
    let result = catch_unwind(AssertUnwindSafe(|| world.run()));
    if let Err(panic) = result {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let why = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("a panic without a message");
        let (story, now_us) = (world.trace.story(), world.now_us);
        panic!("seed {seed} failed after {now_us} us:\n{story}\n{why}\n\nrerun: SIM_SEED={seed} cargo test --test sim");
    }
    totals.add(&world.trace.totals);
    world.trace.fingerprint
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

#[test]
fn even_seeds_keep_every_promise() {
    let totals = run_half(0);
    println!("{}", totals.lines());
    check_coverage(&totals);
}

#[test]
fn odd_seeds_keep_every_promise() {
    let totals = run_half(1);
    println!("{}", totals.lines());
    check_coverage(&totals);
}

#[test]
fn ten_thousand_feeds_carry_a_record_each() {
    let mut world = crowd::world();
    world.run();
    assert!(crowd::count_feeds(&world) > 10_000, "{} feeds", crowd::count_feeds(&world));
}

#[test]
fn subscribers_are_notified_once_when_a_home_becomes_unreachable_and_when_it_is_back() {
    for what in outage::ALL {
        outage::check(what);
    }
}

#[test]
fn two_runs_of_one_seed_are_identical() {
    for seed in 1..=5 {
        let runs = [(); 2].map(|()| run(seed, Care::EachTurn, &mut Totals::default()));
        assert_eq!(runs[0], runs[1], "two runs of seed {seed} differ");
    }
}
