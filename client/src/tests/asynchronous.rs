//! The asynchronous client behind the methods of the blocking one, for the tests that both clients pass.

use std::time::Duration;

use ::tokio::runtime::{self, Runtime};
use ::tokio::time::sleep;

use crate::tokio;
use crate::{
    Batch, Builder, Cluster, Description, Error, Fetch, KnownNode, Listing, Published, Retention, Start, Trace,
    TraceTarget,
};

#[expect(clippy::duplicate_mod, reason = "both clients pass the same tests")]
#[path = "operations.rs"]
mod operations;
mod sharing;

/// An asynchronous client, and the runtime that it is driven by during each call.
struct Client {
    runtime: Runtime,
    client: tokio::Client,
}

fn connect(builder: Builder) -> Client {
    let runtime = runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let client = runtime.block_on(builder.connect_tokio()).unwrap();
    Client { runtime, client }
}

#[expect(clippy::needless_pass_by_ref_mut, reason = "as in the blocking client")]
impl Client {
    fn server(&self) -> Option<String> {
        self.client.server()
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

    fn fetch(&mut self, topic: &str, start: Start, max_records: u32) -> Result<Fetch, Error> {
        self.runtime.block_on(self.client.fetch(topic, start, max_records))
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
