use std::time::Duration;

use dht_protocol::types::{Offset, ProducerId, TopicId};
use dht_protocol::wire::request::{Opening, Sequenced};
use dht_protocol::wire::response::{Detail, OpenedProducer};
use dht_protocol::wire::{Opcode, Request, Response, Status};

use crate::fake::{Asked, Fake, Peer, Unused, published};
use crate::{Batch, Client, Error, Record};

/// Returns the producer, epoch and sequence of a PUBLISH.
fn sequenced(asked: &Asked) -> Sequenced {
    let Request::Publish(publish) = asked.request() else { panic!("PUBLISH is decoded as PUBLISH") };
    publish.producer.expect("a producer has sequences")
}

/// Reads a PUBLISH, and acknowledges it with its sequence as the offset.
fn store(peer: &mut Peer) -> (ProducerId, u64) {
    let asked = peer.expect(Opcode::Publish);
    let batch = sequenced(&asked);
    assert_eq!(asked.payload, Batch::of(&batch.sequence.to_be_bytes()).payload());
    peer.answer(&asked, &published(batch.sequence, 1, false));
    (batch.producer, batch.sequence)
}

/// Publishes `count` batches, each with its sequence as the value. Returns the offsets in the order of the sequences.
fn publish(client: &mut Client, count: u64) -> Vec<Offset> {
    let mut producer = client.producer("t").unwrap();
    for sequence in 0..count {
        assert_eq!(producer.send(Batch::of(&sequence.to_be_bytes())).unwrap(), sequence);
    }
    producer.flush().unwrap();
    let mut acks: Vec<_> = producer.acks().map(|ack| (ack.sequence, ack.published.base)).collect();
    acks.sort_unstable();
    acks.into_iter().map(|(_, base)| base).collect()
}

fn offsets(count: u64) -> Vec<Offset> {
    (0..count).map(Offset).collect()
}

#[test]
fn batches_are_pipelined_up_to_the_window() {
    let fake = Fake::play(vec![Box::new(|peer| {
        peer.greet();
        let window: Vec<_> = (0..64).map(|_| peer.expect(Opcode::Publish)).collect();
        for asked in &window {
            let batch = sequenced(asked);
            peer.answer(asked, &published(batch.sequence, 1, false));
        }
        peer.flush();
        for _ in 64..100 {
            store(peer);
        }
        peer.flush();
        peer.wait_for_end();
    })]);
    let mut client = fake.client();
    assert_eq!(publish(&mut client, 100), offsets(100));
    drop(client);
    fake.finish();
}

#[test]
fn unacknowledged_batches_are_sent_to_the_next_node_with_the_same_sequences() {
    // Each case: whether the first node freezes, the timeout, and the silence before PING, in milliseconds. In the last
    // case the client must send PING before that silence is over: otherwise it would abandon the node too late.
    for (does_freeze, timeout, ping_after) in [(false, 600_000, 100), (true, 600_000, 100), (true, 1500, 1000)] {
        let first = Fake::play(vec![Box::new(move |peer| {
            peer.greet();
            store(peer);
            peer.flush();
            (0..if does_freeze { 4 } else { 2 }).for_each(|_| drop(peer.expect(Opcode::Publish)));
            if does_freeze {
                peer.expect(Opcode::Ping);
                peer.wait_for_end();
            }
        })]);
        let second = Fake::play(vec![Box::new(|peer| {
            peer.greet();
            let asked = peer.expect(Opcode::Publish);
            let (id, sequence) = (sequenced(&asked).producer, sequenced(&asked).sequence);
            assert_eq!(sequence, 1);
            peer.answer(&asked, &published(1, 1, true)); // a duplicate: the first node had forwarded it
            for expected in 2..5 {
                assert_eq!(store(peer), (id, expected));
            }
            peer.flush();
            peer.wait_for_end();
        })]);
        let servers = [first.address().clone(), second.address().clone()];
        let builder = Client::builder().servers(servers).timeout(Duration::from_millis(timeout));
        let mut client = builder.ping_after(Duration::from_millis(ping_after)).connect().unwrap();
        assert_eq!(publish(&mut client, 5), offsets(5));
        drop(client);
        first.finish();
        second.finish();
    }
}

#[test]
fn the_timeout_covers_all_servers_together_and_a_later_attempt_sends_the_same_batch() {
    let first = Fake::play(vec![Box::new(|peer| {
        peer.greet();
        store(peer);
        peer.flush();
        assert_eq!(sequenced(&peer.expect(Opcode::Publish)).sequence, 1);
        peer.answer_only_pings();
    })]);
    let second = Unused::new();
    let builder = Client::builder().servers([first.address().clone(), second.address()]);
    let mut client = builder.timeout(Duration::from_millis(300)).connect().unwrap();
    let mut producer = client.producer("t").unwrap();
    for sequence in 0_u64..2 {
        producer.send(Batch::of(&sequence.to_be_bytes())).unwrap();
    }
    assert!(matches!(producer.flush().unwrap_err(), Error::TimedOut { .. }));
    second.check();
    assert_eq!((producer.acks().count(), producer.unacknowledged()), (1, 1));
    let second = second.play(vec![Box::new(|peer| {
        peer.greet();
        assert_eq!(store(peer).1, 1);
        peer.flush();
        peer.wait_for_end();
    })]);
    producer.flush().unwrap();
    assert_eq!(producer.acks().map(|ack| ack.sequence).collect::<Vec<_>>(), [1]);
    drop(producer);
    drop(client);
    first.finish();
    second.finish();
}

#[test]
fn after_a_sequence_gap_batches_are_sent_again_from_the_expected_one() {
    let fake = Fake::play(vec![Box::new(|peer| {
        peer.greet();
        store(peer);
        // Batch 1 was lost, so 2 and 3 are refused. Then all three are sent again, starting with 1.
        let asked: Vec<_> = (1..4).map(|_| peer.expect(Opcode::Publish)).collect();
        for refused in &asked[1..] {
            peer.refuse(refused, Status::SequenceGap, 0, vec![Detail::ExpectedSequence(1)]);
        }
        peer.flush();
        for expected in 1..4 {
            assert_eq!(store(peer).1, expected);
        }
        peer.flush();
        peer.wait_for_end();
    })]);
    let mut client = fake.client();
    assert_eq!(publish(&mut client, 4), offsets(4));
    drop(client);
    fake.finish();
}

#[test]
fn temporary_errors_are_retried_and_permanent_ones_are_returned() {
    for (status, is_returned) in [
        (Status::Overloaded, false),
        (Status::OutcomeUnknown, false),
        (Status::Internal, false),
        (Status::UnknownProducer, false),
        (Status::Quota, true),
        (Status::ProducerFenced, true),
    ] {
        let fake = Fake::play(vec![Box::new(move |peer| {
            peer.greet();
            let asked = peer.expect(Opcode::Publish);
            peer.refuse(&asked, status, 10, Vec::new());
            peer.flush();
            assert_eq!(store(peer).1, 0);
            peer.flush();
            peer.wait_for_end();
        })]);
        let mut client = fake.client();
        let mut producer = client.producer("t").unwrap();
        let first = producer.send(Batch::of(&0u64.to_be_bytes())).and_then(|_| producer.flush());
        assert_eq!(first.as_ref().err().and_then(|error| error.status()), is_returned.then_some(status));
        // The batch is still queued, so that the program can retry.
        assert_eq!(producer.unacknowledged(), usize::from(is_returned));
        producer.flush().unwrap();
        assert_eq!(producer.acks().count(), 1);
        drop(producer);
        drop(client);
        fake.finish();
    }
}

#[test]
fn a_batch_that_overtook_the_first_is_sent_again_after_it() {
    let fake = Fake::play(vec![Box::new(|peer| {
        peer.greet();
        let first = peer.expect(Opcode::Publish);
        let second = peer.expect(Opcode::Publish);
        peer.refuse(&second, Status::UnknownProducer, 0, Vec::new());
        peer.refuse(&first, Status::Unreachable, 0, Vec::new());
        peer.flush();
        assert_eq!((store(peer).1, store(peer).1), (0, 1));
        peer.flush();
        peer.wait_for_end();
    })]);
    let mut client = fake.client();
    assert_eq!(publish(&mut client, 2), offsets(2));
    drop(client);
    fake.finish();
}

#[test]
fn a_gap_at_an_acknowledged_sequence_is_an_error() {
    let fake = Fake::play(vec![Box::new(|peer| {
        peer.greet();
        store(peer);
        peer.flush();
        let asked = peer.expect(Opcode::Publish);
        peer.refuse(&asked, Status::SequenceGap, 0, vec![Detail::ExpectedSequence(0)]);
        peer.flush();
        peer.wait_for_end();
    })]);
    let mut client = fake.client();
    let mut producer = client.producer("t").unwrap();
    producer.send(Batch::of(&0u64.to_be_bytes())).unwrap();
    producer.flush().unwrap();
    let outcome = producer.send(Batch::of(&1u64.to_be_bytes())).and_then(|_| producer.flush());
    assert_eq!(outcome.unwrap_err().status(), Some(Status::SequenceGap));
    drop(producer);
    drop(client);
    fake.finish();
}

#[test]
fn after_a_refusal_the_answers_to_earlier_batches_are_awaited() {
    let fake = Fake::play(vec![Box::new(|peer| {
        peer.greet();
        let asked: Vec<_> = (0..4).map(|_| peer.expect(Opcode::Publish)).collect();
        // The third batch is refused at once, while the first two wait for the disk. So the fourth reveals a gap.
        peer.refuse(&asked[2], Status::Quota, 0, Vec::new());
        peer.flush();
        for sequence in [0, 1] {
            peer.answer(&asked[sequence], &published(sequence as u64, 1, false));
        }
        peer.refuse(&asked[3], Status::SequenceGap, 0, vec![Detail::ExpectedSequence(2)]);
        peer.flush();
        peer.wait_for_end();
    })]);
    let mut client = fake.client();
    let mut producer = client.producer("t").unwrap();
    // The refusal may arrive while the last batch is being sent.
    let sent = (0..4_u64).try_for_each(|sequence| producer.send(Batch::of(&sequence.to_be_bytes())).map(|_| ()));
    let outcome = sent.and_then(|()| producer.flush());
    assert_eq!(outcome.unwrap_err().status(), Some(Status::Quota));
    producer.settle().unwrap();
    assert_eq!(producer.acks().map(|ack| ack.sequence).collect::<Vec<_>>(), [0, 1]);
    assert_eq!((producer.unacknowledged(), producer.next_sequence()), (2, 4));
    drop(producer);
    drop(client);
    fake.finish();
}

/// Returns the opening in a PRODUCER request.
fn opening(asked: &Asked) -> Opening {
    let Request::Producer { opening, .. } = asked.request() else { panic!("PRODUCER is decoded as PRODUCER") };
    opening
}

/// The first answer is lost, and the request is repeated with the same token, so that it does not open another epoch.
#[test]
fn a_named_producer_is_opened_once_and_starts_at_the_sequence_in_the_answer() {
    let (token, first_token) = std::sync::mpsc::channel();
    let fake = Fake::play(vec![
        Box::new(move |peer| {
            peer.greet();
            token.send(opening(&peer.expect(Opcode::Producer))).unwrap();
        }),
        Box::new(move |peer| {
            peer.greet();
            let asked = peer.expect(Opcode::Producer);
            let opening = opening(&asked);
            assert_eq!(opening, first_token.recv().unwrap());
            assert_eq!((opening.producer, opening.resume), (ProducerId::of_name("day.csv"), true));
            let topic_id = TopicId::new(7).unwrap();
            let opened = OpenedProducer { topic_id, epoch: 4, sequence: 1, records: 7, forgotten: 0 };
            peer.answer(&asked, &Response::Opened(opened));
            peer.flush();
            for sequence in 1..3 {
                let asked = peer.expect(Opcode::Publish);
                assert_eq!(sequenced(&asked), Sequenced { producer: opening.producer, epoch: 4, sequence });
                peer.answer(&asked, &published(sequence, 1, false));
            }
            peer.flush();
            peer.wait_for_end();
        }),
    ]);
    let mut client = fake.client();
    let (mut producer, opened) = client.named_producer("t", "day.csv", true).unwrap();
    assert_eq!(opened.records, 7);
    for value in [b"8", b"9"] {
        producer.send(Batch::of(value)).unwrap();
    }
    producer.flush().unwrap();
    drop(producer);
    drop(client);
    fake.finish();
}

#[test]
fn records_that_are_sent_while_a_batch_is_unanswered_leave_with_the_next_one() {
    let fake = Fake::play(vec![Box::new(|peer| {
        peer.greet();
        // The sequence and the number of records of each batch; the last one leaves because it is full.
        let mut expect = |sequence, count| {
            let asked = peer.expect(Opcode::Publish);
            let Request::Publish(publish) = asked.request() else { panic!("PUBLISH is decoded as PUBLISH") };
            assert_eq!((sequenced(&asked).sequence, publish.count), (sequence, count));
            asked
        };
        let asked = [expect(0, 1), expect(1, 3), expect(2, 1)];
        for asked in &asked {
            peer.answer(asked, &published(sequenced(asked).sequence * 10, 1, false));
        }
        peer.flush();
        peer.wait_for_end();
    })]);
    let mut client = fake.client();
    let mut producer = client.producer("t").unwrap().batch_bytes(330);
    let record = Record { value: &[b'x'; 100], ..Record::default() };
    let places: Vec<_> = (0..5).map(|_| producer.send_record(&record).unwrap()).collect();
    assert_eq!(places, [(0, 0), (1, 0), (1, 1), (1, 2), (2, 0)]);
    producer.flush().unwrap();
    assert_eq!(producer.acks().map(|ack| ack.sequence).collect::<Vec<_>>(), [0, 1, 2]);
    drop(producer);
    drop(client);
    fake.finish();
}
