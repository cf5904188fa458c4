//! The asynchronous client: nothing is lost and nothing doubled when the node dies that it is connected to.

use dht_client::{Builder, Item, Record, Retention, Start};
use tokio::runtime;

use crate::cube::Cube;
use crate::daemon::PATIENCE;
use crate::stream::content;

/// Number of records.
const RECORDS: u64 = 3000;

#[test]
fn publishing_and_subscribing_survive_the_death_of_the_ingress() {
    let mut cube = Cube::start(3);
    let topic = cube.topic_at(7, "asynchronous");
    let servers = [0, 2].map(|node| cube.address(node).to_string().parse().unwrap());
    let builder = Builder::default().servers(servers).only_listed().timeout(PATIENCE);
    let runtime = runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let client = builder.connect_tokio().await.unwrap();
        client.create(&topic, Retention::default()).await.unwrap();
        let mut subscriber = client.subscribe(&[&topic], Start::Earliest).await.unwrap();
        let producer = client.producer(&topic).start().unwrap();
        let mut sent = Vec::new();
        for number in 0..RECORDS {
            let value = &content(number, 200);
            sent.push(producer.send(&Record { value, ..Record::default() }).await.unwrap());
            if number == RECORDS / 3 {
                assert_eq!(sent.remove(0).await.unwrap().0, 0); // the producer is connected
                cube.kill(0);
            }
        }
        for (number, acknowledgement) in (1..).zip(sent) {
            assert_eq!(acknowledgement.await.unwrap().0, number);
        }
        let mut number = 0;
        while number < RECORDS {
            match subscriber.next().await.unwrap().unwrap().item.unwrap() {
                Item::Record(record) => {
                    assert_eq!((record.offset.0, record.value.to_vec()), (number, content(number, 200)));
                    number += 1;
                }
                Item::Notice(_) => {}
                other @ (Item::Gap { .. } | Item::Lost { .. }) => panic!("{other:?} before {number}"),
            }
        }
        assert_eq!(subscriber.moved().map(|(from, to)| (from.index(), to.index())), Some((0, 2)));
        assert_eq!(client.info(&topic).await.unwrap().topic.unwrap().next.0, RECORDS);
        assert_eq!(client.server().unwrap(), cube.address(2).to_string());
    });
}
