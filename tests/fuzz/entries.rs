//! The body of a record of the journal: entries that were read are written so that they are read again.

use bytes::Bytes;
use dht_node::record::{self, Entry, Place};

/// Reads the input as a body. How many bytes it has.
pub(crate) fn run(input: &[u8]) -> usize {
    let start = Place { segment: 4, position: 1000 };
    let body = Bytes::copy_from_slice(input);
    let Ok(mut entries) = record::decode(&body, start) else { return input.len() };
    for entry in &entries {
        let Entry::Publish(batch) = entry else { continue };
        let at = (batch.place.position - start.position) as usize;
        assert_eq!(body[at..at + batch.payload.len()], batch.payload, "a batch is where it says");
    }
    // Times are written relative to the first one, and numbers in their shortest form: the bytes may differ once.
    let len_max: usize = 8 + entries.iter().map(record::encoded_len_max).sum::<usize>();
    let again = encode(&mut entries.clone(), start);
    assert!(again.len() <= len_max, "room for so many is made");
    let mut read = record::decode(&again.clone().into(), start).expect("what was written can be read");
    assert_eq!(encode(&mut read, start), again);
    without_places(&mut read);
    without_places(&mut entries);
    assert_eq!(read, entries);
    input.len()
}

fn encode(entries: &mut [Entry], start: Place) -> Vec<u8> {
    let mut body = Vec::new();
    record::encode(entries, start, &mut body);
    body
}

fn without_places(entries: &mut [Entry]) {
    for entry in entries {
        if let Entry::Publish(batch) = entry {
            batch.place = Place::default();
        }
    }
}
