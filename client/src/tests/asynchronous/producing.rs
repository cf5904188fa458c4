//! A producer that collects records into batches by itself.

use std::time::Duration;

use dht_protocol::types::{Offset, ProducerId, TopicId};
use dht_protocol::wire::request::Sequenced;
use dht_protocol::wire::response::{Detail, OpenedProducer};
use dht_protocol::wire::{Opcode, Request, Response, Status};

use super::sharing::run;
use crate::fake::{Asked, Fake, Peer, published};
use crate::tokio::{Acknowledgement, Client, Producer};
use crate::{Batch, Error, Record};

/// Returns the sequence and the number of records of a PUBLISH.
fn args(asked: &Asked) -> (Sequenced, u32) {
    let Request::Publish(publish) = asked.request() else { panic!("PUBLISH is decoded as PUBLISH") };
    (publish.producer.expect("a producer has sequences"), publish.count)
}

/// Reads a PUBLISH with this sequence and this many records.
fn expect(peer: &mut Peer, sequence: u64, count: u32) -> Asked {
    let asked = peer.expect(Opcode::Publish);
    let (found, records) = args(&asked);
    assert_eq!((found.sequence, records), (sequence, count));
    asked
}

fn acknowledge(peer: &mut Peer, asked: &Asked, base: u64) {
    peer.answer(asked, &published(base, args(asked).1, false));
    peer.flush();
}

async fn send(producer: &Producer, value: &[u8]) -> Acknowledgement {
    producer.send(&Record { value, ..Record::default() }).await.unwrap()
}

fn client(fake: &Fake) -> Client {
    Client::unconnected(fake.builder().only_listed())
}

#[test]
fn what_is_sent_while_a_batch_is_unanswered_leaves_with_the_next_one() {
    let fake = Fake::play(vec![Box::new(|peer| {
        peer.greet();
        let asked = expect(peer, 0, 3);
        acknowledge(peer, &asked, 10);
        let asked = expect(peer, 1, 1);
        // The client sends two more records before it lets this batch be acknowledged.
        acknowledge(peer, &asked, 20);
        let asked = expect(peer, 2, 2);
        acknowledge(peer, &asked, 30);
        peer.wait_for_end();
    })]);
    run(async {
        let producer = client(&fake).producer("t").start().unwrap();
        // The task has not run before these are queued.
        let sent = [send(&producer, b"a").await, send(&producer, b"b").await, send(&producer, b"c").await];
        for (offset, acknowledgement) in (10..).zip(sent) {
            assert_eq!(acknowledgement.await.unwrap(), Offset(offset));
        }
        let first = send(&producer, b"d").await;
        ::tokio::task::yield_now().await; // it leaves
        let others = [send(&producer, b"e").await, send(&producer, b"f").await];
        assert_eq!(first.await.unwrap(), Offset(20));
        for (offset, acknowledgement) in (30..).zip(others) {
            assert_eq!(acknowledgement.await.unwrap(), Offset(offset));
        }
        drop(producer);
    });
    fake.finish();
}

#[test]
fn full_batches_do_not_wait_and_a_linger_delays_the_others() {
    let linger = Duration::from_millis(20);
    let fake = Fake::play(vec![Box::new(|peer| {
        peer.greet();
        // A batch holds two records of 100 bytes.
        let full: Vec<_> = (0..3).map(|sequence| expect(peer, sequence, 2)).collect();
        for (base, asked) in (0..).step_by(2).zip(&full) {
            acknowledge(peer, asked, base);
        }
        let asked = expect(peer, 3, 1);
        acknowledge(peer, &asked, 6);
        peer.wait_for_end();
    })]);
    run(async {
        let producer = client(&fake).producer("t").batch_bytes(250).linger(linger).start().unwrap();
        let mut sent = Vec::new();
        for _ in 0..7 {
            sent.push(send(&producer, &[b'x'; 100]).await);
        }
        for (offset, acknowledgement) in (0..).zip(sent) {
            assert_eq!(acknowledgement.await.unwrap(), Offset(offset));
        }
    });
    fake.finish();
}

#[test]
fn batches_of_a_lost_connection_are_sent_again_and_records_sent_before_the_end_are_stored() {
    let second = |peer: &mut Peer| {
        peer.greet();
        let asked = expect(peer, 0, 2);
        acknowledge(peer, &asked, 5);
        peer.wait_for_end();
    };
    let first = |peer: &mut Peer| {
        peer.greet();
        expect(peer, 0, 2);
    };
    let fake = Fake::play(vec![Box::new(first), Box::new(second)]);
    run(async {
        let producer = client(&fake).producer("t").start().unwrap();
        let sent = [send(&producer, b"a").await, send(&producer, b"b").await];
        drop(producer);
        for (offset, acknowledgement) in (5..).zip(sent) {
            assert_eq!(acknowledgement.await.unwrap(), Offset(offset));
        }
    });
    fake.finish();
}

#[test]
fn an_error_fails_what_is_unacknowledged_and_later_records_have_a_new_producer() {
    let fake = Fake::play(vec![Box::new(|peer| {
        peer.greet();
        let asked: Vec<_> = (0..3).map(|sequence| expect(peer, sequence, 1)).collect();
        peer.refuse(&asked[1], Status::Quota, 0, Vec::new());
        peer.refuse(&asked[2], Status::SequenceGap, 0, vec![Detail::ExpectedSequence(1)]);
        // The answer to the first batch comes last, and counts.
        acknowledge(peer, &asked[0], 0);
        let again = expect(peer, 0, 1);
        assert_ne!(args(&again).0.producer, args(&asked[0]).0.producer);
        acknowledge(peer, &again, 1);
        peer.wait_for_end();
    })]);
    run(async {
        let producer = client(&fake).producer("t").batch_bytes(1).start().unwrap();
        let (first, second, third) =
            (send(&producer, b"a").await, send(&producer, b"b").await, send(&producer, b"c").await);
        assert_eq!(first.await.unwrap(), Offset(0));
        for refused in [second, third] {
            let error = refused.await.unwrap_err();
            assert!(error.status() == Some(Status::Quota) && !error.may_be_done(), "{error:?}");
        }
        assert_eq!(send(&producer, b"d").await.await.unwrap(), Offset(1));
    });
    fake.finish();
}

#[test]
fn a_record_whose_batch_got_no_answer_fails_as_unknown_whatever_the_error_of_a_later_one_is() {
    let fake = Fake::play(vec![Box::new(|peer| {
        peer.greet();
        let asked: Vec<_> = (0..3).map(|sequence| expect(peer, sequence, 1)).collect();
        peer.refuse(&asked[1], Status::Quota, 0, Vec::new());
        peer.flush();
    })]);
    run(async {
        let producer = client(&fake).producer("t").batch_bytes(1).start().unwrap();
        let sent = [send(&producer, b"a").await, send(&producer, b"b").await, send(&producer, b"c").await];
        for (acknowledgement, expected) in sent.into_iter().zip([Status::OutcomeUnknown, Status::Quota, Status::Quota])
        {
            let error = acknowledgement.await.unwrap_err();
            assert_eq!((error.status(), error.may_be_done()), (Some(expected), expected != Status::Quota), "{error}");
        }
    });
    fake.finish();
}

#[test]
fn a_producer_without_a_server_fails_its_records_in_time() {
    let fake = Fake::play(Vec::new());
    let builder = fake.builder().timeout(Duration::from_millis(200));
    fake.finish(); // from now on, its port refuses connections
    run(async {
        let producer = Client::unconnected(builder).producer("t").start().unwrap();
        let sent = [send(&producer, b"a").await, send(&producer, b"b").await];
        for acknowledgement in sent {
            assert!(matches!(acknowledgement.await.unwrap_err(), Error::Connect { .. }));
        }
        assert!(producer.send_batch(Batch::new()).await.is_err());
    });
}

#[test]
fn a_named_producer_resumes_where_it_was_and_ends_with_its_first_error() {
    let name = ProducerId::of_name("day.csv");
    let fake = Fake::play(vec![
        Box::new(move |peer| {
            peer.greet();
            let asked = peer.expect(Opcode::Producer);
            let Request::Producer { opening, .. } = asked.request() else { panic!("PRODUCER is decoded as PRODUCER") };
            assert_eq!((opening.producer, opening.resume), (name, true));
            let topic_id = TopicId::new(7).unwrap();
            let opened = OpenedProducer { topic_id, epoch: 4, sequence: 1, records: 7, forgotten: 0 };
            peer.answer(&asked, &Response::Opened(opened));
            peer.flush();
            peer.wait_for_end();
        }),
        Box::new(move |peer| {
            peer.greet();
            let asked = expect(peer, 1, 1);
            assert_eq!(args(&asked).0, Sequenced { producer: name, epoch: 4, sequence: 1 });
            acknowledge(peer, &asked, 7);
            let asked = expect(peer, 2, 1);
            peer.refuse(&asked, Status::ProducerFenced, 0, Vec::new());
            peer.flush();
            peer.wait_for_end();
        }),
    ]);
    run(async {
        let (producer, opened) = client(&fake).producer("t").open("day.csv", true).await.unwrap();
        assert_eq!(opened.records, 7);
        assert_eq!(send(&producer, b"8").await.await.unwrap(), Offset(7));
        // The second one is sent when another program has opened the name.
        for value in [b"9", b"a"] {
            let error = send(&producer, value).await.await.unwrap_err();
            assert_eq!(error.status(), Some(Status::ProducerFenced));
        }
    });
    fake.finish();
}
