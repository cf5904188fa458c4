//! The state of topics, offsets, producers and subscriptions after a restart.

use std::fs;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use dht_client::{Batch, Durability, Retention, Start, TopicState};
use dht_node::types::{Epoch, Offset, ProducerId, TopicName};
use dht_node::wire::request::{Fetch, Publish, Sequenced, Topic};
use dht_node::wire::response::{Detail, Fetched, Published};
use dht_node::wire::{Request, Response, Status};

use super::acked::{self, EVERYTHING, Stopping, Truth};
use crate::cube::Cube;
use crate::daemon::{pause, wait_for};
use crate::raw::Raw;
use crate::requests::record;

/// The way in which a node is stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Kill,
    Term,
}

impl End {
    /// Stops the node and starts it again.
    fn restart(self, cube: &mut Cube, node: u16) {
        match self {
            Self::Kill => cube.kill(node),
            Self::Term => cube.stop(node),
        }
        cube.restart(node);
    }
}

#[test]
fn topics_are_unchanged_by_a_restart_however_the_node_was_stopped() {
    let mut cube = Cube::start(0);
    let mut client = cube.client(0);
    let publish = |client: &mut dht_client::Client, topic: &str, count: u64| {
        (0..count).for_each(|_| assert!(client.publish(topic, &Batch::of(b"record")).is_ok()));
    };
    let few = Retention { records: 10, ..Retention::default() };
    let young = Retention { age_ms: 300, ..Retention::default() };
    for (topic, retention) in [("few", few), ("young", young), ("all", EVERYTHING), ("gone", few), ("again", few)] {
        client.create(topic, retention).unwrap();
        publish(&mut client, topic, 25);
    }
    let id_before = client.delete("again").unwrap();
    client.delete("gone").unwrap();
    client.create("again", EVERYTHING).unwrap();
    let age_out = |client: &mut dht_client::Client| {
        wait_for("the records of `young` expire", || {
            let state = client.info("young").unwrap().topic.unwrap();
            (state.first == state.next).then_some(())
        });
    };
    age_out(&mut client);
    let names = ["few", "young", "all", "again"];
    let states = |client: &mut dht_client::Client| -> Vec<TopicState> {
        names.iter().map(|name| client.info(name).unwrap().topic.unwrap()).collect()
    };
    // Both ways, each after the other and after itself: with and without a checkpoint of the latest records.
    for (round, end) in (1..).zip([End::Kill, End::Kill, End::Term, End::Term, End::Kill, End::Term]) {
        let before = states(&mut client);
        end.restart(&mut cube, 0);
        assert_eq!(states(&mut client), before, "{end:?}");
        assert_eq!(client.info("gone").unwrap_err().status(), Some(Status::UnknownTopic), "{end:?}");
        assert_ne!(before[3].id, id_before, "a recreated topic has another id");
        let next = 25 + 3 * (round - 1);
        assert_eq!([before[0].first, before[0].next], [Offset(next - 10), Offset(next)], "{end:?}");
        assert_eq!([before[1].first, before[1].next], [Offset(next); 2], "offsets continue, {end:?}");
        names.iter().for_each(|topic| publish(&mut client, topic, 3));
        age_out(&mut client);
    }
    // The deleted topic stays deleted: its name is free for a new topic.
    assert!(!client.create("gone", EVERYTHING).unwrap().1);
    End::Kill.restart(&mut cube, 0);
    assert_eq!(client.info("gone").unwrap().topic.unwrap().next, Offset(0));
}

#[test]
fn a_batch_that_is_retried_after_a_restart_is_recognised_as_a_duplicate() {
    let mut cube = Cube::start(0);
    cube.create("topic");
    let send = |cube: &Cube, sequence: u64| {
        let topic = Topic { name: TopicName::new("topic").unwrap(), id: None };
        let producer = Some(Sequenced { producer: ProducerId::new(9).unwrap(), epoch: 0, sequence });
        let request = Request::Publish(Publish { topic, producer, count: 1 });
        match Raw::greet(cube.address(0)).call(&request, &record(&sequence.to_be_bytes())) {
            Response::Published(Published { duplicate, base, .. }) => (duplicate, base.0),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!([send(&cube, 0), send(&cube, 1)], [(false, 0), (false, 1)]);
    for (next, end) in (2..).zip([End::Kill, End::Term, End::Kill]) {
        end.restart(&mut cube, 0);
        assert_eq!(send(&cube, next - 1), (true, next - 1), "{end:?}");
        assert_eq!(send(&cube, next), (false, next), "{end:?}");
        assert_eq!(send(&cube, 0), (true, 0), "{end:?}");
    }
}

/// After a crash with `--sync interval` nobody can know whether the last records were lost, so the epoch changes, and
/// offsets of the old epoch are refused.
#[test]
fn offsets_stay_valid_after_a_restart_unless_records_may_be_lost() {
    use Durability::{Interval, Memory, Synced};
    let cases: [(&[&str], Durability, End, u32); 5] = [
        (&["--sync", "always"], Synced, End::Kill, 1),
        (&["--sync", "interval=20ms"], Interval, End::Term, 1),
        (&["--sync", "interval=1min"], Interval, End::Kill, 2),
        (&[], Synced, End::Kill, 2),
        (&["--sync", "interval=20ms"], Interval, End::Kill, 3),
    ];
    let mut cube = Cube::start(0);
    cube.create("topic");
    let mut epoch = 1;
    for (options, durability, end, epoch_after) in cases {
        cube.stop(0);
        cube.change(options, &[]);
        cube.restart(0);
        let mut client = cube.client(0);
        let published = client.publish("topic", &Batch::of(b"record")).unwrap();
        assert_eq!((published.durability, published.epoch), (durability, Epoch(epoch)), "{options:?}");
        assert_eq!(client.info("topic").unwrap().topic.unwrap().durability, durability, "{options:?}");
        end.restart(&mut cube, 0);
        let answer = Raw::greet(cube.address(0)).call(&fetch_of(epoch, published.base), &[]);
        if epoch == epoch_after {
            let Response::Fetched(fetched) = answer else { panic!("{options:?}, {end:?}: {answer:?}") };
            let Fetched { epoch: found, count, .. } = *fetched;
            assert_eq!((found, count), (Epoch(epoch), 1), "{options:?}, {end:?}");
        } else {
            let Response::Error(error) = answer else { panic!("{options:?}, {end:?}: {answer:?}") };
            assert_eq!(error.status, Status::Truncated.number(), "{error:?}");
            assert!(error.details.contains(&Detail::Epoch(Epoch(epoch_after))), "{error:?}");
            // Nothing was lost in fact, because the page cache outlives the process.
            assert!(error.details.contains(&Detail::Next(published.base.plus(1))), "{error:?}");
        }
        epoch = epoch_after;
        let warnings = cube.daemon(0).logged("may be lost");
        assert_eq!(warnings, epoch as usize - 1, "one warning for each start that may have lost records");
    }
    let in_memory = Cube::start_with(0, &["--in-memory"]);
    in_memory.create("topic");
    let mut client = in_memory.client(0);
    assert_eq!(client.publish("topic", &Batch::of(b"record")).unwrap().durability, Memory);
    assert_eq!(client.info("topic").unwrap().topic.unwrap().durability, Memory);
}

#[test]
fn subscriptions_resume_when_the_home_is_killed_and_restarted() {
    const KILLS: u32 = 4;
    let mut cube = Cube::start(1);
    let topic = cube.topic_at(1, "subscribed");
    cube.client(1).create(&topic, EVERYTHING).unwrap();
    let (stop, end) = (AtomicBool::new(false), AtomicU64::new(u64::MAX));
    let (sender, reports) = mpsc::channel();
    let mut truth = Truth::new(topic.clone(), reports);
    thread::scope(|scope| {
        let stopping = Stopping(&stop, &end);
        // One subscriber at the home, one at the other node, and one that may use both.
        for nodes in [&[1][..], &[0], &[1, 0]] {
            let (topic, mut client, end) = (&topic, cube.client_of(nodes), &end);
            scope.spawn(move || acked::follow(topic, &mut client, end));
        }
        let writers = [0, 1].map(|node| {
            let (topic, mut client, stop, sender) = (&topic, cube.client(node), &stop, sender.clone());
            scope.spawn(move || acked::write(node.into(), topic, &mut client, stop, &sender))
        });
        for _ in 0..KILLS {
            pause(Duration::from_millis(100));
            End::Kill.restart(&mut cube, 1);
            cube.wait_linked();
        }
        drop(stopping);
        writers.into_iter().for_each(|writer| writer.join().unwrap());
        end.store(cube.client(1).info(&topic).unwrap().topic.unwrap().next.0, Ordering::Relaxed);
    });
    let found = truth.check(&mut cube.client(0));
    assert_eq!(found.acked, found.batches);
}

#[test]
fn a_node_with_in_memory_storage_leaves_no_files() {
    let mut cube = Cube::start_with(0, &["--in-memory"]);
    let default = fs::exists("dht-data").unwrap();
    let mut client = cube.client(0);
    client.create("topic", EVERYTHING).unwrap();
    (0..8).for_each(|_| assert!(client.publish("topic", &Batch::of(&[7; 1 << 19])).is_ok()));
    End::Term.restart(&mut cube, 0);
    assert_eq!(client.info("topic").unwrap_err().status(), Some(Status::UnknownTopic));
    let mut names: Vec<_> =
        fs::read_dir(cube.folder()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    assert_eq!(names, ["0.log", "peers"]);
    assert_eq!(fs::exists("dht-data").unwrap(), default, "nor does it create the default folder of the journal");
}

/// Returns a FETCH of one record at an offset of an epoch.
fn fetch_of(epoch: u32, offset: Offset) -> Request<'static> {
    let topic = Topic { name: TopicName::new("topic").unwrap(), id: None };
    let start = Start::Offset(offset);
    Request::Fetch(Fetch { topic, epoch: Some(Epoch(epoch)), start, max_bytes: 0, max_records: 1, max_wait_ms: 0 })
}
