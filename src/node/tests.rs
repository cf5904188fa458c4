//! Tests of the core by itself: frames in, frames out, and its behaviour at each limit.
//!
//! | file | subject |
//! |---|---|
//! | `harness` | a node whose peers are played by the test |
//! | `sent` | a frame that the node has sent, decoded |
//! | `clients` | which clients are accepted, and from which reads are suspended |
//! | `sources` | what clients of one address may use |
//! | `clocks` | jumps of the wall clock |
//! | `counters` | what the counters of STATS count |
//! | `drain` | the orderly shutdown: notifications, and the requests that are still served |
//! | `empty` | nodes that start without the topics that their neighbours knew |
//! | `links` | silence, replacement links, full send queues, and unreachable targets |
//! | `groups` | several groups of one node share its memory and its log |
//! | `topics` | LIST, producers, ages, the limit on topics |
//! | `changes` | settings, trimming, opened producers |
//! | `reads` | records that only the journal has: queries, answers, and records that are removed or damaged meanwhile |
//! | `readers` | the limits on readers, how long they wait, and how they catch up |
//! | `pulls` | fetches for readers: the limits on them, and that no reader is forgotten |
//! | `retries` | requests that another node does not answer or does not execute |
//! | `failover` | requests for a slot whose leader changes |
//! | `follow` | subscriptions follow the node that leads their slot |
//! | `growth` | the cost of tables: twice the entries take twice the work |
//! | `memory` | what clients make a node hold: reserved before it is read, and never more than the budget |
//! | `bounded` | no event and no turn takes as long as very many readers or requests need |
//! | `work` | the cost of requests, by which the event loop bounds its turns |
//! | `room` | what the log has no room for waits, and is refused on a full disk |
//! | `repeats` | PUBLISH requests whose args are those of an earlier one |
//! | `runs` | small batches of one turn that become one entry |
//! | `restore` | entries that are replayed at a start |
//! | `home` | how a home handles FEED, and what it reports in HEADS |
//! | `ingress` | how an ingress handles HEADS and epochs, and what it reports in FEED |
//! | `outage` | the notices to subscribers when a home is unreachable |

mod bounded;
mod changes;
mod clients;
mod clocks;
mod counters;
mod drain;
mod empty;
mod failover;
mod follow;
mod groups;
mod growth;
mod harness;
mod home;
mod ingress;
mod links;
mod memory;
mod outage;
mod pulls;
mod readers;
mod reads;
mod repeats;
mod restore;
mod retries;
mod room;
mod runs;
mod sent;
mod sources;
mod topics;
mod work;

pub(super) use harness::{SLOT, found, settings};
