//! What readers and subscribers get: records, gaps and notices.

use bytes::Bytes;
use dht_protocol::types::Offset;
use dht_protocol::wire::records;
use dht_protocol::wire::response::Fetched;

use crate::notice::Notice;

/// A record that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Its offset in the topic.
    pub offset: Offset,
    /// The time at which it was appended, in microseconds since 1970.
    pub append_us: u64,
    /// The publisher's timestamp, in microseconds since 1970.
    pub timestamp_us: Option<u64>,
    /// The key: what the record is about.
    pub key: Option<Bytes>,
    /// The headers, as names and values in their order.
    pub headers: Vec<(String, Bytes)>,
    /// The content.
    pub value: Bytes,
}

/// An item of an iterator over records or of a subscription.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item {
    /// A record.
    Record(Message),
    /// Records that no longer exist: retention removed them before they were read, or a repair of the node's disk gave
    /// them up.
    Gap {
        /// The first missing offset.
        from: Offset,
        /// The first offset that still exists.
        to: Offset,
    },
    /// Records of the subscription cannot arrive at the moment, or can arrive again. Only subscriptions have this item.
    Notice(Notice),
    /// Records exist, but their node cannot read them from its disk; its log says why ([`Status::Storage`]).
    ///
    /// [`Status::Storage`]: dht_protocol::wire::Status::Storage
    Lost {
        /// The first unreadable offset.
        from: Offset,
        /// The first readable offset after that.
        to: Offset,
    },
}

impl Item {
    /// Returns the offset of the record, or of the first missing one; `None` for a notice.
    pub const fn offset(&self) -> Option<Offset> {
        match self {
            Self::Record(message) => Some(message.offset),
            Self::Gap { from, .. } | Self::Lost { from, .. } => Some(*from),
            Self::Notice(_) => None,
        }
    }
}

/// Decodes the records of a payload; they share its memory.
pub(crate) fn messages(fetched: &Fetched) -> Result<Vec<Message>, records::RecordError> {
    let payload: Bytes = fetched.payload.parts.first().cloned().unwrap_or_default();
    let mut times = fetched.runs.iter().flat_map(|run| (0..run.count).map(|_| run.append_us));
    let mut messages = Vec::new();
    for record in records::iter(&payload) {
        let record = record?;
        messages.push(Message {
            offset: fetched.base.plus(messages.len() as u64),
            append_us: times.next().unwrap_or_default(),
            timestamp_us: record.timestamp_us,
            key: record.key.map(|key| payload.slice_ref(key)),
            headers: record.headers.iter().map(|(name, value)| (name.to_owned(), payload.slice_ref(value))).collect(),
            value: payload.slice_ref(record.value),
        });
    }
    let (announced, found) = (fetched.count, u32::try_from(messages.len()).unwrap_or(u32::MAX));
    if found == announced { Ok(messages) } else { Err(records::RecordError::Count { announced, found }) }
}
