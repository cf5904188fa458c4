//! kill -9 at random moments under load; after each, everything that was acknowledged is read back.
//!
//! CRASH_ROUNDS and CRASH_SEED choose the number of crashes and their moments; `scripts/crash_test.sh` runs many.

use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use fastrand::Rng;

use super::acked::{self, EVERYTHING, Stopping, Truth};
use crate::cube::Cube;
use crate::daemon::pause;

/// Number of crashes in an ordinary run.
const ROUNDS: u64 = 12;

/// Number of crashes after which the topics are deleted and new ones created.
const LIFE: u64 = 12;

/// The index of the topic that each writer publishes to.
const WRITERS: [usize; 3] = [0, 0, 1];

/// The counters of a run.
#[derive(Debug, Default)]
struct Counts {
    kills: u64,
    kills_while_starting: u64,
    cut: usize,
    batches: usize,
    records: u64,
}

#[test]
fn acknowledged_records_are_stored_exactly_once_after_any_kill() {
    let rounds = number("CRASH_ROUNDS").unwrap_or(ROUNDS);
    let seed = number("CRASH_SEED").unwrap_or_else(|| fastrand::u64(..1 << 32));
    println!("to repeat: CRASH_SEED={seed} CRASH_ROUNDS={rounds} cargo test --test process after_any_kill");
    let (mut rng, mut counts) = (Rng::with_seed(seed), Counts::default());
    let mut cube = Cube::start(0);
    let mut left = rounds;
    for life in 0.. {
        let crashes = left.min(LIFE);
        live(&mut cube, life, &mut counts, |cube, truths, counts| {
            for _ in 0..crashes {
                pause(Duration::from_micros(rng.u64(1..150_000)));
                crash(cube, &mut rng, counts);
                check(cube, truths);
            }
        });
        left -= crashes;
        println!("{counts:?}");
        if left == 0 {
            break;
        }
    }
    let daemon = cube.daemon(0);
    counts.cut = daemon.logged("unfinished records at its end");
    assert_eq!(daemon.logged("may be lost"), 0);
    assert!(!daemon.stderr().contains("ERROR"));
    println!("{counts:?}");
    assert!(counts.batches > 100, "the load was too small");
}

#[test]
fn a_node_that_is_stopped_for_a_second_loses_nothing() {
    let mut cube = Cube::start(0);
    live(&mut cube, 0, &mut Counts::default(), |cube, truths, _| {
        for _ in 0..2 {
            pause(Duration::from_millis(100));
            cube.daemon(0).signal("STOP");
            pause(Duration::from_secs(1));
            cube.daemon(0).signal("CONT");
            check(cube, truths);
        }
    });
}

#[test]
fn a_node_that_is_shut_down_under_load_keeps_everything_and_starts_without_repairs() {
    let mut cube = Cube::start(0);
    live(&mut cube, 0, &mut Counts::default(), |cube, truths, _| {
        for _ in 0..3 {
            pause(Duration::from_millis(100));
            cube.stop(0);
            cube.restart(0);
            check(cube, truths);
        }
    });
    let daemon = cube.daemon(0);
    assert_eq!((daemon.logged("unfinished records at its end"), daemon.logged("may be lost")), (0, 0));
}

/// Lets writers publish and a subscriber read while `happen` runs. Then checks that all records are stored, restarts
/// the node in an orderly way, checks again, and deletes the topics.
fn live(cube: &mut Cube, life: u64, counts: &mut Counts, happen: impl FnOnce(&mut Cube, &mut [Truth], &mut Counts)) {
    let topics = [0, 1].map(|topic| format!("life-{life}-{topic}"));
    let mut client = cube.client(0);
    topics.iter().for_each(|topic| drop(client.create(topic, EVERYTHING).unwrap()));
    let (stop, end) = (AtomicBool::new(false), AtomicU64::new(u64::MAX));
    let mut truths = thread::scope(|scope| {
        let stopping = Stopping(&stop, &end);
        let (senders, mut truths): (Vec<_>, Vec<_>) = topics
            .iter()
            .map(|topic| {
                let (sender, reports) = mpsc::channel();
                (sender, Truth::new(topic.clone(), reports))
            })
            .unzip();
        let mut writers = Vec::new();
        for (writer, topic) in (0..).zip(WRITERS) {
            let (topic, acked, stop, mut client) = (&topics[topic], senders[topic].clone(), &stop, cube.client(0));
            writers.push(scope.spawn(move || acked::write(writer, topic, &mut client, stop, &acked)));
        }
        let (topic, mut reader, end) = (&topics[0], cube.client(0), &end);
        scope.spawn(move || acked::follow(topic, &mut reader, end));
        happen(cube, &mut truths, counts);
        drop(stopping);
        writers.into_iter().for_each(|writer| writer.join().unwrap());
        end.store(cube.client(0).info(topic).unwrap().topic.unwrap().next.0, Ordering::Relaxed);
        truths
    });
    for truth in &mut truths {
        let found = truth.check(&mut client);
        assert_eq!(found.batches, found.acked, "stored and acknowledged batches differ");
        (counts.records, counts.batches) = (counts.records + found.records, counts.batches + found.batches);
    }
    cube.stop(0);
    cube.restart(0);
    check(cube, &mut truths);
    for topic in &topics {
        client.delete(topic).unwrap();
    }
}

/// Checks that everything acknowledged so far is stored.
fn check(cube: &Cube, truths: &mut [Truth]) {
    let mut client = cube.client(0);
    for truth in truths {
        truth.check(&mut client);
    }
}

/// Kills the node and restarts it; sometimes also kills it again while it is starting.
fn crash(cube: &mut Cube, rng: &mut Rng, counts: &mut Counts) {
    const STARTING_US: Range<u64> = 1..60_000;
    cube.kill(0);
    counts.kills += 1;
    while rng.u8(..4) == 0 {
        let daemon = cube.try_start(0);
        pause(Duration::from_micros(rng.u64(STARTING_US)));
        daemon.kill();
        counts.kills_while_starting += 1;
    }
    cube.restart(0);
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}
