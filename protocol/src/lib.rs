//! The wire format of dht-node, a distributed hash table of topics with publish and subscribe: everything that both
//! ends of a connection must agree on, without I/O, clocks or threads.
//!
//! | module | what it is |
//! |---|---|
//! | [`wire`] | frames, requests, responses, pushes and records: encoding and decoding side by side |
//! | [`types`] | ids, offsets, topic names, sets of nodes and links: constructors reject invalid values |
//! | [`cube`] | the geometry: the node that a topic lives on, and the link that a frame takes next |
//! | [`limits`] | every limit of the format, with its reason |
//!
//! To use a cluster from a program, depend on `dht-client`, which does what this crate leaves out: sockets, failover,
//! retries, subscriptions.
//!
//! A request as a client sends it, and as a node reads it:
//!
//! ```
//! use dht_protocol::limits::FRAME_MAX;
//! use dht_protocol::types::{Dimension, RequestId, TopicName};
//! use dht_protocol::wire::request::Topic;
//! use dht_protocol::wire::{Flags, Frame, Head, Header, Opcode, Raw, Request};
//!
//! let topic = Topic { name: TopicName::new("weather").unwrap(), id: None };
//! let request = Request::Info(topic);
//! let opcode = request.opcode().number();
//! let head = Head { opcode, flags: Flags::default(), status: 0, request_id: RequestId(2) };
//! let mut bytes = Vec::new();
//! head.seal(None, (0, 0), &mut bytes, |args| request.encode(args));
//!
//! let header = Header::parse(&bytes, FRAME_MAX).unwrap().expect("the header is complete");
//! assert_eq!((header.frame_len(), header.request_id), (bytes.len(), RequestId(2)));
//! let dimension = Dimension::new(3).expect("at most 10");
//! let frame = Frame::parse(header, Raw::Borrowed(&bytes), dimension).unwrap();
//! assert_eq!(Request::decode(Opcode::Info, frame.args().unwrap()), Ok(request));
//! ```
//!
//! Nothing here panics on bytes that a peer has sent. `protocol.md` in the project's repository is the normative
//! specification, and `tests/vectors` beside it holds valid and invalid frames for other implementations.

pub mod cube;
pub mod limits;
pub mod types;
pub mod wire;
