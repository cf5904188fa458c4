//! Reads all records of a topic, from memory and the journal.

use dht_node::entry::{Found, TopicKey, Wanted};
use dht_node::journal::{Keeper, OpenError};
use dht_node::topic::{NotHeld, Topic};
use dht_node::types::SlotId;
use dht_node::wire::records::prefix_len;

use crate::disk::FakeDisk;

/// Returns the bytes of the records of a topic of a slot, from memory or, if they were evicted, from the journal.
pub(crate) fn of(slot: SlotId, topic: &Topic, keeper: Option<&Keeper<FakeDisk>>) -> Result<Vec<u8>, OpenError> {
    let key = TopicKey { slot, id: topic.id };
    let (mut at, mut bytes) = (topic.log.first(), Vec::new());
    while at < topic.log.next() {
        match topic.log.read(at, usize::MAX, u32::MAX) {
            Ok(read) => {
                at = read.base.plus(read.count.into());
                read.payload.parts.iter().for_each(|part| bytes.extend_from_slice(part));
            }
            Err(NotHeld) => {
                let wanted = Wanted::Records { from: at, max_bytes: 3000, max_records: u32::MAX };
                let keeper = keeper.expect("without a journal all records are in memory");
                let Found::Batches(batches) = keeper.read(key, wanted)? else { panic!("nothing was given up") };
                assert!(!batches.is_empty(), "{at:?} of {:?} is kept", topic.name());
                for (filed, payload) in batches {
                    let before = u32::try_from(at.0 - filed.base.0).expect("batches are contiguous");
                    bytes.extend_from_slice(&payload[prefix_len(&payload, before)..]);
                    at = filed.end();
                }
            }
        }
    }
    Ok(bytes)
}
