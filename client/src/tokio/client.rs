//! The asynchronous client of a cluster.

use std::time::Duration;

use dht_protocol::types::{
    Dimension, Epoch, NodeId, Offset, ProducerId, Sequenced, SettingsChange, TopicId, TopicName,
};
use dht_protocol::wire::Hello;
use dht_protocol::wire::request::{Retention, Start, TraceTarget};
use dht_protocol::wire::response::{Description, Published};

use crate::address::Address;
use crate::builder::Builder;
use crate::caller::Caller;
use crate::clock::random;
use crate::error::Error;
use crate::fetch::{self, Fetch, Reading};
use crate::nodes::{self, Cluster, KnownNode, Listing, NodeAnswer, Pong};
use crate::publish::{self, Batch};
use crate::subscriptions::Subscriptions;
use crate::tokio::handle::Handle;
use crate::tokio::producer::ProducerBuilder;
use crate::tokio::records::Records;
use crate::tokio::requests::Requests;
use crate::tokio::subscriber::Subscriber;
use crate::topics::{self, Trimmed};
use crate::trace::{self, Trace};

/// A handle of an asynchronous client of a cluster. Clones share one connection, which is closed with the last of
/// them.
///
/// Requests of many tasks are in flight at a time. A request ends with its response or with an error, after at most
/// [`Builder::timeout`]. Dropping the future of a request abandons it: it is not repeated any more, and its
/// response is ignored, but it may be executed.
///
/// The methods do what those of the blocking [`Client`](crate::Client) do, and fail for the same reasons.
#[derive(Clone, Debug)]
pub struct Client {
    handle: Handle,
}

impl Builder {
    /// Connects an asynchronous client to the first server that answers.
    ///
    /// # Errors
    /// Returns the error of the last server if none answers.
    ///
    /// # Panics
    /// Outside of a Tokio runtime that has I/O and time enabled.
    pub async fn connect_tokio(self) -> Result<Client, Error> {
        let client = Client::unconnected(self);
        client.ingress().await?;
        Ok(client)
    }
}

impl Client {
    /// Connects to the first server that answers, from a list of `HOST[:PORT]` separated by commas.
    ///
    /// # Errors
    /// Returns [`Error::Address`], or the error of the last server if none answers.
    ///
    /// # Panics
    /// Outside of a Tokio runtime that has I/O and time enabled.
    pub async fn connect(servers: &str) -> Result<Self, Error> {
        Self::builder().servers(Address::list(servers)?).connect_tokio().await
    }

    /// Returns a client that connects with its first request.
    pub(crate) fn unconnected(builder: Builder) -> Self {
        let (task, handle) = Requests::new(builder.with_default_server());
        ::tokio::spawn(task);
        Self { handle }
    }

    /// Returns a builder, to set a timeout, names and the like; see [`Builder::connect_tokio`].
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// Returns the settings of this client, to connect another one: see [`crate::Client::to_builder`].
    pub fn to_builder(&self) -> Builder {
        Builder(self.handle.settings())
    }

    /// Returns the ingress: the node that this client is connected to. Connects to one if necessary.
    ///
    /// # Errors
    /// As [`Self::connect`].
    pub async fn ingress(&self) -> Result<NodeId, Error> {
        (&self.handle).place().await.map(|(node, _)| node)
    }

    /// Returns the dimension of the cube.
    ///
    /// # Errors
    /// As [`Self::connect`].
    pub async fn dimension(&self) -> Result<Dimension, Error> {
        (&self.handle).place().await.map(|(_, dimension)| dimension)
    }

    /// Returns the HELLO of the connected node, or `None` without a connection.
    pub fn hello(&self) -> Option<Hello> {
        self.handle.status.borrow().place.as_ref().map(|place| place.hello.clone())
    }

    /// Returns the address of the connected node, or `None` without a connection.
    pub fn server(&self) -> Option<String> {
        self.handle.status.borrow().place.as_ref().map(|place| place.server.clone())
    }

    /// Returns the time limit for connecting and for each reply.
    pub fn timeout(&self) -> Duration {
        self.handle.settings.timeout
    }

    // --- topics ---

    /// Creates a topic, and returns true beside its description if it existed: see [`crate::Client::create`].
    ///
    /// # Errors
    /// Those of the blocking method.
    pub async fn create(&self, topic: &str, retention: Retention) -> Result<(Description, bool), Error> {
        topics::create(&mut &self.handle, topic, retention).await
    }

    /// Deletes a topic with all its records: see [`crate::Client::delete`].
    ///
    /// # Errors
    /// Those of the blocking method.
    pub async fn delete(&self, topic: &str) -> Result<TopicId, Error> {
        topics::delete(&mut &self.handle, topic).await
    }

    /// Deletes a topic if it still has this id: see [`crate::Client::delete_id`].
    ///
    /// # Errors
    /// Those of the blocking method.
    pub async fn delete_id(&self, topic: &str, id: TopicId) -> Result<TopicId, Error> {
        topics::delete_id(&mut &self.handle, topic, id).await
    }

    /// Changes some settings of a topic: see [`crate::Client::alter`].
    ///
    /// # Errors
    /// Those of the blocking method.
    pub async fn alter(&self, topic: &str, change: SettingsChange) -> Result<Description, Error> {
        topics::alter(&mut &self.handle, topic, change).await
    }

    /// Removes the records before an offset: see [`crate::Client::trim`].
    ///
    /// # Errors
    /// Those of the blocking method.
    pub async fn trim(&self, topic: &str, to: Offset) -> Result<Trimmed, Error> {
        topics::trim(&mut &self.handle, topic, to).await
    }

    /// Describes a topic: see [`crate::Client::info`].
    ///
    /// # Errors
    /// Those of the blocking method.
    pub async fn info(&self, topic: &str) -> Result<Description, Error> {
        topics::info(&mut &self.handle, topic).await
    }

    /// Returns the home of a name and the path of the request to it: see [`crate::Client::query`].
    ///
    /// # Errors
    /// Those of the blocking method.
    pub async fn query(&self, topic: &str) -> Result<Description, Error> {
        topics::query(&mut &self.handle, topic).await
    }

    // --- records ---

    /// Publishes a batch: see [`crate::Client::publish`].
    ///
    /// # Errors
    /// Those of the blocking method.
    pub async fn publish(&self, topic: &str, batch: &Batch) -> Result<Published, Error> {
        publish::publish(&mut &self.handle, (topic, None), None, batch).await
    }

    /// Publishes the only batch of a producer, which can be retried without a duplicate: see
    /// [`crate::Client::publish_as`].
    ///
    /// # Errors
    /// Those of the blocking method.
    pub async fn publish_as(&self, topic: &str, producer: ProducerId, batch: &Batch) -> Result<Published, Error> {
        publish::publish(&mut &self.handle, (topic, None), Some(publish::only_batch(producer)), batch).await
    }

    /// Publishes a batch of a producer whose sequences the caller keeps: see [`crate::Client::publish_sequenced`].
    ///
    /// # Errors
    /// Those of the blocking method.
    pub async fn publish_sequenced(
        &self,
        topic: &str,
        id: Option<TopicId>,
        sequenced: Sequenced,
        batch: &Batch,
    ) -> Result<Published, Error> {
        publish::publish(&mut &self.handle, (topic, id), Some(sequenced), batch).await
    }

    /// Reads up to `max_records` records from `start` with one request: see [`crate::Client::fetch`].
    ///
    /// # Errors
    /// Those of the blocking method.
    pub async fn fetch(&self, topic: &str, start: Start, max_records: u32) -> Result<Fetch, Error> {
        fetch::fetch_wait(&mut &self.handle, topic, start, max_records, Duration::ZERO).await
    }

    /// Reads records, and waits up to `wait` for a first one: see [`crate::Client::fetch_wait`].
    ///
    /// # Errors
    /// Those of the blocking method.
    pub async fn fetch_wait(
        &self,
        topic: &str,
        start: Start,
        max_records: u32,
        wait: Duration,
    ) -> Result<Fetch, Error> {
        fetch::fetch_wait(&mut &self.handle, topic, start, max_records, wait).await
    }

    /// Reads records of a topic that must still be the same one: see [`crate::Client::fetch_of`].
    ///
    /// # Errors
    /// Those of the blocking method.
    pub async fn fetch_of(
        &self,
        topic: &str,
        log: Option<(TopicId, Epoch)>,
        start: Start,
        max_bytes: u32,
    ) -> Result<Fetch, Error> {
        fetch::fetch_of(&mut &self.handle, topic, log, start, (max_bytes, 0), Duration::ZERO).await
    }

    /// Returns a stream of all records from `start` up to the log end offset at the first response, as
    /// [`crate::Client::records`]. Nothing is requested before the caller asks for the first item.
    ///
    /// ```no_run
    /// # async fn run(client: dht_client::tokio::Client) -> Result<(), dht_client::Error> {
    /// use dht_client::{Item, Start};
    ///
    /// let mut records = client.records("weather", Start::Earliest)?;
    /// while let Some(item) = records.next().await {
    ///     if let Item::Record(record) = item? {
    ///         println!("{}: {:?}", record.offset, record.value);
    ///     }
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// Returns [`Error::Name`].
    pub fn records(&self, topic: &str, start: Start) -> Result<Records, Error> {
        Ok(Records::new(self.handle.clone(), Reading::new(topic, start)?))
    }

    /// Subscribes to topics, each from `start`, with a connection of its own. When this returns, nothing that is
    /// published from then on is missed. If a topic cannot be subscribed to, its first and last [`Delivery`] says so.
    /// If its home is unreachable, its first item is [`Notice::Waiting`](crate::Notice::Waiting), and it is subscribed
    /// to as soon as possible.
    ///
    /// ```no_run
    /// # async fn run(client: dht_client::tokio::Client) -> Result<(), dht_client::Error> {
    /// use dht_client::{Item, Start};
    ///
    /// let mut subscriber = client.subscribe(&["weather"], Start::Next).await?;
    /// while let Some(delivery) = subscriber.next().await {
    ///     if let Item::Record(record) = delivery?.item? {
    ///         println!("{}: {:?}", record.offset, record.value);
    ///     }
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// Returns [`Error::Name`], or an error if no server answers.
    ///
    /// [`Delivery`]: crate::Delivery
    pub async fn subscribe(&self, topics: &[&str], start: Start) -> Result<Subscriber, Error> {
        let mut subscriptions = Subscriptions::new();
        topics.iter().try_for_each(|topic| subscriptions.add(topic, start))?;
        self.subscribe_to(subscriptions).await
    }

    /// Like [`Self::subscribe`], with a start for each topic, or another window.
    ///
    /// # Errors
    /// Returns an error if no server answers.
    pub async fn subscribe_to(&self, subscriptions: Subscriptions) -> Result<Subscriber, Error> {
        Subscriber::open(self.handle.settings(), subscriptions.streams).await
    }

    /// Returns the settings of a producer of a topic, which collects records into batches by itself.
    ///
    /// ```no_run
    /// # async fn run(client: dht_client::tokio::Client) -> Result<(), dht_client::Error> {
    /// use dht_client::Record;
    ///
    /// let producer = client.producer("weather").start()?;
    /// let mut sent = Vec::new();
    /// for value in [b"sunny", b"rainy"] {
    ///     sent.push(producer.send(&Record { value, ..Record::default() }).await?);
    /// }
    /// for acknowledgement in sent {
    ///     println!("stored at {}", acknowledgement.await?);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn producer(&self, topic: &str) -> ProducerBuilder {
        ProducerBuilder::new(self.handle.clone(), topic)
    }

    // --- nodes ---

    /// Returns all topics whose names start with `prefix`: see [`crate::Client::list`].
    ///
    /// # Errors
    /// Those of the blocking method.
    pub async fn list(&self, prefix: &str) -> Result<Listing, Error> {
        nodes::list(&mut &self.handle, prefix, true).await
    }

    /// Returns the first page of the topics of each node: see [`crate::Client::list_first`].
    ///
    /// # Errors
    /// Those of the blocking method.
    pub async fn list_first(&self, prefix: &str) -> Result<Listing, Error> {
        nodes::list(&mut &self.handle, prefix, false).await
    }

    /// Returns the addresses of all nodes: see [`crate::Client::nodes`].
    ///
    /// # Errors
    /// Those of the blocking method.
    pub async fn nodes(&self) -> Result<Vec<KnownNode>, Error> {
        nodes::nodes(&mut &self.handle).await
    }

    /// Returns the cluster as all its nodes see it: see [`crate::Client::cluster`].
    ///
    /// # Errors
    /// Those of the blocking method.
    pub async fn cluster(&self) -> Result<Cluster, Error> {
        nodes::cluster(&mut &self.handle).await
    }

    /// Returns the counters of nodes as lines of `name value`: see [`crate::Client::stats`].
    ///
    /// # Errors
    /// Those of the blocking method.
    pub async fn stats(&self, nodes: &[NodeId]) -> Result<Vec<NodeAnswer<String>>, Error> {
        nodes::stats(&mut &self.handle, nodes).await
    }

    /// Measures the round-trip time to a node: see [`crate::Client::ping`].
    ///
    /// # Errors
    /// Those of the blocking method.
    pub async fn ping(&self, node: NodeId) -> Result<Pong, Error> {
        nodes::ping(&mut &self.handle, node, random()).await
    }

    /// Returns the path to a node or to the home of a name: see [`crate::Client::trace`].
    ///
    /// # Errors
    /// Those of the blocking method.
    pub async fn trace(&self, target: TraceTarget<'_>) -> Result<Trace, Error> {
        trace::trace(&mut &self.handle, target).await
    }

    /// Returns the path to the home of a name: see [`crate::Client::trace_topic`].
    ///
    /// # Errors
    /// Those of the blocking method.
    pub async fn trace_topic(&self, topic: &str) -> Result<Trace, Error> {
        self.trace(TraceTarget::Topic(TopicName::new(topic)?)).await
    }
}
