//! Writers that remember what was acknowledged to them, and the check that each acknowledged record is stored exactly
//! once, at its offset, with its value, in the order of sending.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender};
use std::thread;
use std::time::Duration;

use dht_client::{Batch, Client, Item, Message, Producer, Record, Retention, Start};
use dht_node::types::Offset;
use dht_node::wire::Status;

use crate::daemon::wait_for;

/// A retention that keeps everything that a test writes.
pub(crate) const EVERYTHING: Retention = Retention { records: 0, bytes: 1 << 40, age_ms: 0 };

/// A batch that was acknowledged.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Acked {
    writer: u64,
    sequence: u64,
    base: Offset,
}

/// Publishes until `stop` is set, retrying whatever happens to the node; then waits for all acknowledgements. Sends
/// each acknowledgement to `acked`.
pub(crate) fn write(writer: u64, topic: &str, client: &mut Client, stop: &AtomicBool, acked: &Sender<Acked>) {
    let mut producer = client.producer(topic).unwrap();
    let report = |producer: &mut Producer<'_>| {
        for ack in producer.acks() {
            acked.send(Acked { writer, sequence: ack.sequence, base: ack.published.base }).unwrap();
        }
    };
    let flush = |producer: &mut Producer<'_>| {
        wait_for("a retry of the failed batches succeeds", || match producer.flush() {
            Ok(()) => Some(()),
            // UnknownProducer means that the node has lost the producer's state, which it must never do.
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
        report(&mut producer);
    }
    flush(&mut producer);
    report(&mut producer);
}

/// Stops writers when it is dropped. After a panic it also stops followers, because their thread scope would otherwise
/// wait forever.
pub(crate) struct Stopping<'s>(pub(crate) &'s AtomicBool, pub(crate) &'s AtomicU64);

impl Drop for Stopping<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
        if thread::panicking() {
            self.1.store(0, Ordering::Relaxed);
        }
    }
}

/// Subscribes to a topic from its start and checks all records up to the offset `end`, which is set later.
pub(crate) fn follow(topic: &str, client: &mut Client, end: &AtomicU64) {
    let mut order = Order::default();
    let mut subscriber = client.subscribe(&[topic], Start::Earliest).unwrap();
    while order.next < end.load(Ordering::Relaxed) {
        // While the only node is down, no server answers; the next call connects again.
        match subscriber.next_within(Duration::from_millis(50)) {
            Ok(None) => {}
            Ok(Some(delivery)) => match delivery.item.unwrap() {
                // A notice comes if a restart takes more than a second on a busy machine.
                Item::Notice(_) => {}
                item => order.take(&item),
            },
            Err(error) => assert!(error.is_retryable(), "{error}"),
        }
    }
}

/// The acknowledged batches of one topic.
#[derive(Debug)]
pub(crate) struct Truth {
    topic: String,
    reports: Receiver<Acked>,
    acked: BTreeMap<(u64, u64), Offset>,
}

impl Truth {
    /// Creates the truth of a topic whose writers send their acknowledgements to `reports`.
    pub(crate) const fn new(topic: String, reports: Receiver<Acked>) -> Self {
        Self { topic, reports, acked: BTreeMap::new() }
    }

    /// Checks that all batches acknowledged so far are stored, without duplicates. Returns the numbers of stored
    /// records and batches, and of acknowledged batches.
    pub(crate) fn check(&mut self, client: &mut Client) -> Found {
        for Acked { writer, sequence, base } in self.reports.try_iter() {
            let before = self.acked.insert((writer, sequence), base);
            assert_eq!(before, None, "batch {sequence} of writer {writer} was acknowledged twice");
        }
        let mut order = Order::default();
        for item in client.records(&self.topic, Start::Earliest).unwrap() {
            order.take(&item.unwrap());
        }
        for ((writer, sequence), base) in &self.acked {
            let found = order.bases.get(&(*writer, *sequence));
            assert_eq!(found, Some(base), "offset of batch {sequence} of writer {writer}: found, expected");
        }
        Found { records: order.next, batches: order.bases.len(), acked: self.acked.len() }
    }
}

/// The numbers that a check has found.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Found {
    pub(crate) records: u64,
    pub(crate) batches: usize,
    pub(crate) acked: usize,
}

/// Checks the order of a topic's records as they are read.
#[derive(Debug, Default)]
struct Order {
    /// The next offset.
    next: u64,
    /// The base offset of each batch, by writer and sequence.
    bases: BTreeMap<(u64, u64), Offset>,
    /// The next sequence of each writer.
    sequences: BTreeMap<u64, u64>,
    /// The last batch while it is incomplete: its writer, its sequence, and the number of its records so far.
    open: Option<(u64, u64, u64)>,
}

impl Order {
    fn take(&mut self, item: &Item) {
        let Item::Record(Message { offset, value, .. }) = item else { panic!("{item:?}, although nothing is removed") };
        assert_eq!(offset.0, self.next, "offsets have no gaps");
        let id = u64::from_be_bytes(value[..8].try_into().unwrap());
        let (writer, sequence, index) = (id >> 48, id >> 8 & 0xff_ffff_ffff, id & 0xff);
        assert!(*value == self::value(id), "record {index} of batch {sequence} of writer {writer} is damaged");
        if index == 0 {
            assert_eq!(self.open, None, "a batch is stored completely");
            let expected = self.sequences.entry(writer).or_default();
            assert_eq!(sequence, *expected, "the batches of writer {writer} are in order");
            *expected += 1;
            self.bases.insert((writer, sequence), *offset);
        } else {
            assert_eq!(self.open, Some((writer, sequence, index)), "the records of a batch are contiguous");
        }
        self.open = (index + 1 < count(sequence)).then_some((writer, sequence, index + 1));
        self.next += 1;
    }
}

/// Returns the batch of a writer with this sequence.
fn batch(writer: u64, sequence: u64) -> Batch {
    let mut batch = Batch::new();
    for index in 0..count(sequence) {
        let value = value(writer << 48 | sequence << 8 | index);
        batch.push(&Record { value: &value, ..Record::default() }).unwrap();
    }
    batch
}

/// Returns the number of records in a batch.
const fn count(sequence: u64) -> u64 {
    1 + sequence % 3
}

/// Returns the value of a record: its id, and bytes derived from the id.
fn value(id: u64) -> Vec<u8> {
    let mut random = fastrand::Rng::with_seed(id);
    // Most values are small; one in a hundred may be so large that the node shares its buffer instead of copying it.
    let len = if random.u8(..100) == 0 { random.usize(8..40_000) } else { random.usize(8..600) };
    let mut value = vec![0; len];
    random.fill(&mut value);
    value[..8].copy_from_slice(&id.to_be_bytes());
    value
}
