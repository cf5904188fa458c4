//! Clients that use a cube while its nodes are killed or stopped, and what must hold of everything that they saw.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, ScopedJoinHandle};
use std::time::Duration;

use dht_client::{Batch, Client, Deadline, Error, Item, Producer, ProducerId, Start, TopicId};
use dht_node::wire::Status;

use crate::cube::Cube;
use crate::daemon::{PATIENCE, pause};
use crate::durable::EVERYTHING;
use crate::history::{self, Clock, Effect, Log, NEVER_CREATED, Request, State};

/// Number of batches that a pipelining writer sends before it waits for their acknowledgements.
const BURST: u64 = 16;

/// Number of records in each life of the topic that is created and deleted again and again.
const RECORDS_PER_LIFE: u64 = 3;

/// What an observer saw: the topic's id and its log end offset, or that there is no topic.
#[derive(Clone, Copy, Debug)]
struct Seen {
    asked: Duration,
    answered: Duration,
    topic: Option<(TopicId, u64)>,
}

/// Runs `happen` while writers publish to one topic for each home, subscribers follow these topics, observers read
/// their log end offsets, and another topic is created and deleted again and again. Asserts that no client gets an
/// error, that the history of each topic is linearizable, and that exactly the acknowledged records can be read through
/// each node in the end. Returns a summary to be printed.
pub(super) fn live(cube: &mut Cube, happen: impl FnOnce(&mut Cube)) -> String {
    let topics = [0, 1, 2, 3].map(|home| cube.topic_at(home, "life"));
    let mut client = cube.client(0);
    let ids = topics.each_ref().map(|topic| client.create(topic, EVERYTHING).unwrap().0.topic.unwrap().id);
    let short_lived = &cube.topic_at(1, "short-lived");
    let (stop, ends) = (AtomicBool::new(false), [0; 4].map(|_| AtomicU64::new(u64::MAX)));
    let clock = Clock::start();
    let (counts, pauses, reads, lives) = thread::scope(|scope| {
        let _stopping = Stopping(&stop, &ends);
        let (mut writers, mut readers, mut observers) = (Vec::new(), Vec::new(), Vec::new());
        let stop = &stop;
        for ((number, topic), end) in (0..).zip(&topics).zip(&ends) {
            // The clients of each topic begin at another node.
            let nodes = [0, 1, 2, 3].map(|index| (index + number) % 4);
            let (mut writer, mut reader) = (cube.client_of(&nodes), cube.client_of(&nodes));
            let mut observer = cube.client_of(&[3, 2, 1, 0].map(|index| (index + number) % 4));
            let burst = if number % 2 == 0 { 1 } else { BURST };
            writers.push(scope.spawn(move || write(&mut writer, topic, (burst, clock), stop)));
            observers.push(scope.spawn(move || observe(&mut observer, topic, clock, stop)));
            readers.push(scope.spawn(move || follow(&mut reader, topic, end)));
        }
        let (mut owner, mut observer) = (cube.client_of(&[2, 3, 0, 1]), cube.client_of(&[1, 0, 3, 2]));
        let owner = scope.spawn(move || create_and_delete(&mut owner, short_lived, clock, stop));
        let observer = scope.spawn(move || observe(&mut observer, short_lived, clock, stop));
        happen(cube);
        stop.store(true, Ordering::Relaxed);
        let wrote: Vec<Vec<Request>> = writers.into_iter().map(|writer| writer.join().unwrap()).collect();
        for ((reader, end), wrote) in readers.into_iter().zip(&ends).zip(&wrote) {
            end.store(wrote.len() as u64, Ordering::Relaxed);
            reader.join().unwrap();
        }
        let (mut history, lives) = owner.join().unwrap();
        let mut reads = end_of_observer(observer, short_lived, &mut history, &lives);
        for ((topic, id), (observer, wrote)) in topics.iter().zip(ids).zip(observers.into_iter().zip(&wrote)) {
            reads += end_of_observer(observer, topic, &mut wrote.clone(), &[id]);
        }
        let waits = wrote.iter().flat_map(|of| of.windows(2).map(|pair| pair[1].answered - pair[0].answered));
        (wrote.iter().map(Vec::len).collect::<Vec<_>>(), Pauses::of(waits), reads, lives.len())
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
    format!("{counts:?} records acknowledged, {reads} reads, {lives} creations; {pauses}")
}

/// The times without an acknowledgement that were long enough for another leader to have taken over meanwhile, in
/// ascending order.
struct Pauses(Vec<Duration>);

impl Pauses {
    /// The least of these times: an election takes longer.
    const LEAST: Duration = Duration::from_millis(500);

    fn of(waits: impl Iterator<Item = Duration>) -> Self {
        let mut pauses: Vec<Duration> = waits.filter(|wait| *wait >= Self::LEAST).collect();
        pauses.sort_unstable();
        Self(pauses)
    }

    /// Returns the time that this percentage of the pauses does not exceed.
    fn percentile(&self, share: usize) -> Duration {
        let rank = (self.0.len() * share).div_ceil(100);
        self.0.get(rank.saturating_sub(1)).copied().unwrap_or_default()
    }
}

impl fmt::Display for Pauses {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [p50, p90, p99, longest] = [50, 90, 99, 100].map(|share| self.percentile(share).as_millis());
        write!(
            formatter,
            "{} times no record of a topic was acknowledged for {} ms or more: {p50} ms in the median, {p90} ms at \
             90 %, {p99} ms at 99 %, {longest} ms at most",
            self.0.len(),
            Self::LEAST.as_millis()
        )
    }
}

/// Waits for an observer to end, adds what it has seen to the history of the topic, and asserts that this is
/// linearizable. `lives` has the ids that the topic has had, in order. Returns the number of reads.
fn end_of_observer(
    observer: ScopedJoinHandle<'_, Vec<Seen>>,
    topic: &str,
    history: &mut Vec<Request>,
    lives: &[TopicId],
) -> usize {
    let seen = observer.join().unwrap();
    for &Seen { asked, answered, topic: state } in &seen {
        let effect = state.map_or(Effect::FoundNone, |(id, next)| {
            let life = lives.iter().position(|life| *life == id);
            let life = life.unwrap_or_else(|| panic!("{topic}: a topic with {id:?} was seen, but never created"));
            let state = State { lives: life + 1, log: Log::EndsAt(next) };
            Effect::Changed { found: state, left: state }
        });
        history.push(Request { asked, answered, effect });
    }
    let wrong = history::contradiction(history);
    assert!(wrong.is_none(), "{topic}: an earlier request left the first, but the second did not find it: {wrong:?}");
    seen.len()
}

/// Creates a topic, publishes some records, and deletes it, again and again until `stop` is set. Returns the history of
/// these requests, and the ids of the topic in their order.
fn create_and_delete(
    client: &mut Client,
    topic: &str,
    clock: Clock,
    stop: &AtomicBool,
) -> (Vec<Request>, Vec<TopicId>) {
    let (mut history, mut lives) = (Vec::new(), Vec::new());
    let mut state = NEVER_CREATED;
    let mut note = |asked, left| {
        history.push(Request { asked, answered: clock.now(), effect: Effect::Changed { found: state, left } });
        state = left;
    };
    while !stop.load(Ordering::Relaxed) {
        let number = lives.len() + 1;
        let asked = clock.now();
        let (created, _) = client.create(topic, EVERYTHING).unwrap_or_else(|error| panic!("{topic}: {error}"));
        let id = created.topic.unwrap().id;
        lives.push(id);
        note(asked, State { lives: number, log: Log::EndsAt(0) });
        for record in 0..RECORDS_PER_LIFE {
            let (asked, producer) = (clock.now(), ProducerId::new(fastrand::u64(1..)).unwrap());
            let batch = Batch::of(&record.to_be_bytes());
            let published = client.publish_as(topic, producer, &batch);
            let published = published.unwrap_or_else(|error| panic!("{topic}: {error}"));
            assert_eq!(published.base.0, record, "{topic}: the offset of a record in its life {number}");
            note(asked, State { lives: number, log: Log::EndsAt(record + 1) });
        }
        let asked = clock.now();
        client.delete_id(topic, id).unwrap_or_else(|error| panic!("{topic}: {error}"));
        note(asked, State { lives: number, log: Log::Deleted });
    }
    (history, lives)
}

/// Publishes numbered records until `stop` is set, in bursts of `burst`. Asserts that the offset of each equals its
/// number, and returns the history of the publishes.
fn write(client: &mut Client, topic: &str, (burst, clock): (u64, Clock), stop: &AtomicBool) -> Vec<Request> {
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
        history.extend((sent - burst..sent).map(|offset| {
            let [found, left] = [offset, offset + 1].map(|end| State { lives: 1, log: Log::EndsAt(end) });
            Request { asked, answered, effect: Effect::Changed { found, left } }
        }));
    }
    assert!(acked.into_iter().eq((0..sent).map(|number| (number, number))), "each is stored once, in order");
    history
}

/// Reads the id and the log end offset of a topic, by INFO and FETCH in turn, until `stop` is set.
fn observe(client: &mut Client, topic: &str, clock: Clock, stop: &AtomicBool) -> Vec<Seen> {
    let mut seen = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        let asked = clock.now();
        let found = if seen.len() % 2 == 0 {
            client.info(topic).map(|description| description.topic.map(|topic| (topic.id, topic.next.0)))
        } else {
            client.fetch(topic, Start::Next, 1).map(|fetched| Some((fetched.topic_id, fetched.next.0)))
        };
        let is_unknown = |error: &Error| error.status() == Some(Status::UnknownTopic);
        let found = found.or_else(|error| if is_unknown(&error) { Ok(None) } else { Err(error) });
        let found = found.unwrap_or_else(|error| panic!("{topic}: {error}"));
        seen.push(Seen { asked, answered: clock.now(), topic: found });
        pause(Duration::from_millis(1));
    }
    seen
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
