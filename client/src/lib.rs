//! A blocking client of a cluster, without threads of its own. With the feature `tokio` there is also an asynchronous
//! one, in the module `tokio`.
//!
//! ```no_run
//! use dht_client::{Batch, Client, Item, Retention, Start};
//!
//! # fn main() -> Result<(), dht_client::Error> {
//! let mut client = Client::connect("127.0.0.1:5000,127.0.0.1:5001")?;
//! client.create("weather", Retention::default())?;
//! client.publish("weather", &Batch::of(b"sunny"))?;
//! for item in client.records("weather", Start::Earliest)? {
//!     match item? {
//!         Item::Record(record) => println!("{}: {:?}", record.offset, record.value),
//!         Item::Gap { from, to } => println!("{from} to {to} were removed by retention"),
//!         Item::Lost { from, to } => println!("{from} to {to} cannot be read from the node's disk"),
//!         Item::Notice(_) => {} // only subscriptions have them
//!     }
//! }
//! for delivery in client.subscribe(&["weather"], Start::Next)? {
//!     if let Item::Record(record) = delivery?.item? {
//!         println!("{}: {:?}", record.offset, record.value);
//!     }
//! }
//! # Ok(())
//! # }
//! ```
//!
//! | file | what |
//! |---|---|
//! | `builder` | servers, timeout, names |
//! | `client` | one request at a time, through whichever server answers; drives a session |
//! | `topics`, `publish`, `fetch`, `nodes`, `trace` | the operations, for any `caller` |
//! | `producer` | many batches in flight, each stored once and in order |
//! | `subscriber`, `subscriptions` | new records of topics as they are published, each once and in order |
//! | `item`, `notice` | what readers and subscribers get |
//! | `json` | the same as JSON, with the feature `json` |
//! | `connection` | the layer below: requests out, responses and pushes in, without retries |
//! | `session` | connecting, failover, retries, subscriptions: decisions, without sockets and without a clock |
//! | `stream` | the socket |
//! | `tokio/` | the asynchronous client: another driver of the same session and operations |
//! | `address`, `error`, `clock` | addresses, errors, deadlines |
//!
//! An idempotent request (all but PUBLISH without a producer) is retried until the timeout if a connection is lost or
//! if the node says that the request may succeed later. [`Client::publish`] is retried only if the node said that the
//! batch was not stored; [`Client::publish_as`] and a [`Producer`] may always retry.

mod address;
mod builder;
mod caller;
mod client;
mod clock;
mod connection;
mod error;
#[cfg(test)]
mod fake;
mod fetch;
mod item;
#[cfg(feature = "json")]
pub mod json;
mod nodes;
mod notice;
mod producer;
mod publish;
mod session;
mod stream;
mod subscriber;
mod subscriptions;
#[cfg(test)]
mod tests;
#[cfg(feature = "tokio")]
pub mod tokio;
mod topics;
mod trace;

pub use address::{Address, AddressError, PORT_DEFAULT};
pub use builder::Builder;
pub use client::Client;
pub use connection::Connection;
pub use error::{Error, Fault, Loss};
pub use fetch::{Fetch, Records};
pub use item::{Item, Message};
pub use nodes::{Cluster, Edge, KnownNode, Listing, Member, NodeAnswer, Pong};
pub use notice::{Notice, WaitReason};
pub use producer::Producer;
pub use publish::Batch;
pub use session::deadline::Deadline;
pub use session::handshake::Introduction;
pub use session::incoming::{Answer, Incoming, Pushed};
pub use session::publisher::Ack;
pub use session::streams::Delivery;
pub use session::tap::Direction;
pub use subscriber::Subscriber;
pub use subscriptions::Subscriptions;
pub use topics::Trimmed;
pub use trace::{Hop, Trace};

pub use dht_protocol::types::{Dimension, Epoch, NodeId, Offset, ProducerId, SettingsChange, TopicId, TopicName};
pub use dht_protocol::wire::push::Push;
pub use dht_protocol::wire::records::Record;
pub use dht_protocol::wire::request::{Retention, Start, TraceTarget};
pub use dht_protocol::wire::response::{
    CopiesView, CopyView, Description, Durability, ErrorResponse, LinkState, Listed, OpenedProducer, Published,
    TopicState,
};

/// The example in README.md must compile.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
