//! What only the asynchronous client does: many tasks share a connection, and futures are dropped.

use std::future::Future;
use std::time::Duration;

use ::tokio::runtime;
use dht_protocol::types::ProducerId;
use dht_protocol::wire::{Opcode, Request};

use crate::fake::{Fake, Peer, Unused, deliver, fetched, published, subscribed};
use crate::tokio::Client;
use crate::{Batch, Builder, Error, Item, Offset, Record, Start};

pub(super) fn run<T>(test: impl Future<Output = T>) -> T {
    runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(test)
}

/// Reads this many PUBLISHes, and answers them in reverse with the number in the record as the offset.
fn store_in_reverse(peer: &mut Peer, count: usize) {
    let mut asked: Vec<_> = (0..count).map(|_| peer.expect(Opcode::Publish)).collect();
    while let Some(asked) = asked.pop() {
        let number = u64::from(*asked.payload.last().unwrap());
        peer.answer(&asked, &published(number, 1, false));
    }
    peer.flush();
}

#[test]
fn many_tasks_have_requests_in_flight_on_one_connection() {
    let fake = Fake::play(vec![Box::new(|peer| {
        peer.greet();
        store_in_reverse(peer, 100);
        peer.wait_for_end();
    })]);
    run(async {
        let client = fake.builder().connect_tokio().await.unwrap();
        let task = |number: u8| {
            let client = client.clone();
            ::tokio::spawn(async move { client.publish("t", &Batch::of(&[number])).await })
        };
        let tasks: Vec<_> = (0..100).map(task).collect();
        for (number, task) in (0..).zip(tasks) {
            assert_eq!(task.await.unwrap().unwrap().base, Offset(number));
        }
    });
    fake.finish();
}

#[test]
fn a_dropped_future_abandons_its_request_only() {
    let fake = Fake::play(vec![Box::new(|peer| {
        peer.greet();
        let abandoned = peer.expect(Opcode::Fetch);
        let asked = peer.expect(Opcode::Publish);
        peer.answer(&abandoned, &fetched(0, 0, 1, b"a"));
        peer.answer(&asked, &published(3, 1, false));
        peer.flush();
        peer.wait_for_end();
    })]);
    run(async {
        let client = fake.builder().connect_tokio().await.unwrap();
        let waiting = ::tokio::spawn({
            let client = client.clone();
            async move { client.fetch_wait("t", Start::Next, 0, Duration::from_secs(30)).await }
        });
        ::tokio::task::yield_now().await; // FETCH is sent first
        waiting.abort();
        assert!(waiting.await.unwrap_err().is_cancelled());
        assert_eq!(client.publish("t", &Batch::of(b"a")).await.unwrap().base, Offset(3));
        assert_eq!(client.server().unwrap(), fake.address().to_string());
    });
    fake.finish();
}

#[test]
fn the_connection_ends_with_the_last_handle() {
    let fake = Fake::play(vec![Box::new(|peer| {
        peer.greet();
        store_in_reverse(peer, 1);
        peer.wait_for_end();
    })]);
    run(async {
        let client = fake.builder().connect_tokio().await.unwrap();
        let clone = client.clone();
        drop(client);
        clone.publish("t", &Batch::of(&[1])).await.unwrap();
        drop(clone);
        while ::tokio::runtime::Handle::current().metrics().num_alive_tasks() > 0 {
            ::tokio::task::yield_now().await;
        }
    });
    fake.finish();
}

#[test]
fn a_lost_request_of_a_one_shot_producer_is_sent_again_and_others_fail() {
    let first = Fake::play(vec![Box::new(|peer| {
        peer.greet();
        peer.expect(Opcode::Publish);
        peer.expect(Opcode::Publish);
    })]);
    let second = Fake::play(vec![Box::new(|peer| {
        peer.greet();
        let asked = peer.expect(Opcode::Publish);
        let Request::Publish(publish) = asked.request() else { panic!("PUBLISH is decoded as PUBLISH") };
        let sequenced = publish.producer.expect("the batch has a producer");
        assert_eq!((sequenced.producer, sequenced.epoch, sequenced.sequence), (ProducerId::new(9).unwrap(), 0, 0));
        peer.answer(&asked, &published(5, 1, true));
        peer.flush();
        peer.wait_for_end();
    })]);
    run(async {
        let servers = [first.address().clone(), second.address().clone()];
        let client = Builder::default().servers(servers).connect_tokio().await.unwrap();
        let clone = client.clone();
        let sure =
            ::tokio::spawn(async move { clone.publish_as("t", ProducerId::new(9).unwrap(), &Batch::of(b"a")).await });
        let unsure = client.publish("t", &Batch::of(b"b")).await.unwrap_err();
        assert!(matches!(unsure, Error::Lost { .. }) && unsure.may_be_done());
        let published = sure.await.unwrap().unwrap();
        assert!(published.base == Offset(5) && published.duplicate);
    });
    first.finish();
    second.finish();
}

#[test]
fn unreachable_servers_are_an_error_and_connecting_again_is_possible() {
    let fake = Fake::play(vec![Box::new(|peer| {
        peer.greet();
        peer.expect(Opcode::Info);
        peer.expect(Opcode::Info);
        // From now on, its port refuses connections.
    })]);
    run(async {
        let client = fake.builder().only_listed().timeout(Duration::from_millis(500)).connect_tokio().await.unwrap();
        let clone = client.clone();
        let other = ::tokio::spawn(async move { clone.info("t").await });
        assert!(matches!(client.info("t").await.unwrap_err(), Error::Connect { .. }));
        assert!(matches!(other.await.unwrap().unwrap_err(), Error::Connect { .. }));
        assert!(client.server().is_none());
        assert!(matches!(client.ingress().await.unwrap_err(), Error::Connect { .. }));
    });
    fake.finish();
    let silent = Unused::new();
    run(async {
        let builder = Builder::default().server(silent.address()).timeout(Duration::from_millis(100));
        assert!(Client::connect("nowhere:1,,").await.is_err());
        assert!(matches!(builder.connect_tokio().await.unwrap_err(), Error::Connect { .. }));
    });
}

#[test]
fn subscribers_and_producers_know_what_their_client_has_learned() {
    let second = Fake::play(vec![
        Box::new(|peer| {
            peer.greet();
            let asked = peer.expect(Opcode::Subscribe);
            peer.answer(&asked, &subscribed(0));
            peer.push(asked.id, &deliver(0, b"a"));
            peer.flush();
            peer.answer_only_pings();
        }),
        Box::new(|peer| {
            peer.greet();
            store_in_reverse(peer, 1);
            peer.wait_for_end();
        }),
    ]);
    let known = [second.address().clone()];
    let first = Fake::play(vec![Box::new(move |peer| {
        peer.greet();
        peer.knows(&known);
        store_in_reverse(peer, 1);
    })]);
    run(async {
        let client = first.builder().connect_tokio().await.unwrap();
        client.publish("t", &Batch::of(&[1])).await.unwrap();
        first.finish(); // from now on, its port refuses connections
        let mut subscriber = client.subscribe(&["t"], Start::Earliest).await.unwrap();
        assert!(matches!(subscriber.next().await.unwrap().unwrap().item.unwrap(), Item::Record(_)));
        drop(subscriber);
        let producer = client.producer("t").start().unwrap();
        let record = Record { value: &[2], ..Record::default() };
        assert_eq!(producer.send(&record).await.unwrap().await.unwrap(), Offset(2));
    });
    second.finish();
}
