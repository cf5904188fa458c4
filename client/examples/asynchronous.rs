//! Creates a topic, publishes records, reads them again, and waits for a new one: `blocking.rs` on Tokio.
//!
//! ```sh
//! scripts/deploy.sh
//! cargo run -p dht-client --features tokio --example asynchronous
//! ```
//!
//! An argument names other servers, as `HOST[:PORT]` separated by commas.

#![expect(clippy::print_stdout, reason = "it shows what it does")]

use dht_client::tokio::Client;
use dht_client::{Batch, Error, Item, Record, Retention, Start};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let servers = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:5000".to_owned());
    let client = Client::connect(&servers).await?;
    let (_, existed) = client.create("example", Retention::default()).await?;
    println!("{}", if existed { "the topic exists" } else { "the topic was created" });

    // A producer collects records into batches; each is stored once and in order.
    let producer = client.producer("example").start()?;
    let mut sent = Vec::new();
    for value in ["sunny", "cloudy", "rainy"] {
        sent.push(producer.send(&Record { value: value.as_bytes(), ..Record::default() }).await?);
    }
    for acknowledgement in sent {
        println!("stored at offset {}", acknowledgement.await?);
    }

    let mut records = client.records("example", Start::Earliest)?;
    while let Some(item) = records.next().await {
        show(&item?);
    }

    // Whatever is published from here on arrives. The subscriber has a connection of its own.
    let mut subscriber = client.subscribe(&["example"], Start::Next).await?;
    client.publish("example", &Batch::of(b"a storm")).await?;
    if let Some(delivery) = subscriber.next().await {
        show(&delivery?.item?);
    }
    Ok(())
}

fn show(item: &Item) {
    match item {
        Item::Record(record) => println!("{}: {}", record.offset, String::from_utf8_lossy(&record.value)),
        Item::Gap { from, to } => println!("{from} to {to} were removed by retention"),
        Item::Lost { from, to } => println!("{from} to {to} cannot be read from the node's disk"),
        Item::Notice(notice) => println!("{notice:?}"),
    }
}
