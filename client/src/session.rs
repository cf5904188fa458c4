//! The state of a connection, without its socket and without a clock.

pub(crate) mod grants;
pub(crate) mod handshake;
pub(crate) mod incoming;
pub(crate) mod pending;
pub(crate) mod tap;
pub(crate) mod watch;
