//! The asynchronous client behind the methods of the blocking one, for the tests that both clients pass.

use std::time::Duration;

use ::tokio::runtime::{self, Runtime};
use ::tokio::time::{sleep, timeout};

use dht_protocol::types::ProducerId;

use crate::tokio;
use crate::{
    Batch, Builder, Cluster, Delivery, Description, Error, Fetch, Item, KnownNode, Listing, NodeId, Offset, Published,
    Retention, Start, Subscriptions, Trace, TraceTarget,
};

#[expect(clippy::duplicate_mod, reason = "both clients pass the same tests")]
#[path = "operations.rs"]
mod operations;
mod producing;
#[expect(clippy::duplicate_mod, reason = "both clients pass the same tests")]
#[path = "records.rs"]
mod records;
mod sharing;
#[expect(clippy::duplicate_mod, reason = "both clients pass the same tests")]
#[path = "subscriber.rs"]
mod subscriber;

/// A subscriber has a connection of its own.
const HAS_OWN_CONNECTION: bool = true;

/// An asynchronous client, and the runtime that it is driven by during each call.
struct Client {
    runtime: Runtime,
    client: tokio::Client,
}

/// A subscriber, and the runtime that it is driven by during each call.
struct Subscriber<'c> {
    runtime: &'c Runtime,
    subscriber: tokio::Subscriber,
}

/// A stream of records, and the runtime that it is driven by during each call.
struct Records<'c> {
    runtime: &'c Runtime,
    records: tokio::Records,
}

fn connect(builder: Builder) -> Client {
    let client = subscribing(builder);
    client.runtime.block_on(client.client.ingress()).unwrap();
    client
}

/// Returns a client that is to have only a subscriber, whose connection is the first.
fn subscribing(builder: Builder) -> Client {
    let runtime = runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let client = runtime.block_on(async { tokio::Client::unconnected(builder) });
    Client { runtime, client }
}

#[expect(clippy::needless_pass_by_ref_mut, reason = "as in the blocking client")]
impl Client {
    fn server(&self) -> Option<String> {
        self.client.server()
    }

    fn to_builder(&self) -> Builder {
        self.client.to_builder()
    }

    fn idle(&mut self, time: Duration) -> Result<(), Error> {
        self.runtime.block_on(async { sleep(time).await });
        Ok(())
    }

    fn create(&mut self, topic: &str, retention: Retention) -> Result<(Description, bool), Error> {
        self.runtime.block_on(self.client.create(topic, retention))
    }

    fn query(&mut self, topic: &str) -> Result<Description, Error> {
        self.runtime.block_on(self.client.query(topic))
    }

    fn publish(&mut self, topic: &str, batch: &Batch) -> Result<Published, Error> {
        self.runtime.block_on(self.client.publish(topic, batch))
    }

    fn publish_as(&mut self, topic: &str, producer: ProducerId, batch: &Batch) -> Result<Published, Error> {
        self.runtime.block_on(self.client.publish_as(topic, producer, batch))
    }

    fn fetch(&mut self, topic: &str, start: Start, max_records: u32) -> Result<Fetch, Error> {
        self.runtime.block_on(self.client.fetch(topic, start, max_records))
    }

    fn fetch_wait(&mut self, topic: &str, start: Start, max_records: u32, wait: Duration) -> Result<Fetch, Error> {
        self.runtime.block_on(self.client.fetch_wait(topic, start, max_records, wait))
    }

    fn records(&mut self, topic: &str, start: Start) -> Result<Records<'_>, Error> {
        Ok(Records { runtime: &self.runtime, records: self.client.records(topic, start)? })
    }

    fn subscribe(&mut self, topics: &[&str], start: Start) -> Result<Subscriber<'_>, Error> {
        let subscriber = self.runtime.block_on(self.client.subscribe(topics, start))?;
        Ok(Subscriber { runtime: &self.runtime, subscriber })
    }

    fn subscribe_to(&mut self, subscriptions: Subscriptions) -> Result<Subscriber<'_>, Error> {
        let subscriber = self.runtime.block_on(self.client.subscribe_to(subscriptions))?;
        Ok(Subscriber { runtime: &self.runtime, subscriber })
    }

    fn list(&mut self, prefix: &str) -> Result<Listing, Error> {
        self.runtime.block_on(self.client.list(prefix))
    }

    fn cluster(&mut self) -> Result<Cluster, Error> {
        self.runtime.block_on(self.client.cluster())
    }

    fn nodes(&mut self) -> Result<Vec<KnownNode>, Error> {
        self.runtime.block_on(self.client.nodes())
    }

    fn trace(&mut self, target: TraceTarget<'_>) -> Result<Trace, Error> {
        self.runtime.block_on(self.client.trace(target))
    }
}

impl Subscriber<'_> {
    fn next_within(&mut self, time: Duration) -> Result<Option<Delivery>, Error> {
        self.runtime.block_on(async { timeout(time, self.subscriber.next()).await.ok().flatten().transpose() })
    }

    fn cursor(&self, topic: &str) -> Option<Offset> {
        self.subscriber.cursor(topic)
    }

    fn moved(&mut self) -> Option<(NodeId, NodeId)> {
        self.subscriber.moved()
    }
}

impl Iterator for Records<'_> {
    type Item = Result<Item, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        self.runtime.block_on(self.records.next())
    }
}

impl Drop for Subscriber<'_> {
    /// Lets the task write what is left of a CREDIT.
    fn drop(&mut self) {
        self.runtime.block_on(::tokio::task::yield_now());
    }
}

impl Iterator for Subscriber<'_> {
    type Item = Result<Delivery, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        self.runtime.block_on(self.subscriber.next())
    }
}
