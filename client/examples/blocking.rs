//! Creates a topic, publishes records, reads them again, and waits for a new one.
//!
//! ```sh
//! scripts/deploy.sh
//! cargo run -p dht-client --example blocking
//! ```
//!
//! An argument names other servers, as `HOST[:PORT]` separated by commas.

#![expect(clippy::print_stdout, reason = "it shows what it does")]

use dht_client::{Batch, Client, Error, Item, Record, Retention, Start};

fn main() -> Result<(), Error> {
    let servers = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:5000".to_owned());
    let mut client = Client::connect(&servers)?;
    let (_, existed) = client.create("example", Retention::default())?;
    println!("{}", if existed { "the topic exists" } else { "the topic was created" });

    // A producer collects records into batches; each is stored once and in order.
    let mut producer = client.producer("example")?;
    for value in ["sunny", "cloudy", "rainy"] {
        producer.send_record(&Record { value: value.as_bytes(), ..Record::default() })?;
    }
    producer.flush()?;
    for ack in producer.acks() {
        println!("{} stored from offset {} on", ack.published.count, ack.published.base);
    }
    drop(producer);

    for item in client.records("example", Start::Earliest)? {
        show(&item?);
    }

    // Whatever is published from here on arrives.
    let mut subscriber = client.subscribe(&["example"], Start::Next)?;
    subscriber.client().publish("example", &Batch::of(b"a storm"))?;
    if let Some(delivery) = subscriber.next() {
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
