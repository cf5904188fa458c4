//! HELLO, the first frame in each direction, and GOAWAY, the last.

use super::field::{DecodeError, Observer, Reader, TAGS_GREASE, Writer};
use super::frame::VERSION;
use super::status::Status;
use crate::limits::{FRAME_MAX, LABEL_MAX};

/// TLV of a HELLO between nodes, and of the response to a PING between nodes: the number of topics that the sender
/// holds, as a u32.
pub(super) const TAG_TOPICS: u8 = 0x34;

/// TLV of a HELLO between nodes: the number of topics that the sender knew the receiver to hold, as a u32.
const TAG_TOPICS_KNOWN: u8 = 0x35;

/// TLV of a HELLO between nodes: the number of nodes that keep each topic, as a u8 from 1 to 255; 1 if it is absent.
const TAG_REPLICAS: u8 = 0x36;

/// The role of the sender of a HELLO.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// A client of the cluster.
    Client = 1,
    /// A node of the cluster.
    Node = 2,
}

/// The `node_id` of a client.
pub const NO_NODE: u16 = 0xFFFF;

/// Assigned feature bits, by bit number, with their names.
pub const FEATURES: [(u8, &str); 1] = [(NOTICES_BIT, "NOTICES")];

/// Reserved feature bits, with the names that they will have. Until they are assigned, no sender sets them.
pub const FEATURES_RESERVED: [(u8, &str); 3] = [(0, "GROUPS"), (1, "SPANS"), (2, "GROW")];

/// The bit number of [`Hello::NOTICES`].
const NOTICES_BIT: u8 = 3;

/// The args of HELLO, which are the same in both directions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    /// The lowest version that the sender supports; in a response, the chosen version.
    pub version_min: u8,
    /// The highest version that the sender supports; in a response, the chosen version.
    pub version_max: u8,
    /// The role of the sender.
    pub role: Role,
    /// The cube's dimension; 0 from a client.
    pub dimension: u8,
    /// The node's id; [`NO_NODE`] from a client.
    pub node: u16,
    /// The silence after which the connection is closed; 0 leaves the choice to the other side.
    pub keepalive_ms: u32,
    /// Largest frame that the sender accepts, in bytes; in a response, the smaller of both values.
    pub max_frame: u32,
    /// Number of unanswered requests above which the responder suspends reads; 0 in a request.
    pub max_inflight: u32,
    /// Bits of optional features ([`FEATURES`]); a response has the bits that both sides support. Other bits are
    /// reserved or unassigned, and the upper 16 are for GREASE.
    pub features: u64,
    /// The instance: a random number for each start of a node or client.
    pub instance: u64,
    /// The cluster's name; from a client, an empty name accepts any cluster.
    pub cluster: String,
    /// Name and version of the sender's program, for operators.
    pub software: String,
    /// Number of topics that the sender holds; only between nodes, and `None` from older ones.
    pub topics: Option<u32>,
    /// Number of topics that the receiver held when it last reported more than 0 to the sender; only between nodes, and
    /// `None` when it never did. A receiver that has lost its topics learns from this that it had some.
    pub topics_known: Option<u32>,
    /// Number of nodes that keep each topic, from 1 to 255; only between nodes. `None` stands for 1.
    pub replicas: Option<u8>,
}

impl Hello {
    /// The feature of clients that understand the EVENTs WAITING and FLOWING.
    pub const NOTICES: u64 = 1 << NOTICES_BIT;

    /// Returns the HELLO of a client with all defaults: any cluster, the node's keepalive, the largest frames.
    pub fn of_client(instance: u64, software: &str) -> Self {
        Self {
            version_min: VERSION,
            version_max: VERSION,
            role: Role::Client,
            dimension: 0,
            node: NO_NODE,
            keepalive_ms: 0,
            max_frame: FRAME_MAX,
            max_inflight: 0,
            features: 0,
            instance,
            cluster: String::new(),
            software: software.to_owned(),
            topics: None,
            topics_known: None,
            replicas: None,
        }
    }

    /// Encodes the args. With `grease`, they contain one TLV without a meaning.
    pub fn encode(&self, args: &mut Writer<'_>, grease: Option<u64>) {
        args.u8(self.version_min).u8(self.version_max).u8(self.role as u8).u8(self.dimension).u16(self.node).u16(0);
        args.u32(self.keepalive_ms).u32(self.max_frame).u32(self.max_inflight).u64(self.features).u64(self.instance);
        args.str8(&self.cluster).str8(&self.software);
        for (tag, count) in [(TAG_TOPICS, self.topics), (TAG_TOPICS_KNOWN, self.topics_known)] {
            if let Some(count) = count {
                args.tlv(tag, &count.to_be_bytes());
            }
        }
        if let Some(replicas) = self.replicas {
            args.tlv(TAG_REPLICAS, &[replicas]);
        }
        if let Some(random) = grease {
            args.tlv(TAGS_GREASE[(random % 4) as usize], &random.to_be_bytes()[..(random >> 8) as usize % 5]);
        }
    }

    /// Decodes the args.
    ///
    /// # Errors
    /// Returns a [`DecodeError`], which names the field.
    pub fn decode(args: &[u8]) -> Result<Self, DecodeError> {
        Self::read(Reader::new(args))
    }

    pub(super) fn read(mut args: Reader<'_, impl Observer>) -> Result<Self, DecodeError> {
        let version_min = args.u8("version_min")?;
        let version_max = args.u8("version_max")?;
        let role = match args.u8("role")? {
            1 => Role::Client,
            2 => Role::Node,
            _ => return Err(DecodeError::Value { field: "role" }),
        };
        let dimension = args.u8("dimension")?;
        let node = args.u16("node_id")?;
        args.u16("reserved")?;
        let mut hello = Self {
            version_min,
            version_max,
            role,
            dimension,
            node,
            keepalive_ms: args.u32("keepalive_ms")?,
            max_frame: args.u32("max_frame")?,
            max_inflight: args.u32("max_inflight")?,
            features: args.u64("features")?,
            instance: args.u64("instance")?,
            cluster: label(&mut args, "cluster")?,
            software: label(&mut args, "software")?,
            topics: None,
            topics_known: None,
            replicas: None,
        };
        args.tlvs(|tag, mut value| {
            match tag {
                TAG_REPLICAS => hello.replicas = Some(replicas(value.rest("replicas"))?),
                TAG_TOPICS => hello.topics = Some(count(value, "topics")?),
                TAG_TOPICS_KNOWN => hello.topics_known = Some(count(value, "topics_known")?),
                _ => return Ok(false),
            }
            Ok(true)
        })?;
        Ok(hello)
    }
}

/// Decodes the value of a TLV that is a u32.
pub(super) fn count(mut value: Reader<'_, impl Observer>, field: &'static str) -> Result<u32, DecodeError> {
    value.rest(field).try_into().map(u32::from_be_bytes).map_err(|_| DecodeError::Value { field })
}

fn replicas(value: &[u8]) -> Result<u8, DecodeError> {
    match value {
        [number @ 1..=u8::MAX] => Ok(*number),
        _ => Err(DecodeError::Value { field: "replicas" }),
    }
}

/// The args of GOAWAY: why the sender closes the connection, and which requests were not executed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Goaway {
    /// The reason; it is in the header's status byte.
    pub status: Status,
    /// The highest `request_id` that the sender accepted on this connection; later requests were not executed.
    pub last_request_id: u64,
    /// The reason in words.
    pub message: String,
}

impl Goaway {
    /// Maximum size of the message in bytes.
    const MESSAGE_MAX: u16 = 512;

    /// Encodes the args.
    pub fn encode(&self, args: &mut Writer<'_>) {
        args.u64(self.last_request_id).str16(&self.message, Self::MESSAGE_MAX);
    }

    /// Decodes the args. An unknown status is replaced by one of the same class.
    ///
    /// # Errors
    /// Returns a [`DecodeError`], which names the field.
    pub fn decode(status: u8, args: &[u8]) -> Result<Self, DecodeError> {
        Self::read(status, Reader::new(args))
    }

    pub(super) fn read(status: u8, mut args: Reader<'_, impl Observer>) -> Result<Self, DecodeError> {
        let goaway = Self {
            status: Status::from_number(status).unwrap_or(Status::ProtocolError),
            last_request_id: args.u64("last_request_id")?,
            message: args.str16("message")?.to_owned(),
        };
        args.end()?;
        Ok(goaway)
    }
}

fn label(args: &mut Reader<'_, impl Observer>, field: &'static str) -> Result<String, DecodeError> {
    let text = args.str8(field)?;
    if text.len() > LABEL_MAX || text.chars().any(char::is_control) {
        return Err(DecodeError::Value { field });
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_is_short_and_has_no_control_characters() {
        let cases = [
            ("".to_owned(), true),
            ("x".repeat(LABEL_MAX), true),
            ("x".repeat(LABEL_MAX + 1), false),
            ("a\n".to_owned(), false),
        ];
        for (text, is_valid) in cases {
            let mut bytes = Vec::new();
            Writer::new(&mut bytes).str8(&text);
            assert_eq!(label(&mut Reader::new(&bytes), "software").is_ok(), is_valid, "{text:?}");
        }
    }
}
