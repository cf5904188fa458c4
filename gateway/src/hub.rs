//! One subscription for all readers of a topic that are at its head.
//!
//! ```text
//!  cube ── Subscriber (up to 4000 topics) ──► task ──► Feed of a topic ──► a reader at the head
//!                                                      the last records ──► a reader at the head
//!  cube ◄── FETCH from its own cursor ───────────────────────────────────── a reader that is behind
//! ```
//!
//! A feed keeps a few records for readers that are a little behind. A reader that finds its next record gone from the
//! feed reads from its own cursor until it is at the head again, so a slow reader costs a cursor and delays nobody.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use dht_client::tokio::Subscriber;
use dht_client::{Delivery, Dimension, Item, NodeId, Notice, Offset, Start, json};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{broadcast, mpsc};

use crate::limits::{FEED_BYTES_MAX, FEED_RECORDS, FEEDS_BYTES_MAX, TOPICS_PER_SUBSCRIBER};
use crate::pool::Pool;
use crate::problem::Problem;

/// What a feed brings.
#[derive(Clone, Debug)]
pub(crate) enum News {
    /// A record as JSON.
    Record(Offset, Arc<Text>),
    /// A record that is not kept here, because it is large or the memory for feeds is used up.
    Elsewhere(Offset),
    /// Something else as JSON, with the name of its event and the offset after which records go on, if it has one.
    Notice(&'static str, Option<Offset>, Arc<Text>),
    /// The reader fell so far behind that the feed no longer has its next item.
    Missed,
    /// The subscription has ended.
    End(Arc<Problem>),
}

/// The text of an event. Its bytes are counted for as long as it exists.
#[derive(Debug)]
pub(crate) struct Text {
    pub(crate) json: String,
    counted: Arc<AtomicUsize>,
}

impl Drop for Text {
    fn drop(&mut self) {
        self.counted.fetch_sub(self.json.len(), Ordering::Relaxed);
    }
}

/// The feeds of all topics with readers at their heads.
#[derive(Clone, Debug)]
pub(crate) struct Hub {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    pool: Arc<Pool>,
    state: Mutex<State>,
    /// Bytes of the events that the feeds hold at the moment.
    bytes: Arc<AtomicUsize>,
    limits: HubLimits,
}

/// The limits of a hub, smaller in tests.
#[derive(Clone, Copy, Debug)]
struct HubLimits {
    feeds_bytes: usize,
    topics_per_subscriber: usize,
}

impl Default for HubLimits {
    fn default() -> Self {
        Self { feeds_bytes: FEEDS_BYTES_MAX, topics_per_subscriber: TOPICS_PER_SUBSCRIBER }
    }
}

#[derive(Debug, Default)]
struct State {
    feeds: HashMap<String, Feed>,
    /// The tasks with a subscriber each, and the number of their topics.
    tasks: Vec<(mpsc::UnboundedSender<Command>, usize)>,
}

/// The subscription to a topic.
#[derive(Debug)]
struct Feed {
    news: broadcast::Sender<News>,
    /// The offset of the next record that it brings.
    head: Offset,
    readers: usize,
    task: usize,
    /// Tells this feed from an earlier one of the same topic.
    number: u64,
}

#[derive(Debug)]
enum Command {
    Add(String, Offset),
    Remove(String),
}

/// A reader at the head of a topic.
#[derive(Debug)]
pub(crate) struct Follower {
    hub: Hub,
    topic: String,
    number: u64,
    news: broadcast::Receiver<News>,
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.hub.leave(&self.topic, self.number);
    }
}

impl Follower {
    /// Returns what comes next; `None` if the subscription has ended.
    pub(crate) async fn next(&mut self) -> Option<News> {
        match self.news.recv().await {
            Ok(news) => Some(news),
            Err(RecvError::Lagged(_)) => Some(News::Missed),
            Err(RecvError::Closed) => None,
        }
    }
}

impl Hub {
    /// Returns a hub without feeds. Its subscribers connect to the same cube as the pool.
    pub(crate) fn new(pool: Arc<Pool>) -> Self {
        Self::with(pool, HubLimits::default())
    }

    fn with(pool: Arc<Pool>, limits: HubLimits) -> Self {
        let bytes = Arc::new(AtomicUsize::new(0));
        Self { shared: Arc::new(Shared { pool, state: Mutex::default(), bytes, limits }) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Follows a topic from `cursor`, which is its log end as the reader knows it. Returns the follower, and the offset
    /// from which on it brings records: the reader reads those before it by itself.
    pub(crate) fn follow(&self, topic: &str, cursor: Offset) -> (Follower, Offset) {
        let mut state = self.state();
        let state = &mut *state;
        if !state.feeds.contains_key(topic) {
            let task = self.task_with_room(state);
            let (sender, count) = &mut state.tasks[task];
            *count += 1;
            // The task never ends, so it receives this.
            let _ = sender.send(Command::Add(topic.to_owned(), cursor));
            let (news, _) = broadcast::channel(FEED_RECORDS);
            let number = fastrand::u64(..);
            state.feeds.insert(topic.to_owned(), Feed { news, head: cursor, readers: 0, task, number });
        }
        let feed = state.feeds.get_mut(topic).expect("it was inserted if it was missing");
        feed.readers += 1;
        let news = feed.news.subscribe();
        (Follower { hub: self.clone(), topic: topic.to_owned(), number: feed.number, news }, feed.head)
    }

    /// Returns a task with room for another topic.
    fn task_with_room(&self, state: &mut State) -> usize {
        let topics_max = self.shared.limits.topics_per_subscriber;
        if let Some(task) = state.tasks.iter().position(|(_, count)| *count < topics_max) {
            return task;
        }
        let (sender, commands) = mpsc::unbounded_channel();
        tokio::spawn(run(self.clone(), commands));
        state.tasks.push((sender, 0));
        state.tasks.len() - 1
    }

    fn leave(&self, topic: &str, number: u64) {
        let mut state = self.state();
        let state = &mut *state;
        let Some(feed) = state.feeds.get_mut(topic).filter(|feed| feed.number == number) else { return };
        feed.readers -= 1;
        if feed.readers == 0 {
            let (sender, count) = &mut state.tasks[feed.task];
            *count -= 1;
            let _ = sender.send(Command::Remove(topic.to_owned()));
            state.feeds.remove(topic);
        }
    }

    /// Passes an item on to the readers of its topic.
    fn pass(&self, topic: &str, item: Item, dimension: Option<Dimension>) {
        let mut state = self.state();
        let Some(feed) = state.feeds.get_mut(topic) else { return };
        let news = if let Item::Record(message) = &item {
            feed.head = message.offset.plus(1);
            match self.text(topic, &item, dimension) {
                Some(text) => News::Record(message.offset, text),
                None => News::Elsewhere(message.offset),
            }
        } else {
            let (name, next) = match &item {
                Item::Gap { to, .. } => ("gap", Some(*to)),
                Item::Lost { to, .. } => ("lost", Some(*to)),
                Item::Notice(Notice::Waiting { .. }) => ("waiting", None),
                Item::Notice(Notice::Flowing { .. }) | Item::Record(_) => ("flowing", None),
            };
            feed.head = next.unwrap_or(feed.head);
            // It is small, and is kept whatever the records take.
            News::Notice(name, next, self.counted(encode(topic, &item, dimension)))
        };
        // Without readers the feed is about to be removed.
        let _ = feed.news.send(news);
    }

    /// Ends the feed of a topic.
    fn end(&self, topic: &str, problem: Problem) {
        let mut state = self.state();
        if let Some(feed) = state.feeds.remove(topic) {
            state.tasks[feed.task].1 -= 1;
            let _ = feed.news.send(News::End(Arc::new(problem)));
        }
    }

    /// Returns a record as JSON; `None` if there is no room for it.
    fn text(&self, topic: &str, item: &Item, dimension: Option<Dimension>) -> Option<Arc<Text>> {
        let is_large = matches!(item, Item::Record(message) if message.value.len() > FEED_BYTES_MAX);
        let has_room = !is_large && self.shared.bytes.load(Ordering::Relaxed) < self.shared.limits.feeds_bytes;
        has_room.then(|| self.counted(encode(topic, item, dimension)))
    }

    fn counted(&self, json: String) -> Arc<Text> {
        let counted = Arc::clone(&self.shared.bytes);
        counted.fetch_add(json.len(), Ordering::Relaxed);
        Arc::new(Text { json, counted })
    }
}

fn encode(topic: &str, item: &Item, dimension: Option<Dimension>) -> String {
    let name = |node: NodeId| match dimension {
        Some(dimension) => node.binary(dimension),
        None => node.index().to_string(),
    };
    json::encode_item(topic, item, name).to_string()
}

/// Drives a subscriber for as long as the process runs.
async fn run(hub: Hub, mut commands: mpsc::UnboundedReceiver<Command>) {
    let mut subscriber: Option<Subscriber> = None;
    let mut dimension = None;
    // True while there is nothing to wait for.
    let mut is_idle = true;
    loop {
        let next = async {
            match &mut subscriber {
                Some(subscriber) if !is_idle => subscriber.next().await.transpose(),
                _ => std::future::pending().await,
            }
        };
        tokio::select! {
            command = commands.recv() => match command {
                Some(Command::Add(topic, start)) => {
                    if subscriber.is_none() {
                        match connect(&hub).await {
                            Ok((connected, of_cube)) => (subscriber, dimension) = (Some(connected), Some(of_cube)),
                            Err(problem) => {
                                hub.end(&topic, problem);
                                continue;
                            }
                        }
                    }
                    let added = subscriber.as_mut().map(|subscriber| subscriber.add(&topic, Start::Offset(start)));
                    match added {
                        Some(Err(error)) => hub.end(&topic, error.into()),
                        _ => is_idle = false,
                    }
                }
                Some(Command::Remove(topic)) => {
                    if let Some(subscriber) = &mut subscriber {
                        subscriber.remove(&topic);
                    }
                }
                None => return,
            },
            item = next => match item {
                Ok(Some(Delivery { topic, item: Ok(item) })) => hub.pass(&topic, item, dimension),
                Ok(Some(Delivery { topic, item: Err(error) })) => hub.end(&topic, error.into()),
                Ok(None) => is_idle = true,
                // The subscriber resumes from its cursors when a node answers again, so nothing is lost.
                Err(error) => log::warn!("subscriptions wait for the cube: {error}"),
            },
        }
    }
}

/// Returns a subscriber without topics, and the dimension of its cube.
async fn connect(hub: &Hub) -> Result<(Subscriber, Dimension), Problem> {
    let client = hub.shared.pool.client().await?;
    Ok((client.subscribe(&[], Start::Next).await?, client.dimension().await?))
}

#[cfg(test)]
mod tests {
    use dht_client::{Client, Message};

    use super::*;

    /// Returns a hub whose tasks do not run before the test waits for something.
    fn hub(limits: HubLimits) -> Hub {
        Hub::with(Arc::new(Pool::new(Client::builder(), 1)), limits)
    }

    fn record(offset: u64, value: &'static [u8]) -> Item {
        let (key, headers, value) = (None, Vec::new(), value.into());
        Item::Record(Message { offset: Offset(offset), append_us: 0, timestamp_us: None, key, headers, value })
    }

    #[tokio::test]
    async fn topics_beyond_those_of_one_subscriber_get_another_one() {
        let hub = hub(HubLimits { topics_per_subscriber: 2, ..HubLimits::default() });
        let topics = |hub: &Hub| hub.state().tasks.iter().map(|(_, topics)| *topics).collect::<Vec<_>>();
        let mut followers: Vec<_> = ["a", "b", "c", "d", "e"].map(|topic| hub.follow(topic, Offset(0)).0).into();
        assert_eq!(topics(&hub), [2, 2, 1]);
        let (again, _) = hub.follow("a", Offset(0));
        assert_eq!(topics(&hub), [2, 2, 1], "readers of a topic share its subscription");
        drop(followers.remove(1));
        assert_eq!(topics(&hub), [1, 2, 1]);
        followers.push(hub.follow("f", Offset(0)).0);
        assert_eq!(topics(&hub), [2, 2, 1]);
        drop((followers, again));
        assert_eq!(topics(&hub), [0, 0, 0]);
    }

    #[tokio::test]
    async fn records_beyond_the_memory_for_feeds_are_read_elsewhere_until_some_are_read() {
        let hub = hub(HubLimits { feeds_bytes: 1_000, ..HubLimits::default() });
        let (mut follower, _) = hub.follow("t", Offset(0));
        let value = &[b'x'; 500];
        for offset in 0..10 {
            hub.pass("t", record(offset, value), None);
        }
        let bytes = || hub.shared.bytes.load(Ordering::Relaxed);
        assert!((1_000..2_000).contains(&bytes()), "one record more than the bound at most: {}", bytes());
        let mut kept = 0;
        for offset in 0..10 {
            match follower.next().await {
                Some(News::Record(found, _)) => {
                    assert_eq!(found, Offset(offset));
                    kept += 1;
                }
                Some(News::Elsewhere(found)) => assert_eq!(found, Offset(offset)),
                other => panic!("{other:?}"),
            }
        }
        assert_eq!((kept, bytes()), (2, 0));
        hub.pass("t", record(10, value), None);
        assert!(matches!(follower.next().await, Some(News::Record(Offset(10), _))));
    }
}
