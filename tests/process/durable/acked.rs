//! Writers that know what was acknowledged to them, and the check that all of it is there: once, at its offset, with
//! its bytes, in the order of sending.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender};
use std::thread;
use std::time::Duration;

use dht_node::client::{Batch, Client, Item, Message, Producer, Record, Retention, Start};
use dht_node::types::Offset;
use dht_node::wire::Status;

use crate::daemon::wait_for;

/// Keeps everything that is written in a test.
pub(crate) const EVERYTHING: Retention = Retention { records: 0, bytes: 1 << 40, age_ms: 0 };

/// A batch that was acknowledged.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Told {
    writer: u64,
    sequence: u64,
    base: Offset,
}

/// Publishes until it is told to stop, through whatever happens to the node; then waits for all acknowledgements.
pub(crate) fn write(writer: u64, topic: &str, client: &mut Client, stop: &AtomicBool, told: &Sender<Told>) {
    let mut producer = client.producer(topic).unwrap();
    let tell = |producer: &mut Producer<'_>| {
        for ack in producer.acks() {
            told.send(Told { writer, sequence: ack.sequence, base: ack.published.base }).unwrap();
        }
    };
    let flush = |producer: &mut Producer<'_>| {
        wait_for("what failed is repeated", || match producer.flush() {
            Ok(()) => Some(()),
            // What the node does not remember of a producer it has lost.
            Err(error) if error.is_retryable() && error.status() != Some(Status::UnknownProducer) => None,
            Err(error) => panic!("writer {writer}, {producer:?}: {error}"),
        });
    };
    for sequence in 0.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        if let Err(error) = producer.send(batch(writer, sequence)) {
            assert!(error.is_retryable(), "{error}");
            flush(&mut producer);
        }
        tell(&mut producer);
    }
    flush(&mut producer);
    tell(&mut producer);
}

/// Tells writers to stop when it goes. A panic beside them must end followers too, or their scope waits for ever.
pub(crate) struct Stopping<'s>(pub(crate) &'s AtomicBool, pub(crate) &'s AtomicU64);

impl Drop for Stopping<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
        if thread::panicking() {
            self.1.store(0, Ordering::Relaxed);
        }
    }
}

/// Takes in a topic from its start, until it is told where that ends.
pub(crate) fn follow(topic: &str, client: &mut Client, end: &AtomicU64) {
    let mut order = Order::default();
    let mut subscriber = client.subscribe(&[topic], Start::Earliest).unwrap();
    while order.next < end.load(Ordering::Relaxed) {
        // With the only node dead, no server answers; going on tries again.
        match subscriber.next_within(Duration::from_millis(50)) {
            Ok(None) => {}
            Ok(Some(delivery)) => match delivery.item.unwrap() {
                // A restart that takes more than a second on a busy machine is reported.
                Item::Notice(_) => {}
                item => order.take(&item),
            },
            Err(error) => assert!(error.is_retryable(), "{error}"),
        }
    }
}

/// What was acknowledged of one topic.
#[derive(Debug)]
pub(crate) struct Truth {
    topic: String,
    told: Receiver<Told>,
    acked: BTreeMap<(u64, u64), Offset>,
}

impl Truth {
    /// With what its writers tell.
    pub(crate) const fn new(topic: String, told: Receiver<Told>) -> Self {
        Self { topic, told, acked: BTreeMap::new() }
    }

    /// Everything that was acknowledged by now is there, and nothing is there twice. How many records and batches there
    /// are, and how many of the batches were acknowledged.
    pub(crate) fn check(&mut self, client: &mut Client) -> Found {
        for Told { writer, sequence, base } in self.told.try_iter() {
            let before = self.acked.insert((writer, sequence), base);
            assert_eq!(before, None, "batch {sequence} of writer {writer} is acknowledged twice");
        }
        let mut order = Order::default();
        for item in client.records(&self.topic, Start::Earliest).unwrap() {
            order.take(&item.unwrap());
        }
        for ((writer, sequence), base) in &self.acked {
            let found = order.bases.get(&(*writer, *sequence));
            assert_eq!(found, Some(base), "batch {sequence} of writer {writer}: where it is, and where it should be");
        }
        Found { records: order.next, batches: order.bases.len(), acked: self.acked.len() }
    }
}

/// What a check has found.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Found {
    pub(crate) records: u64,
    pub(crate) batches: usize,
    pub(crate) acked: usize,
}

/// The records of a topic as they come.
#[derive(Debug, Default)]
struct Order {
    /// Behind the last record.
    next: u64,
    /// Where the batches of each writer are.
    bases: BTreeMap<(u64, u64), Offset>,
    /// The batch of each writer that comes next.
    sequences: BTreeMap<u64, u64>,
    /// What is missing of the batch that came last: its writer, its sequence, and how many of its records came.
    open: Option<(u64, u64, u64)>,
}

impl Order {
    fn take(&mut self, item: &Item) {
        let Item::Record(Message { offset, value, .. }) = item else { panic!("{item:?} where nothing is removed") };
        assert_eq!(offset.0, self.next, "offsets follow one another");
        let id = u64::from_be_bytes(value[..8].try_into().unwrap());
        let (writer, sequence, index) = (id >> 48, id >> 8 & 0xff_ffff_ffff, id & 0xff);
        assert!(*value == self::value(id), "record {index} of batch {sequence} of writer {writer} is damaged");
        if index == 0 {
            assert_eq!(self.open, None, "a batch is there as a whole");
            let expected = self.sequences.entry(writer).or_default();
            assert_eq!(sequence, *expected, "the batches of writer {writer} follow one another");
            *expected += 1;
            self.bases.insert((writer, sequence), *offset);
        } else {
            assert_eq!(self.open, Some((writer, sequence, index)), "the records of a batch follow one another");
        }
        self.open = (index + 1 < count(sequence)).then_some((writer, sequence, index + 1));
        self.next += 1;
    }
}

/// One of a writer's batches.
fn batch(writer: u64, sequence: u64) -> Batch {
    let mut batch = Batch::new();
    for index in 0..count(sequence) {
        let value = value(writer << 48 | sequence << 8 | index);
        batch.push(&Record { value: &value, ..Record::default() }).unwrap();
    }
    batch
}

/// Records of a batch.
const fn count(sequence: u64) -> u64 {
    1 + sequence % 3
}

/// What a record says: its own number, and something that no other one says.
fn value(id: u64) -> Vec<u8> {
    let mut random = fastrand::Rng::with_seed(id);
    // Most are small; one of a hundred is larger than what is copied rather than shared.
    let len = if random.u8(..100) == 0 { random.usize(8..40_000) } else { random.usize(8..600) };
    let mut value = vec![0; len];
    random.fill(&mut value);
    value[..8].copy_from_slice(&id.to_be_bytes());
    value
}
