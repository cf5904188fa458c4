//! Shares out the process's file descriptors. The journal and the links are served first, since a node without
//! descriptors for them fails for all clients; clients share the rest.

use std::fmt;

use crate::limits::{
    CLIENTS_MAX, HANDSHAKES_EXTRA, JOURNAL_DESCRIPTORS, LINGERING_MAX, LINK_DESCRIPTORS, LOOKUP_DESCRIPTORS,
    PROCESS_DESCRIPTORS, SPARE_DESCRIPTORS_LEAST,
};
use crate::types::Dimension;

/// The number of connections that the process has descriptors for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Descriptors {
    /// Maximum number of client connections.
    pub clients: usize,
    /// Maximum number of connections that have not sent HELLO yet, on top of the clients. They have a share of their
    /// own because one of them may be a neighbour.
    pub handshakes: usize,
    /// Maximum number of sockets of all kinds. When it is reached, a new connection replaces the one that has lingered
    /// longest.
    pub sockets: usize,
}

/// The error when the limit of open files leaves too few descriptors for clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooFewDescriptors {
    limit: usize,
    least: usize,
}

impl Descriptors {
    /// Shares out `limit` descriptors.
    ///
    /// # Errors
    /// Returns [`TooFewDescriptors`] when fewer than [`SPARE_DESCRIPTORS_LEAST`] would be left for clients.
    pub fn share(limit: usize, dimension: Dimension, has_journal: bool) -> Result<Self, TooFewDescriptors> {
        let reserved = Self::reserved(dimension, has_journal);
        let spare = limit.saturating_sub(reserved);
        if spare < SPARE_DESCRIPTORS_LEAST {
            return Err(TooFewDescriptors { limit, least: reserved + SPARE_DESCRIPTORS_LEAST });
        }
        let handshakes = HANDSHAKES_EXTRA.min(spare / 8);
        let lingering = LINGERING_MAX.min(spare / 8);
        let clients = CLIENTS_MAX.min(spare - handshakes - lingering);
        let links = LINK_DESCRIPTORS * usize::from(dimension.bits());
        Ok(Self { clients, handshakes, sockets: clients + handshakes + lingering + links })
    }

    /// Returns the limit on open files at which [`CLIENTS_MAX`] clients fit.
    pub fn wanted(dimension: Dimension, has_journal: bool) -> usize {
        Self::reserved(dimension, has_journal) + CLIENTS_MAX + HANDSHAKES_EXTRA + LINGERING_MAX
    }

    fn reserved(dimension: Dimension, has_journal: bool) -> usize {
        let journal = if has_journal { JOURNAL_DESCRIPTORS } else { 0 };
        PROCESS_DESCRIPTORS + journal + (LINK_DESCRIPTORS + LOOKUP_DESCRIPTORS) * usize::from(dimension.bits())
    }
}

impl fmt::Display for TooFewDescriptors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { limit, least } = self;
        write!(
            f,
            "the limit of open files is {limit}, but this node needs at least {least}; raise it with: ulimit -n {least}"
        )
    }
}

impl std::error::Error for TooFewDescriptors {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_get_what_the_journal_and_the_links_leave() {
        let three = Dimension::new(3).unwrap();
        let share = |limit, has_journal| Descriptors::share(limit, three, has_journal);
        let all = Descriptors::wanted(three, true);
        assert_eq!(share(all, true).unwrap().clients, CLIENTS_MAX);
        assert_eq!(share(1 << 20, true), share(all, true));
        assert_eq!(share(all - 1, true).unwrap().clients, CLIENTS_MAX - 1);
        for limit in 0..all {
            let links = 3 * (LINK_DESCRIPTORS + LOOKUP_DESCRIPTORS);
            let least = PROCESS_DESCRIPTORS + JOURNAL_DESCRIPTORS + links + SPARE_DESCRIPTORS_LEAST;
            match share(limit, true) {
                Ok(room) => {
                    let others = PROCESS_DESCRIPTORS + JOURNAL_DESCRIPTORS + 3 * LOOKUP_DESCRIPTORS;
                    assert!(room.sockets + others <= limit, "{limit}: {room:?}");
                    assert!(room.clients > 0 && room.handshakes > 0, "{limit}: {room:?}");
                }
                Err(error) => assert_eq!(error, TooFewDescriptors { limit, least }),
            }
        }
        assert!(share(64, true).unwrap().clients < share(64, false).unwrap().clients);
        assert!(share(40, true).unwrap_err().to_string().contains("ulimit -n"));
    }
}
