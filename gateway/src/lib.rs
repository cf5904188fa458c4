//! A REST gateway of a dht-node cube: topics, records and streams over HTTP.
//!
//! ```text
//!  HTTP client ──► server ──► guard ──► api ──► topics, publish, read, stream, nodes ──► pool ──► cube
//!                                                              stream ──► reader ──► hub ──► cube
//! ```
//!
//! | file | subject |
//! |---|---|
//! | `options` | the command line |
//! | `server` | connections, their bounds, and what happens to them at the end |
//! | `refusal`, `linger` | what is not a request, and bodies that nobody reads |
//! | `guard` | which requests are accepted, by their Host and Origin |
//! | `api` | all routes, and the document that describes them |
//! | `topics`, `nodes` | requests about topics and about the cube |
//! | `publish`, `bodies` | records into the cube |
//! | `read` | records out of it, with one request |
//! | `stream`, `reader`, `hub` | records as they come: events, a cursor, and a subscription that readers share |
//! | `pool` | the connections to the cube that requests share |
//! | `input`, `views`, `problem` | decoding of requests, the JSON of answers, and errors |
//! | `limits` | every bound |
//! | `fuzz` | what must hold for any request |
//!
//! The gateway holds no state that matters: a client has its position, and the cube has the rest. Any number of
//! gateways can stand beside each other.

#![expect(unused_qualifications, reason = "the macros of utoipa qualify what they name")]

mod api;
mod bodies;
#[cfg(any(test, feature = "fuzz"))]
pub mod fuzz;
mod guard;
mod hub;
mod input;
pub mod limits;
mod linger;
mod nodes;
mod options;
mod pool;
mod problem;
mod publish;
mod read;
mod reader;
mod refusal;
mod server;
mod stream;
mod topics;
mod views;

pub use api::{App, Ending, router};
pub use guard::Accepted;
pub use options::Options;
pub use problem::Problem;
pub use server::serve;
