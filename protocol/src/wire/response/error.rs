//! Error responses.

use super::{Response, decode_links, encode_links, topic_id};
use crate::types::{Epoch, Offset, TopicId};
use crate::wire::Status;
use crate::wire::field::{DecodeError, Observer, Reader, Writer};

/// Why a request was not executed, or why its outcome is unknown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ErrorResponse {
    /// The status byte; its class determines whether to retry.
    pub status: u8,
    /// How long to wait before a retry, in milliseconds; 0 means no wait.
    pub retry_after_ms: u32,
    /// The reason in words, never to be parsed.
    pub message: String,
    /// Facts for programs.
    pub details: Vec<Detail>,
}

/// A fact that a program may need.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Detail {
    /// The sequence that the topic expects.
    ExpectedSequence(u64),
    /// The log start offset.
    Earliest(Offset),
    /// The log end offset.
    Next(Offset),
    /// The limit that was exceeded.
    Limit(u64),
    /// The node that reports the error; with NOT_LEADER the node that leads, as far as the one that reports it knows.
    Node(u16),
    /// Number of hops that the frame made.
    Hops(u16),
    /// The dead links that the frame met, as the ids of their ends.
    Links(Vec<(u16, u16)>),
    /// The id of the topic that has the name now.
    TopicId(TopicId),
    /// The epoch of the topic's log.
    Epoch(Epoch),
    /// The term in which the named node leads.
    Term(u64),
}

/// The kind of a detail: the tag of its TLV.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the variants are named like those of `Detail`")]
pub enum Tag {
    ExpectedSequence = 0x10,
    Earliest = 0x11,
    Next = 0x12,
    Limit = 0x13,
    Node = 0x14,
    Hops = 0x15,
    Links = 0x16,
    TopicId = 0x17,
    Epoch = 0x18,
    Term = 0x19,
}

impl Tag {
    /// Returns the name that protocol.md gives the tag.
    pub const fn name(self) -> &'static str {
        match self {
            Self::ExpectedSequence => "EXPECTED_SEQUENCE",
            Self::Earliest => "EARLIEST",
            Self::Next => "NEXT",
            Self::Limit => "LIMIT",
            Self::Node => "NODE",
            Self::Hops => "HOPS",
            Self::Links => "LINKS",
            Self::TopicId => "TOPIC_ID",
            Self::Epoch => "EPOCH",
            Self::Term => "TERM",
        }
    }
}

impl Status {
    /// Returns the details of an error with this status: first those that it always has, then those that it may have.
    /// protocol.md contains the same table; clients rely on the details that are always present.
    pub const fn details(self) -> (&'static [Tag], &'static [Tag]) {
        match self {
            Self::UnknownTopic => (&[Tag::Node], &[]),
            Self::TopicExists | Self::Recreated => (&[Tag::TopicId], &[]),
            Self::TooLarge => (&[Tag::Limit], &[]),
            Self::OffsetOutOfRange => (&[Tag::Earliest, Tag::Next], &[]),
            Self::SequenceGap => (&[Tag::ExpectedSequence], &[]),
            Self::UnknownNode | Self::ShuttingDown => (&[], &[Tag::Node]),
            Self::NotLeader => (&[Tag::Node], &[Tag::Term]),
            Self::Quota => (&[], &[Tag::Limit]),
            Self::Truncated => (&[], &[Tag::Next, Tag::Epoch]),
            Self::Storage => (&[], &[Tag::Next]),
            Self::Overloaded => (&[Tag::Node], &[Tag::Hops, Tag::Links]),
            Self::Unreachable | Self::TtlExpired => (&[Tag::Node, Tag::Hops, Tag::Links], &[]),
            Self::Ok
            | Self::OkDuplicate
            | Self::OkExists
            | Self::BadRequest
            | Self::MalformedArgs
            | Self::MalformedRecords
            | Self::UnknownOpcode
            | Self::Unsupported
            | Self::InvalidName
            | Self::SequenceReused
            | Self::ProducerFenced
            | Self::UnknownSubscription
            | Self::ProducerExists
            | Self::CorruptFrame
            | Self::NoQuorum
            | Self::OutcomeUnknown
            | Self::UnknownProducer
            | Self::Internal
            | Self::ProtocolError
            | Self::BadHeader
            | Self::BadLength
            | Self::FrameTooLarge
            | Self::HelloRequired
            | Self::UnsupportedVersion
            | Self::ClusterMismatch
            | Self::DimensionMismatch
            | Self::NotANeighbour
            | Self::DuplicateNode
            | Self::KeepaliveTimeout
            | Self::Closing
            | Self::TooManyClients => (&[], &[]),
        }
    }
}

impl ErrorResponse {
    /// Returns an error without details and without a delay before a retry.
    pub fn new(status: Status, message: impl Into<String>) -> Self {
        Self { status: status.number(), retry_after_ms: 0, message: message.into(), details: Vec::new() }
    }

    /// Returns the error with one more detail.
    #[must_use]
    pub fn with(mut self, detail: Detail) -> Self {
        self.details.push(detail);
        self
    }

    /// Returns the error with a delay before a retry, in milliseconds.
    #[must_use]
    pub const fn retry_after(mut self, millis: u32) -> Self {
        self.retry_after_ms = millis;
        self
    }

    /// Returns the sequence that the topic expects next from this producer.
    pub fn expected_sequence(&self) -> Option<u64> {
        self.details.iter().find_map(|detail| if let Detail::ExpectedSequence(n) = detail { Some(*n) } else { None })
    }

    /// Returns the limit that the error is about.
    pub fn limit(&self) -> Option<u64> {
        self.details.iter().find_map(|detail| if let Detail::Limit(limit) = detail { Some(*limit) } else { None })
    }

    /// Returns the node that reports the error; of NOT_LEADER, the node that leads.
    pub fn node(&self) -> Option<u16> {
        self.details.iter().find_map(|detail| if let Detail::Node(node) = detail { Some(*node) } else { None })
    }

    /// Returns the term in which the named node leads.
    pub fn term(&self) -> Option<u64> {
        self.details.iter().find_map(|detail| if let Detail::Term(term) = detail { Some(*term) } else { None })
    }

    /// Returns the number of hops that the request made.
    pub fn hops(&self) -> Option<u16> {
        self.details.iter().find_map(|detail| if let Detail::Hops(hops) = detail { Some(*hops) } else { None })
    }

    /// Returns the dead links that the request met.
    pub fn down(&self) -> &[(u16, u16)] {
        let links =
            self.details.iter().find_map(|detail| if let Detail::Links(down) = detail { Some(down) } else { None });
        links.map_or(&[], Vec::as_slice)
    }

    /// Returns the first readable offset after damaged records, if the error is about damaged records.
    pub fn readable_from(&self) -> Option<Offset> {
        self.next_offset().filter(|_| self.status == Status::Storage.number())
    }

    /// Returns the topic's log end offset.
    pub fn next_offset(&self) -> Option<Offset> {
        self.details.iter().find_map(|detail| if let Detail::Next(next) = detail { Some(*next) } else { None })
    }

    /// Returns the name of the status in protocol.md.
    pub fn name(&self) -> &'static str {
        Status::from_number(self.status).map_or("UNKNOWN_STATUS", Status::name)
    }

    /// Maximum size of the message in bytes.
    const MESSAGE_MAX: u16 = 512;

    pub(in crate::wire) fn encode(&self, args: &mut Writer<'_>) {
        args.u32(self.retry_after_ms).str16(&self.message, Self::MESSAGE_MAX);
        self.details.iter().for_each(|detail| detail.encode(args));
    }

    pub(in crate::wire) fn decode(status: u8, mut args: Reader<'_, impl Observer>) -> Result<Self, DecodeError> {
        let retry_after_ms = args.u32("retry_after_ms")?;
        let message = args.str16("message")?.to_owned();
        let mut details = Vec::new();
        args.tlvs(|tag, value| {
            let detail = Detail::decode(tag, value)?;
            let known = detail.is_some();
            details.extend(detail);
            Ok(known)
        })?;
        Ok(Self { status, retry_after_ms, message, details })
    }
}

impl Detail {
    /// Returns the kind of the detail.
    pub const fn tag(&self) -> Tag {
        match self {
            Self::ExpectedSequence(_) => Tag::ExpectedSequence,
            Self::Earliest(_) => Tag::Earliest,
            Self::Next(_) => Tag::Next,
            Self::Limit(_) => Tag::Limit,
            Self::Node(_) => Tag::Node,
            Self::Hops(_) => Tag::Hops,
            Self::Links(_) => Tag::Links,
            Self::TopicId(_) => Tag::TopicId,
            Self::Epoch(_) => Tag::Epoch,
            Self::Term(_) => Tag::Term,
        }
    }

    pub(super) fn encode(&self, args: &mut Writer<'_>) {
        let tag = self.tag() as u8;
        match self {
            Self::ExpectedSequence(number) | Self::Limit(number) | Self::Term(number) => {
                args.tlv(tag, &number.to_be_bytes())
            }
            Self::Earliest(offset) | Self::Next(offset) => args.tlv(tag, &offset.0.to_be_bytes()),
            Self::Node(number) | Self::Hops(number) => args.tlv(tag, &number.to_be_bytes()),
            Self::Links(links) => {
                let mut value = Vec::new();
                encode_links(links, &mut Writer::new(&mut value));
                args.tlv(tag, &value)
            }
            Self::TopicId(id) => args.tlv(tag, &id.number().to_be_bytes()),
            Self::Epoch(epoch) => args.tlv(tag, &epoch.0.to_be_bytes()),
        };
    }

    pub(super) fn decode(tag: u8, mut value: Reader<'_, impl Observer>) -> Result<Option<Self>, DecodeError> {
        let detail = match tag {
            0x10 => Self::ExpectedSequence(value.u64("EXPECTED_SEQUENCE")?),
            0x11 => Self::Earliest(Offset(value.u64("EARLIEST")?)),
            0x12 => Self::Next(Offset(value.u64("NEXT")?)),
            0x13 => Self::Limit(value.u64("LIMIT")?),
            0x14 => Self::Node(value.u16("NODE")?),
            0x15 => Self::Hops(value.u16("HOPS")?),
            0x16 => Self::Links(decode_links(&mut value)?),
            0x17 => Self::TopicId(topic_id(&mut value)?),
            0x18 => Self::Epoch(Epoch(value.u32("EPOCH")?)),
            0x19 => Self::Term(value.u64("TERM")?),
            _ => return Ok(None),
        };
        if value.is_at_end() { Ok(Some(detail)) } else { Err(DecodeError::Value { field: "detail" }) }
    }
}

impl From<ErrorResponse> for Response {
    fn from(error: ErrorResponse) -> Self {
        Self::Error(Box::new(error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_detail_is_found_and_those_that_are_missing_are_not() {
        let none = ErrorResponse::new(Status::Storage, "damaged");
        let details = [
            Detail::ExpectedSequence(1),
            Detail::Limit(2),
            Detail::Node(3),
            Detail::Hops(4),
            Detail::Links(vec![(5, 6), (7, 8)]),
            Detail::Next(Offset(9)),
            Detail::Term(10),
        ];
        let all = details.into_iter().fold(none.clone(), ErrorResponse::with);
        let numbers = |error: &ErrorResponse| (error.expected_sequence(), error.limit(), error.node(), error.hops());
        assert_eq!((numbers(&none), numbers(&all)), ((None, None, None, None), (Some(1), Some(2), Some(3), Some(4))));
        assert_eq!((none.term(), all.term()), (None, Some(10)));
        assert_eq!((none.down(), all.down()), (&[][..], &[(5, 6), (7, 8)][..]));
        let offsets = |error: &ErrorResponse| (error.next_offset(), error.readable_from());
        assert_eq!((offsets(&none), offsets(&all)), ((None, None), (Some(Offset(9)), Some(Offset(9)))));
        let other = ErrorResponse { status: Status::OffsetOutOfRange.number(), ..all };
        assert_eq!(
            offsets(&other),
            (Some(Offset(9)), None),
            "only an error about damage has readable records after it"
        );
        assert_eq!((none.name(), ErrorResponse { status: 0xFF, ..none }.name()), ("STORAGE", "UNKNOWN_STATUS"));
    }
}
