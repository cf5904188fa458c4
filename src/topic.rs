//! Topics: their logs, their producers, and the catalogue of all topics of a node.
//!
//! Everything here changes by applying entries, one after the other; nothing knows of sockets, time or waiting.

mod catalogue;
mod eras;
mod log;
mod producer;

pub use catalogue::{Catalogue, NewTopic, Topic};
pub use eras::{Era, Eras};
pub use log::{NotHeld, Read, TopicLog, chunk_cost, push_run};
pub use producer::{NotOpened, Opened, PRODUCER_COST_MAX, Producers, Stored, Verdict};
