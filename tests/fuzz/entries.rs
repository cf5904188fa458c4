//! The body of a journal record: entries that can be decoded are unchanged by encoding and decoding them again.

use bytes::Bytes;
use dht_node::entry::{self, BodyLen, Entry, Place};

/// Decodes the input as a body. Returns its length.
pub(crate) fn run(input: &[u8]) -> usize {
    let start = Place { segment: 4, position: 1000 };
    let body = Bytes::copy_from_slice(input);
    let Ok(mut entries) = entry::decode(&body, start) else { return input.len() };
    for entry in &entries {
        let Entry::Publish(batch) = entry else { continue };
        let at = (batch.place.position - start.position) as usize;
        assert_eq!(body[at..at + batch.payload.len()], batch.payload, "the position of a batch is right");
    }
    // The first encoding may differ from the input, because times are encoded relative to the first one, and numbers in
    // their shortest form.
    let again = encode(&mut entries.clone());
    assert_eq!(again.len(), BodyLen::of(&entries).bytes(), "the length is known before");
    let mut read = entry::decode(&again.clone().into(), start).expect("encoded entries can be decoded");
    assert_eq!(encode(&mut read), again);
    without_places(&mut read);
    without_places(&mut entries);
    assert_eq!(read, entries);
    input.len()
}

fn encode(entries: &mut [Entry]) -> Vec<u8> {
    let mut body = Vec::new();
    entry::encode(entries, &mut body);
    body
}

fn without_places(entries: &mut [Entry]) {
    for entry in entries {
        if let Entry::Publish(batch) = entry {
            batch.place = Place::default();
        }
    }
}
