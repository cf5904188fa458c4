//! Cubes in which three nodes keep each topic: what clients see while nodes are killed, stopped and started again.
//!
//! REPLICATED_ROUNDS and REPLICATED_SEED set the number of kills and their moments; `scripts/crash_test.sh
//! --replicated` kills many times. How long clients waited is printed and not asserted, because it depends on the
//! machine.

mod clients;

use std::fs;
use std::time::Duration;

use dht_client::{Batch, Client, Deadline, Item, Retention, Start};
use dht_node::wire::{Request, Response, Status};
use fastrand::Rng;

use crate::cube::Cube;
use crate::daemon::{PATIENCE, pause, wait_for};
use crate::durable::EVERYTHING;
use crate::requests::{fetch, publish, record};
use clients::live;

/// Default number of kills.
const ROUNDS: u64 = 4;

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

/// The nodes keep 256 MiB of their logs. Once that has turned over, an empty folder is filled with the topics, and not
/// with the log.
#[test]
fn a_lost_disk_is_replaced_when_the_logs_of_the_others_no_longer_begin_at_the_first_entry() {
    const GROUPS: usize = 3;
    const RECORD: usize = 1_000_000;
    const KEPT: u64 = 48;
    let mut cube = start();
    let (old, kept) = (cube.topic_at(1, "old"), cube.topic_at(1, "kept"));
    let record = |number: u64| number.to_be_bytes().repeat(RECORD / 8);
    {
        let mut client = cube.client_of(&[0, 3]);
        client.create(&old, Retention { bytes: 8 << 20, ..EVERYTHING }).unwrap();
        client.create(&kept, EVERYTHING).unwrap();
        let mut fill = |topic: &str, count: u64| {
            let mut producer = client.producer(topic).unwrap();
            for number in 0..count {
                producer.send(Batch::of(&record(number))).unwrap();
            }
            producer.flush().unwrap();
        };
        fill(&old, 330);
        fill(&kept, KEPT);
    }
    let summary = live(&mut cube, |cube| {
        cube.kill(1);
        fs::remove_dir_all(cube.data(1)).unwrap();
        cube.restart(1);
        cube.wait_linked();
        wait_for("a copy has begun", || (cube.counter(1, "groups_copying") > 0).then_some(()));
        let leader = cube.client_of(&[0, 2, 3]).query(&kept).unwrap().copies.unwrap().leader;
        cube.kill(leader);
        pause(Duration::from_millis(1500));
        cube.restart(leader);
        cube.wait_linked();
        wait_for("the node has its copies", || {
            (cube.daemon(1).logged("this node has all topics of slot") == GROUPS).then_some(())
        });
        assert!(cube.counter(1, "copies") > 0);
    });
    // The node with the new disk leads its topics, and answers from its own copy.
    let mut client = cube.client_of(&[2]);
    wait_for("the home leads", || (client.query(&kept).unwrap().copies.unwrap().leader == 1).then_some(()));
    let mut expected = 0;
    for item in client.records(&kept, Start::Earliest).unwrap() {
        let found = match item.unwrap() {
            Item::Record(found) => found,
            Item::Notice(_) => continue,
            other @ (Item::Gap { .. } | Item::Lost { .. }) => panic!("{other:?}"),
        };
        assert!(found.value[..] == record(expected)[..], "record {expected}");
        expected += 1;
    }
    assert_eq!(expected, KEPT);
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

/// Returns the values of all records of a topic.
pub(crate) fn values(client: &mut Client, topic: &str) -> Vec<Vec<u8>> {
    let value = |item: Item| match item {
        Item::Record(message) => message.value.to_vec(),
        other @ (Item::Gap { .. } | Item::Lost { .. } | Item::Notice(_)) => panic!("{other:?}"),
    };
    client.records(topic, Start::Earliest).unwrap().map(|item| value(item.unwrap())).collect()
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}
