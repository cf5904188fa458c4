//! Reading the records that a topic has, with both clients: `tests.rs` includes this file for each of them.

use dht_protocol::types::Offset;
use dht_protocol::wire::{Opcode, Request, Status};

use super::connect;
use crate::fake::{Fake, fetched};
use crate::{Item, Start};

#[test]
fn records_are_read_to_the_end_of_the_log_at_the_start_with_gaps_reported() {
    let fake = Fake::play(vec![Box::new(|peer| {
        peer.greet();
        // The expected start of each FETCH, and the answer.
        let answers = [
            (Start::Earliest, fetched(0, 0, 6, b"ab")),
            (Start::Offset(Offset(2)), fetched(2, 4, 9, b"e")),
            (Start::Offset(Offset(5)), fetched(5, 5, 9, b"fgh")),
        ];
        for (index, (start, answer)) in answers.into_iter().enumerate() {
            let asked = peer.expect(Opcode::Fetch);
            let Request::Fetch(fetch) = asked.request() else { panic!("FETCH is decoded as FETCH") };
            assert_eq!(fetch.start, start);
            assert_eq!(
                fetch.topic.id.is_some() && fetch.epoch.is_some(),
                index > 0,
                "later requests name the topic's id and epoch"
            );
            peer.answer(&asked, &answer);
            peer.flush();
        }
        peer.wait_for_end();
    })]);
    let mut client = connect(fake.builder());
    let items: Vec<_> = client.records("t", Start::Earliest).unwrap().map(Result::unwrap).collect();
    let shown: Vec<_> = items
        .iter()
        .map(|item| match item {
            Item::Record(record) => format!("{}{}", record.offset, char::from(record.value[0])),
            Item::Gap { from, to } => format!("{from}-{to}"),
            Item::Notice(notice) => format!("{notice:?}"),
            Item::Lost { from, to } => format!("lost {from}-{to}"),
        })
        .collect();
    assert_eq!(shown, ["0a", "1b", "2-4", "4e", "5f"]);
    drop(client);
    fake.finish();
}

#[test]
fn reading_ends_with_the_error_of_a_recreated_topic() {
    let fake = Fake::play(vec![Box::new(|peer| {
        peer.greet();
        let asked = peer.expect(Opcode::Fetch);
        peer.answer(&asked, &fetched(0, 0, 6, b"ab"));
        peer.flush();
        let asked = peer.expect(Opcode::Fetch);
        peer.refuse(&asked, Status::Recreated, 0, Vec::new());
        peer.flush();
        peer.wait_for_end();
    })]);
    let mut client = connect(fake.builder());
    let mut records = client.records("t", Start::Earliest).unwrap();
    assert!(records.next().unwrap().is_ok() && records.next().unwrap().is_ok());
    assert_eq!(records.next().unwrap().unwrap_err().status(), Some(Status::Recreated));
    assert!(records.next().is_none());
    drop(records);
    drop(client);
    fake.finish();
}
