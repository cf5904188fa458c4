//! The core by itself: frames in, frames out, and what happens at each limit.
//!
//! | file | subject |
//! |---|---|
//! | `harness` | a node whose connections are the test |
//! | `sent` | a frame that the node has sent, decoded |
//! | `clients` | who is let in, and who is not read |
//! | `clocks` | wall clocks that jump |
//! | `drain` | an orderly end: whoever is told, and what is still done |
//! | `empty` | nodes that start without the topics that their neighbours knew |
//! | `links` | silence, a second link, a full one, and targets that were out of reach |
//! | `topics` | LIST, producers, ages, how many topics there may be |
//! | `changes` | settings, trimming, producers that are opened |
//! | `reads` | what only the journal has: asked for, answered, removed or damaged meanwhile |
//! | `readers` | how many there may be, how long they wait, how they catch up |
//! | `pulls` | fetches for readers: how many at once, and that nobody is forgotten |
//! | `retries` | requests that another node does not answer, or does not apply |
//! | `growth` | what tables cost: twice the entries, twice the work |
//! | `home` | what a home makes of FEED, and what it says in HEADS |
//! | `ingress` | what an ingress makes of HEADS and epochs, and what it says in FEED |
//! | `outage` | what subscribers are told when a home is out of reach |

mod changes;
mod clients;
mod clocks;
mod drain;
mod empty;
mod growth;
mod harness;
mod home;
mod ingress;
mod links;
mod outage;
mod pulls;
mod readers;
mod reads;
mod retries;
mod sent;
mod topics;
