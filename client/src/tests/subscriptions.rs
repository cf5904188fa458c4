//! What only the blocking client does: other requests on the connection of its subscriptions.

use std::time::Duration;

use dht_protocol::types::Offset;
use dht_protocol::wire::request::Start;
use dht_protocol::wire::{Opcode, Request};

use super::blocking::subscriber::{accept, end, expect, shown, take};
use crate::fake::{Fake, deliver, fetched, published, subscribed};
use crate::{Batch, Client, Deadline, Subscriptions};

#[test]
fn a_client_with_only_listed_servers_does_not_learn_others() {
    let fake = Fake::play(vec![Box::new(|peer| {
        peer.greet();
        peer.knows(&["127.0.0.1:1".parse().unwrap()]);
        let id = accept(peer, 0);
        peer.push(id, &deliver(0, b"a"));
        peer.flush();
        end(peer, 1);
    })]);
    let mut client = Client::builder().server(fake.address().clone()).only_listed().connect().unwrap();
    let mut subscriber = client.subscribe(&["t"], Start::Next).unwrap();
    assert_eq!(take(&mut subscriber, 1), ["t 0 a"]);
    assert_eq!(subscriber.client().session().servers(), 1);
    drop(subscriber);
    drop(client);
    fake.finish();
}

#[test]
fn other_requests_can_be_sent_while_subscriptions_are_open() {
    let fake = Fake::play(vec![Box::new(|peer| {
        peer.greet();
        let first = accept(peer, 0);
        let asked = peer.expect(Opcode::Publish);
        peer.push(first, &deliver(0, b"a"));
        peer.answer(&asked, &published(0, 1, false));
        peer.flush();
        // The answer to SUBSCRIBE arrives while the client waits for that to FETCH.
        let (second, asked) = (expect(peer), peer.expect(Opcode::Fetch));
        peer.answer(&second, &subscribed(5));
        peer.push(second.id, &deliver(5, b"b"));
        peer.answer(&asked, &fetched(0, 0, 1, b"a"));
        peer.flush();
        let end = peer.expect(Opcode::Unsubscribe);
        assert_eq!(end.request(), Request::Unsubscribe { subscription: first });
        peer.push(first, &deliver(1, b"late"));
        peer.push(second.id, &deliver(6, b"c"));
        peer.flush();
        self::end(peer, 1);
    })]);
    let mut client = fake.client();
    let mut subscriptions = Subscriptions::new();
    subscriptions.add("t", Start::Next).unwrap();
    subscriptions.settle(&mut client).unwrap();
    client.publish("t", &Batch::of(b"a")).unwrap();
    subscriptions.add("u", Start::Next).unwrap();
    let mut seen = Vec::new();
    let at_once = Deadline::at_once();
    seen.extend(subscriptions.next(&mut client, at_once).unwrap());
    assert!(subscriptions.next(&mut client, at_once).unwrap().is_none() && !subscriptions.is_settled());
    client.fetch("t", Start::Earliest, 0).unwrap();
    let soon = Deadline::after(Duration::from_secs(10));
    seen.extend(subscriptions.next(&mut client, soon).unwrap());
    assert_eq!(subscriptions.remove(&mut client, "t"), Some(Offset(1)));
    assert_eq!((subscriptions.remove(&mut client, "t"), subscriptions.contains("u")), (None, true));
    seen.extend(subscriptions.next(&mut client, soon).unwrap());
    assert_eq!(seen.iter().map(shown).collect::<Vec<_>>(), ["t 0 a", "u 5 b", "u 6 c"]);
    subscriptions.clear(&mut client);
    drop(client);
    fake.finish();
}
