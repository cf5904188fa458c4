//! Cubes in which three nodes keep each topic: what clients see while nodes are killed, stopped and started again.
//!
//! REPLICATED_ROUNDS and REPLICATED_SEED set the number of kills and their moments; `scripts/crash_test.sh
//! --replicated` kills many times. How long clients waited is printed and not asserted, because it depends on the
//! machine.

use std::collections::BTreeMap;
use std::fs;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use dht_client::{Batch, Client, Deadline, Item, Producer, Start};
use dht_node::wire::{Request, Response, Status};
use fastrand::Rng;

use crate::cube::Cube;
use crate::daemon::{PATIENCE, pause, wait_for};
use crate::durable::EVERYTHING;
use crate::history::{self, Clock, Request as Done};
use crate::requests::{fetch, publish, record};

/// Default number of kills.
const ROUNDS: u64 = 4;

/// Number of batches that a pipelining writer sends before it waits for their acknowledgements.
const BURST: u64 = 16;

/// Starts a cube of four nodes and four slots. Each node keeps the topics of three slots, and is the home of one.
fn start() -> Cube {
    Cube::start_with(2, &["--replicas", "3"])
}

#[test]
fn acknowledged_records_are_stored_once_whichever_leader_is_killed() {
    let rounds = number("REPLICATED_ROUNDS").unwrap_or(ROUNDS);
    let seed = number("REPLICATED_SEED").unwrap_or_else(|| fastrand::u64(..1 << 32));
    println!("to repeat: REPLICATED_SEED={seed} REPLICATED_ROUNDS={rounds} cargo test --test process whichever_leader");
    let (mut rng, mut cube) = (Rng::with_seed(seed), start());
    let summary = live(&mut cube, |cube| {
        for round in 0..rounds {
            pause(Duration::from_millis(rng.u64(1..600)));
            let topic = cube.topic_at(rng.u16(..4), "life");
            let node = cube.client_of(&[0, 1, 2, 3]).query(&topic).unwrap().copies.unwrap().leader;
            cube.kill(node);
            pause(Duration::from_millis(rng.u64(1..2500)));
            cube.restart(node);
            cube.wait_linked();
            if round % 100 == 99 {
                println!("{} kills", round + 1);
            }
        }
    });
    println!("{rounds} kills, {summary}");
}

#[test]
fn clients_are_told_who_leads_a_topic_and_which_of_its_copies_are_behind() {
    let mut cube = start();
    let topic = cube.topic_at(1, "told");
    let mut client = cube.client_of(&[0, 3]);
    client.create(&topic, EVERYTHING).unwrap();
    let first = client.query(&topic).unwrap().copies.unwrap();
    assert_eq!(first.members.iter().map(|copy| copy.node).collect::<Vec<_>>(), [1, 0, 3], "the home first");
    cube.kill(1);
    let told = |client: &mut Client| client.info(&topic).unwrap().copies.unwrap();
    client.publish(&topic, &Batch::of(b"missed")).unwrap();
    let second = wait_for("the leader reports that the killed node does not answer", || {
        let copies = told(&mut client);
        (!copies.members[0].answers).then_some(copies)
    });
    assert!(second.leader != 1 && second.term > first.term, "{first:?}, then {second:?}");
    assert!(second.members[0].behind > 0, "{second:?}");
    cube.restart(1);
    cube.wait_linked();
    wait_for("no copy is behind any more", || {
        told(&mut client).members.iter().all(|copy| copy.answers && copy.behind == 0).then_some(())
    });
    let cluster = client.cluster().unwrap();
    let groups: Vec<_> = cluster.nodes.iter().map(|member| member.view.as_ref().unwrap().groups.unwrap()).collect();
    assert!(groups.iter().all(|groups| (groups.replicas, groups.kept) == (3, 3)), "{groups:?}");
    assert_eq!(groups.iter().map(|groups| groups.led).sum::<u16>(), 4, "each group has one leader: {groups:?}");
}

#[test]
fn a_node_that_has_lost_its_disk_gets_everything_back_while_clients_publish() {
    const GROUPS: usize = 3;
    let mut cube = start();
    let summary = live(&mut cube, |cube| {
        for (node, before) in [(1, 0), (2, 0), (1, GROUPS)] {
            pause(Duration::from_millis(200));
            cube.kill(node);
            fs::remove_dir_all(cube.data(node)).unwrap();
            cube.restart(node);
            cube.wait_linked();
            wait_for("the node has its copies again", || {
                let complete = cube.daemon(node).logged("this node has all topics of slot");
                (complete == before + GROUPS).then_some(())
            });
        }
    });
    println!("{summary}");
}

#[test]
fn nodes_that_are_restarted_one_after_the_other_lose_nothing() {
    let mut cube = start();
    let summary = live(&mut cube, |cube| {
        for node in 0..4 {
            let mut daemon = cube.take(node);
            daemon.signal("TERM");
            let status = daemon.wait(PATIENCE).expect("it ends");
            assert!(status.success(), "{status}: {}", daemon.stderr());
            cube.restart(node);
            cube.wait_linked();
        }
    });
    println!("{summary}");
}

#[test]
fn leadership_returns_to_a_node_that_is_back() {
    let mut cube = start();
    let topic = cube.topic_at(1, "home");
    let mut client = cube.client_of(&[0, 3]);
    client.create(&topic, EVERYTHING).unwrap();
    let led_by = |client: &mut Client, node: u16, what: &str| {
        wait_for(what, || (client.query(&topic).unwrap().copies.unwrap().leader == node).then_some(()));
    };
    led_by(&mut client, 1, "the home leads");
    cube.daemon(1).signal("TERM");
    cube.take(1).wait(PATIENCE).expect("it ends");
    let leader = client.query(&topic).unwrap().copies.unwrap().leader;
    assert!(leader == 0 || leader == 3, "{leader} leads");
    cube.restart(1);
    led_by(&mut client, 1, "the home leads again");
}

#[test]
fn a_leader_that_is_stopped_for_five_seconds_loses_nothing() {
    let mut cube = start();
    let summary = live(&mut cube, |cube| {
        pause(Duration::from_millis(200));
        cube.daemon(1).signal("STOP");
        pause(Duration::from_secs(5));
        cube.daemon(1).signal("CONT");
        cube.wait_linked();
    });
    println!("{summary}");
}

#[test]
fn with_two_of_three_nodes_down_only_their_topics_stop_and_nothing_is_lost() {
    let mut cube = Cube::start_with(3, &["--replicas", "3"]);
    let topics = [0, 1, 2, 3, 4, 5, 6, 7].map(|home| cube.topic_at(home, "outage"));
    let mut client = cube.client_of(&[0, 3]);
    for topic in &topics {
        client.create(topic, EVERYTHING).unwrap();
        client.publish(topic, &Batch::of(b"before")).unwrap();
    }
    // The topics of 000 are kept by 000, 001 and 010; those of 011 by 011, 010 and 001. All others keep a majority.
    cube.kill(1);
    cube.kill(2);
    let is_stopped = |home| home == 0 || home == 3;
    let mut raw = cube.connection(0);
    for (home, topic) in topics.iter().enumerate() {
        let stops = is_stopped(home);
        // The read comes first: once it is refused, the leader knows that it has lost its majority, and refuses the
        // publish as well.
        let requests: [(Request<'_>, Vec<u8>); 2] =
            [(fetch(topic, 0, 0), Vec::new()), (publish(topic, 1), record(b"during"))];
        for (request, payload) in requests {
            let id = raw.send(&request, &payload).unwrap();
            let answer = raw.receive(Deadline::after(PATIENCE)).unwrap().expect("an answer");
            assert_eq!(answer.id, id);
            match answer.response {
                Response::Error(error) => {
                    let status = Status::from_number(error.status);
                    assert!(stops && status == Some(Status::NoQuorum), "{topic}: {error:?}");
                    assert!(error.message.contains("nothing was done"), "{error:?}");
                }
                other => assert!(!stops, "{topic}: {other:?}"),
            }
        }
    }
    cube.restart(1);
    cube.restart(2);
    cube.wait_linked();
    for (home, topic) in topics.iter().enumerate() {
        let expected: &[&[u8]] =
            if is_stopped(home) { &[b"before", b"after"] } else { &[b"before", b"during", b"after"] };
        client.publish(topic, &Batch::of(b"after")).unwrap();
        for node in 0..8 {
            assert_eq!(values(&mut cube.client(node), topic), expected, "{topic} through node {node}");
        }
    }
}

/// Runs `happen` while writers publish to one topic for each home, subscribers follow the topics, and observers ask for
/// their log end offsets. Asserts that no client gets an error, that the history of each topic is linearizable, and
/// that exactly the acknowledged records can be read through each node in the end. Returns a summary to be printed.
fn live(cube: &mut Cube, happen: impl FnOnce(&mut Cube)) -> String {
    let topics = [0, 1, 2, 3].map(|home| cube.topic_at(home, "life"));
    let mut client = cube.client(0);
    topics.iter().for_each(|topic| drop(client.create(topic, EVERYTHING).unwrap()));
    let (stop, ends) = (AtomicBool::new(false), [0; 4].map(|_| AtomicU64::new(u64::MAX)));
    let clock = Clock::start();
    let (counts, longest, reads) = thread::scope(|scope| {
        let _stopping = Stopping(&stop, &ends);
        let mut writers = Vec::new();
        let (mut readers, mut observers) = (Vec::new(), Vec::new());
        for ((number, topic), end) in (0..).zip(&topics).zip(&ends) {
            // The clients of each topic begin at another node.
            let nodes = [0, 1, 2, 3].map(|index| (index + number) % 4);
            let (mut writer, mut reader, stop) = (cube.client_of(&nodes), cube.client_of(&nodes), &stop);
            let mut observer = cube.client_of(&[3, 2, 1, 0].map(|index| (index + number) % 4));
            let burst = if number % 2 == 0 { 1 } else { BURST };
            writers.push(scope.spawn(move || write(&mut writer, topic, (burst, clock), stop)));
            observers.push(scope.spawn(move || observe(&mut observer, topic, clock, stop)));
            readers.push(scope.spawn(move || follow(&mut reader, topic, end)));
        }
        happen(cube);
        stop.store(true, Ordering::Relaxed);
        let wrote: Vec<Vec<Done>> = writers.into_iter().map(|writer| writer.join().unwrap()).collect();
        for ((reader, end), wrote) in readers.into_iter().zip(&ends).zip(&wrote) {
            end.store(wrote.len() as u64, Ordering::Relaxed);
            reader.join().unwrap();
        }
        let mut reads = 0;
        for ((topic, observer), wrote) in topics.iter().zip(observers).zip(&wrote) {
            let seen = observer.join().unwrap();
            reads += seen.len();
            let wrong = history::contradiction(&[&wrote[..], &seen].concat());
            assert!(wrong.is_none(), "{topic}: the second request did not see the effect of the first: {wrong:?}");
        }
        let waits = wrote.iter().flat_map(|of| of.windows(2).map(|pair| pair[1].answered - pair[0].answered));
        (wrote.iter().map(Vec::len).collect::<Vec<_>>(), waits.max().unwrap_or_default(), reads)
    });
    for (topic, &count) in topics.iter().zip(&counts) {
        assert!(count > 0, "no record was acknowledged");
        for node in 0..4 {
            let mut expected = 0_u64;
            for item in cube.client(node).records(topic, Start::Earliest).unwrap() {
                expected = take(item.unwrap(), expected);
            }
            assert_eq!(expected, count as u64, "{topic} through node {node}: records read, and records acknowledged");
        }
    }
    format!(
        "{counts:?} records acknowledged, {reads} reads; the longest time without an acknowledgement was {longest:?}"
    )
}

/// Publishes numbered records until `stop` is set, in bursts of `burst`. Asserts that the offset of each equals its
/// number, and returns the history of the publishes.
fn write(client: &mut Client, topic: &str, (burst, clock): (u64, Clock), stop: &AtomicBool) -> Vec<Done> {
    let mut producer = client.producer(topic).unwrap();
    let (mut sent, mut acked) = (0_u64, BTreeMap::new());
    let mut history = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        let asked = clock.now();
        for _ in 0..burst {
            producer.send(Batch::of(&sent.to_be_bytes())).unwrap_or_else(|error| panic!("{topic}: {error}"));
            sent += 1;
        }
        producer.flush().unwrap_or_else(|error| panic!("{topic}: {error}"));
        note_acks(&mut producer, &mut acked);
        let answered = clock.now();
        history.extend((sent - burst..sent).map(|found| Done { asked, answered, found, left: found + 1 }));
    }
    assert!(acked.into_iter().eq((0..sent).map(|number| (number, number))), "each is stored once, in order");
    history
}

/// Reads the log end offset of a topic, by INFO and FETCH in turn, until `stop` is set. Returns the history of these
/// reads.
fn observe(client: &mut Client, topic: &str, clock: Clock, stop: &AtomicBool) -> Vec<Done> {
    let mut history = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        let asked = clock.now();
        let end = if history.len() % 2 == 0 {
            client.info(topic).map(|description| description.topic.expect("it exists").next)
        } else {
            client.fetch(topic, Start::Next, 1).map(|fetched| fetched.next)
        };
        let end = end.unwrap_or_else(|error| panic!("{topic}: {error}")).0;
        history.push(Done { asked, answered: clock.now(), found: end, left: end });
        pause(Duration::from_millis(1));
    }
    history
}

fn note_acks(producer: &mut Producer<'_>, acked: &mut BTreeMap<u64, u64>) {
    for ack in producer.acks() {
        let before = acked.insert(ack.sequence, ack.published.base.0);
        assert_eq!(before, None, "batch {} was acknowledged twice", ack.sequence);
    }
}

/// Reads a topic with a subscription, from its start up to the offset `end`, which is set once the writers have
/// stopped.
fn follow(client: &mut Client, topic: &str, end: &AtomicU64) {
    let (mut next, mut patience) = (0, Deadline::after(PATIENCE));
    let mut subscriber = client.subscribe(&[topic], Start::Earliest).unwrap();
    while next < end.load(Ordering::Relaxed) {
        match subscriber.next_within(Duration::from_millis(50)) {
            Ok(Some(delivery)) => {
                next = take(delivery.item.unwrap(), next);
                patience = Deadline::after(PATIENCE);
            }
            Ok(None) => assert!(!patience.is_over(), "{topic}: nothing comes after offset {next}"),
            Err(error) => panic!("{topic}: {error}"),
        }
    }
}

/// Asserts that an item is a notice, or the record with the number `expected` at the same offset. Returns the number of
/// the record that must come next.
fn take(item: Item, expected: u64) -> u64 {
    match item {
        Item::Record(message) => {
            let number = u64::from_be_bytes(message.value[..].try_into().unwrap());
            assert_eq!((message.offset.0, number), (expected, expected), "offset and number");
            expected + 1
        }
        Item::Notice(_) => expected,
        other @ (Item::Gap { .. } | Item::Lost { .. }) => panic!("{other:?}, although no record was removed"),
    }
}

/// Returns the values of all records of a topic.
fn values(client: &mut Client, topic: &str) -> Vec<Vec<u8>> {
    let value = |item: Item| match item {
        Item::Record(message) => message.value.to_vec(),
        other @ (Item::Gap { .. } | Item::Lost { .. } | Item::Notice(_)) => panic!("{other:?}"),
    };
    client.records(topic, Start::Earliest).unwrap().map(|item| value(item.unwrap())).collect()
}

/// Stops the writers and observers when it is dropped, and after a panic the subscribers too: otherwise the scope of
/// their threads would wait for them forever.
struct Stopping<'s>(&'s AtomicBool, &'s [AtomicU64]);

impl Drop for Stopping<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
        if thread::panicking() {
            self.1.iter().for_each(|end| end.store(0, Ordering::Relaxed));
        }
    }
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}
