//! Tests of the client against a fake node, which does what nodes may do and what they may not.

mod connection;
mod operations;
mod producer;
mod pushes;
mod subscriber;
