//! Retention, and the memory limit of a node.

use std::net::Ipv4Addr;

use dht_client::{Batch, Client, Item, Retention, Start};
use dht_node::limits::TOPIC_NAME_MAX;
use dht_node::types::{Offset, Opening, ProducerId, Sequenced, TopicName};
use dht_node::wire::request::{Publish, Topic};
use dht_node::wire::response::Detail;
use dht_node::wire::{Request, Status};

use crate::cube::Cube;
use crate::daemon::wait_for;
use crate::raw::{Raw, client_hello, hello_frame};
use crate::requests::record;

#[test]
fn a_full_node_refuses_publishes_with_advice_and_still_serves_the_rest() {
    let cube = Cube::start_with(1, &["--in-memory", "--memory", "1MiB"]);
    let (full, more) = (cube.topic_at(1, "full"), cube.topic_at(1, "more"));
    // Ask through the other node: it is the home that is full.
    let mut client = cube.client(0);
    client.create(&full, Retention::default()).unwrap();
    let batch = Batch::of(&[7; 100_000]);
    let stored = (0..20).take_while(|_| client.publish(&full, &batch).is_ok()).count();
    assert_eq!(stored, 10, "ten records of 100 kB fit into 1 MiB");

    let error = client.publish(&full, &batch).unwrap_err();
    assert_eq!((error.status(), error.is_retryable()), (Some(Status::Quota), false), "{error}");
    let refusal = error.refusal().unwrap();
    assert!(refusal.details.contains(&Detail::Limit(1 << 20)), "{refusal:?}");
    for hint in ["node 1", "delete topics", "retention"] {
        assert!(refusal.message.contains(hint), "{hint} is not in {refusal:?}");
    }
    // Small records still fit, and reads always work.
    client.publish(&full, &Batch::of(b"small")).unwrap();
    assert_eq!(values(&mut client, &full).len(), stored + 1);
    assert_eq!(client.info(&full).unwrap().topic.unwrap().next, Offset(11));
    let elsewhere = cube.topic_at(0, "elsewhere");
    client.create(&elsewhere, Retention::default()).unwrap();
    client.publish(&elsewhere, &batch).unwrap();

    client.create(&more, Retention::default()).unwrap();
    assert_eq!(client.publish(&more, &batch).unwrap_err().status(), Some(Status::Quota));
    client.delete(&full).unwrap();
    assert_eq!(client.info(&full).unwrap_err().status(), Some(Status::UnknownTopic));
    let stored = (0..20).take_while(|_| client.publish(&more, &batch).is_ok()).count();
    assert_eq!(stored, 10, "the memory of the deleted topic is available again");
}

#[test]
fn what_topics_and_producers_take_of_the_process_is_counted() {
    let mut cube = Cube::start_with(0, &["--in-memory"]);
    let mut raw = Raw::greet(cube.address(0));
    let long = |number: usize| format!("{number:n>TOPIC_NAME_MAX$}");
    let retention = Retention::default();
    let create = |raw: &mut Raw, name: &str| {
        let created = raw.call(&Request::Create { topic: TopicName::new(name).unwrap(), retention }, b"");
        assert_eq!(created.status(), Status::Ok.number());
    };
    let batch = |raw: &mut Raw, producer: u64, sequence: u64| {
        let producer = Some(Sequenced { producer: ProducerId::new(producer).unwrap(), epoch: 0, sequence });
        let topic = Topic { name: TopicName::new("t").unwrap(), id: None };
        let published = raw.call(&Request::Publish(Publish { topic, producer, count: 1 }), &record(b"x"));
        assert_eq!(published.status(), Status::Ok.number());
    };
    let open = |raw: &mut Raw, producer: u64| {
        let opening = Opening { producer: ProducerId::new(producer).unwrap(), token: 1, resume: false };
        let topic = Topic { name: TopicName::new("t").unwrap(), id: None };
        assert_eq!(raw.call(&Request::Producer { topic, opening }, b"").status(), Status::Ok.number());
    };
    create(&mut raw, "t");
    (1..1000).for_each(|producer| batch(&mut raw, producer << 40, 0));
    let fill_topics = |raw: &mut Raw| (0..20_000).for_each(|number| create(raw, &long(number)));
    // Fills the table of producers with one batch, then that of producers with more, then most of that of opened ones.
    let fill_producers = |raw: &mut Raw| {
        (1..=16_384).for_each(|producer| batch(raw, producer, 0));
        (1..=1024).for_each(|producer| (1..20).for_each(|sequence| batch(raw, 15_000 + producer, sequence)));
        (1..=10_000).for_each(|producer| open(raw, 100_000 + producer));
    };
    let mut check = |name: &str, fill: &dyn Fn(&mut Raw)| {
        let all = ["memory_bytes", name];
        let (before_kib, counted_before) = (cube.daemon(0).memory_kib().0, all.map(|name| cube.counter(0, name)));
        fill(&mut raw);
        let (after_kib, counted) = (cube.daemon(0).memory_kib().0, all.map(|name| cube.counter(0, name)));
        let taken = after_kib.saturating_sub(before_kib) << 10;
        let [bytes, part] = [0, 1].map(|index| counted[index] - counted_before[index]);
        assert!(bytes * 10 >= taken * 9, "{name}: {taken} bytes taken, {bytes} counted");
        assert!(part * 2 > bytes, "{name}: {part} of {bytes}");
    };
    check("memory_topics", &fill_topics);
    check("memory_producers", &fill_producers);
}

#[test]
fn a_node_that_is_full_of_topics_refuses_to_create_more() {
    let cube = Cube::start_with(0, &["--in-memory", "--memory", "1MiB"]);
    let mut client = cube.client(0);
    let name = |index: u32| format!("topic-{index}");
    let made = (0..5000).take_while(|&index| client.create(&name(index), Retention::default()).is_ok()).count();
    assert!((2500..3000).contains(&made), "{made} topics are charged about 400 bytes each");
    assert_eq!(client.create(&name(5000), Retention::default()).unwrap_err().status(), Some(Status::Quota));
    assert!(client.create(&name(3), Retention::default()).unwrap().1, "creating an existing topic still succeeds");
    client.delete(&name(3)).unwrap();
    client.create(&name(5000), Retention::default()).unwrap();
}

#[test]
fn one_address_has_so_many_connections_and_another_has_its_own() {
    let cube = Cube::start_with(0, &["--in-memory", "--clients-per-source", "2"]);
    let (address, source) = (cube.address(0), Ipv4Addr::new(127, 0, 0, 2));
    let greet = || {
        let mut raw = Raw::connect_from(source, address);
        raw.send(&hello_frame(&client_hello()));
        let status = raw.frame().header.status;
        (raw, status)
    };
    let (first, second, third) = (greet(), greet(), greet());
    let statuses = [first.1, second.1, third.1];
    assert_eq!(statuses, [Status::Ok, Status::Ok, Status::TooManyClients].map(Status::number));
    cube.client(0).create("t", Retention::default()).unwrap();
    drop(first);
    wait_for("the end of a connection makes room", || (greet().1 == Status::Ok.number()).then_some(()));
}

#[test]
fn a_topic_retains_as_many_records_and_bytes_as_its_retention_says() {
    let cube = Cube::start(1);
    let mut client = cube.client(0);
    let by_records = Retention { records: 10, ..Retention::default() };
    let by_bytes = Retention { bytes: 1000, ..Retention::default() };
    // A record with a value of one byte takes six bytes, so at most 166 records fit into 1000 bytes.
    for (stem, retention, kept) in [("records", by_records, 10), ("bytes", by_bytes, 166)] {
        let topic = cube.topic_at(1, stem);
        client.create(&topic, retention).unwrap();
        let mut producer = client.producer(&topic).unwrap();
        (0..250).for_each(|_| assert!(producer.send(Batch::of(b"x")).is_ok()));
        producer.flush().unwrap();
        let state = client.info(&topic).unwrap().topic.unwrap();
        assert_eq!((state.first, state.next), (Offset(250 - kept), Offset(250)), "{stem}");
        assert_eq!(state.bytes, kept * 6, "{stem}");
        // A reader from the start first gets the gap, then the remaining records.
        let items: Vec<Item> = client.records(&topic, Start::Offset(Offset(0))).unwrap().map(Result::unwrap).collect();
        assert_eq!(items[0], Item::Gap { from: Offset(0), to: state.first }, "{stem}");
        let offsets = items[1..].iter().map(|item| if let Item::Record(message) = item { message.offset.0 } else { 0 });
        assert!(offsets.eq(250 - kept..250), "{stem}");
    }
    let topic = cube.topic_at(1, "records");
    let error = client.create(&topic, by_bytes).unwrap_err();
    assert_eq!(error.status(), Some(Status::TopicExists), "the topic exists with another retention");
}

#[test]
fn records_expire_by_age_and_offsets_continue() {
    let cube = Cube::start_with(1, &["--retain-age", "300ms", "--retain-records", "1000"]);
    let mut client = cube.client(0);
    let (young, old) = (cube.topic_at(1, "young"), cube.topic_at(1, "old"));
    client.create(&young, Retention::default()).unwrap();
    client.create(&old, Retention { age_ms: 3_600_000, ..Retention::default() }).unwrap();
    for topic in [&young, &old] {
        (0..5).for_each(|_| assert!(client.publish(topic, &Batch::of(b"passing")).is_ok()));
    }
    let state = client.info(&young).unwrap().topic.unwrap();
    assert_eq!((state.retention.age_ms, state.retention.records), (300, 1000), "the node's default");
    let emptied = wait_for("the records are removed", || {
        let state = client.info(&young).unwrap().topic.unwrap();
        (state.first == state.next).then_some(state)
    });
    assert_eq!((emptied.next, emptied.bytes), (Offset(5), 0));
    assert_eq!(client.publish(&young, &Batch::of(b"next")).unwrap().base, Offset(5));
    let kept = client.info(&old).unwrap().topic.unwrap();
    assert_eq!((kept.first, kept.next), (Offset(0), Offset(5)), "it was created with a retention of one hour");
}

/// Returns all records of a topic.
fn values(client: &mut Client, topic: &str) -> Vec<Item> {
    client.records(topic, Start::Earliest).unwrap().map(Result::unwrap).collect()
}
