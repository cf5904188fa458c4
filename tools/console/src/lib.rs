//! What the commands of `dht-cli` share.
//!
//! | module | what |
//! |---|---|
//! | `session` | settings, connection and output of a run of the program |
//! | `output` | standard output, for people and for programs |
//! | `errors` | error messages with reasons and advice; exit codes |
//! | `text` | parsing and formatting of numbers, sizes, times and tables |
//! | `clock`, `interrupt` | the machine's clock, and Ctrl-C as a flag |
//!
//! It contains no commands, and nothing about how a command line is parsed.

pub mod clock;
pub mod errors;
pub mod interrupt;
pub mod output;
pub mod session;
pub mod text;
