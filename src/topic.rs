//! Topics: their logs, their producers, and the catalogue of all topics of a node.
//!
//! All state here changes only by applying entries in order; nothing here uses sockets, time or blocking calls.

mod catalogue;
mod eras;
mod log;
mod producer;

pub use catalogue::{Catalogue, Cost, NewTopic, Topic, topic_cost};
pub use eras::{Era, Eras};
pub use log::{NotHeld, Read, TopicLog, chunk_cost, mark_bounds, push_run};
pub use producer::{NotOpened, Opened, PRODUCER_COST_MAX, Producers, Stored, Verdict};
