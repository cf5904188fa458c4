//! An asynchronous client, on [Tokio](https://docs.rs/tokio), with the feature `tokio`.
//!
//! It makes the same decisions as the blocking [`Client`](crate::Client): failover, retries, what an error says. Its
//! handles can be cloned and used by many tasks at a time, and their requests share one connection.
//!
//! ```no_run
//! use dht_client::tokio::Client;
//! use dht_client::{Batch, Retention, Start};
//!
//! # async fn run() -> Result<(), dht_client::Error> {
//! let client = Client::connect("127.0.0.1:5000,127.0.0.1:5001").await?;
//! client.create("weather", Retention::default()).await?;
//! client.publish("weather", &Batch::of(b"sunny")).await?;
//! let fetch = client.fetch("weather", Start::Earliest, 0).await?;
//! println!("{} records", fetch.messages.len());
//! # Ok(())
//! # }
//! ```
//!
//! Connecting spawns a task, so it must happen inside of a Tokio runtime that has I/O and time enabled, such as that of
//! `#[tokio::main]` (features `macros` and `rt-multi-thread` of the crate `tokio`). The task owns the connection and
//! ends with the last handle. [`Records`] and [`Subscriber`] are `Stream`s, and also have a method `next` of their own,
//! so that no other crate is needed to read them.
//!
//! ```text
//!  handles ── commands, a bounded channel ──► task ── requests, one write for all that are queued ──► node
//!          ◄── a oneshot for each response ──      ◄── responses in any order ──
//! ```

mod client;
mod driver;
mod handle;
mod producer;
mod records;
mod requests;
mod subscriber;

pub use client::Client;
pub use producer::{Acknowledgement, Producer, ProducerBuilder};
pub use records::Records;
pub use subscriber::Subscriber;
