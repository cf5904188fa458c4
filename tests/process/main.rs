//! Real `dht-node` processes on free ports of 127.0.0.1, driven through the client library and through raw sockets.
//!
//! | file | what |
//! |---|---|
//! | `daemon`, `cube` | the harness: one process, and a cube of them |
//! | `raw` | a socket that sends any bytes and takes frames apart |
//! | `requests` | requests and records in short |
//! | `stream` | a subscription that holds the node to the contract; records that are known by their content |
//! | `forming` | start orders, restarts, two processes of one id |
//! | `tour` | the tour of the README, with dead nodes in it |
//! | `load` | publishing while nodes die, a thousand clients, a thousand connects |
//! | `slices` | frames in pieces, many in one write, half-close |
//! | `rubbish`, `claims`, `announced` | what is no frame, who is no neighbour, lengths without bytes |
//! | `vectors` | the bad frames of the protocol's vectors |
//! | `slow` | clients that do not read |
//! | `large` | the largest frames |
//! | `logs` | what nodes log: little, whatever others do |
//! | `descriptors` | a node that may open few files |
//! | `bounds` | the memory cap, retention |
//! | `subscribe` | subscriptions: one order for all, links, credit, their ends |
//! | `subscribers` | a thousand of them, those that do not read, those that go in bad manners |
//! | `survivors` | subscribers through deaths of the ingress, of a node on the way, of the home |
//! | `polls` | FETCH that waits |
//! | `ending` | signals |
//! | `command_line` | what the daemon refuses to start with; its options in the environment |
//! | `names` | peers by host name, IPv6, the addresses that clients are told |
//! | `durable` | what is acknowledged stays, whatever happens to process, folder and disk |
//! | `document` | the Python client of protocol.md as it stands there |
//!
//! Nothing sleeps: what is waited for is asked for again and again until a deadline that no healthy run comes near.

#![expect(clippy::unwrap_used, clippy::wildcard_enum_match_arm, reason = "what a test did not expect, fails it")]

mod announced;
mod bounds;
mod claims;
mod command_line;
mod cube;
mod daemon;
mod descriptors;
mod document;
mod durable;
mod ending;
mod forming;
mod large;
mod load;
mod logs;
mod names;
mod polls;
mod raw;
mod requests;
mod rubbish;
mod slices;
mod slow;
mod stream;
mod subscribe;
mod subscribers;
mod survivors;
mod tour;
mod vectors;
