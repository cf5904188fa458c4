//! Real `dht-node` processes on free ports of 127.0.0.1, driven through the client library and through raw sockets.
//!
//! | file | what |
//! |---|---|
//! | `daemon`, `cube` | the harness: a single process, and a cube of them |
//! | `raw` | a socket that sends arbitrary bytes and decodes frames |
//! | `requests` | short forms for requests and records |
//! | `stream` | a subscription that checks every frame; records that are recognised by their content |
//! | `forming` | the order in which nodes start, restarts, two processes with one id |
//! | `tour` | the tour of the README, with dead nodes |
//! | `load` | publishing while nodes die, a thousand clients, a thousand simultaneous connects |
//! | `slices` | fragmented frames, many frames in one write, half-close |
//! | `rubbish`, `claims`, `announced` | bytes that are not frames, false neighbours, large lengths without the bytes |
//! | `vectors` | the invalid frames of the protocol's vectors |
//! | `slow` | clients that do not read |
//! | `fairness` | clients that ask for much work, or ask and go |
//! | `large` | the largest frames |
//! | `logs` | nodes log little, whatever their peers do |
//! | `descriptors` | a node with few file descriptors |
//! | `bounds` | the memory limit, retention |
//! | `memory` | the memory of a node whose clients make it hold as much as they can |
//! | `subscribe` | subscriptions: one order for all, traffic on links, credit, how they end |
//! | `subscribers` | a thousand subscriptions, clients that do not read, clients that disappear |
//! | `survivors` | subscribers that survive the death of the ingress, of a transit node, and of the home |
//! | `asynchronous` | the asynchronous client, whose node dies |
//! | `polls` | FETCH that waits for records |
//! | `ending` | signals and shutdown |
//! | `command_line` | arguments that the daemon refuses; its options in the environment |
//! | `names` | peers by host name, IPv6, the addresses for clients |
//! | `durable` | acknowledged records survive whatever happens to process, folder and disk |
//! | `history` | whether the history of all requests for a topic is linearizable |
//! | `replicated` | three copies of each topic, while nodes are killed or stopped, or a majority of a group is down |
//! | `recovery` | three copies of each topic, made from one copy, from the last one that is left, or from backups |
//! | `document` | the Python client that is printed in protocol.md |
//!
//! No test relies on timing: conditions are polled until a deadline that no healthy run comes near.

#![expect(clippy::unwrap_used, clippy::wildcard_enum_match_arm, reason = "an unexpected result fails the test")]

mod announced;
mod asynchronous;
mod bounds;
mod claims;
mod command_line;
mod cube;
mod daemon;
mod descriptors;
mod document;
mod durable;
mod ending;
mod examples;
mod fairness;
mod forming;
mod history;
mod large;
mod load;
mod logs;
mod memory;
mod names;
mod polls;
mod raw;
mod recovery;
mod replicated;
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
