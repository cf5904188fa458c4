//! The client against a node that does what nodes may do, and what they may not.

mod connection;
mod operations;
mod producer;
mod pushes;
mod subscriber;
