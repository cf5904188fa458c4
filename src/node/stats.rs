//! The counters of a node. Whatever is refused, dropped or lost is counted by one of them.

use crate::types::Now;

/// Length of the period whose longest turn is remembered, in microseconds.
const TURNS_PERIOD_US: u64 = 60_000_000;

/// The length of a turn of the event loop.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Length {
    /// By the clock, in microseconds.
    pub(super) turn_us: u64,
    /// In microseconds of processor time; 0 if that was not measured.
    pub(super) cpu_us: u64,
}

impl Length {
    /// Returns the longer of both lengths.
    const fn max(self, other: Self) -> Self {
        Self {
            turn_us: if self.turn_us < other.turn_us { other.turn_us } else { self.turn_us },
            cpu_us: if self.cpu_us < other.cpu_us { other.cpu_us } else { self.cpu_us },
        }
    }
}

/// What the event loop reports: the longest turn in this period and in the one before, and what waits in its buffers.
#[derive(Debug, Default)]
pub(super) struct Turns {
    /// Bytes received from clients that wait in their connections.
    pub(super) input_bytes: u64,
    longest: Length,
    longest_before: Length,
    /// Monotonic time in microseconds at which this period ends.
    period_ends_us: u64,
}

impl Turns {
    /// Records the length of a turn.
    pub(super) const fn note(&mut self, now: Now, length: Length) {
        if self.period_ends_us <= now.monotonic_us {
            self.longest_before = self.longest;
            self.longest = Length { turn_us: 0, cpu_us: 0 };
            self.period_ends_us = now.after_us(TURNS_PERIOD_US);
        }
        self.longest = self.longest.max(length);
    }

    /// Returns the greatest length by the clock and the greatest processor time.
    pub(super) const fn longest(&self) -> Length {
        self.longest.max(self.longest_before)
    }
}

/// Declares the counters once, with the names that STATS shows.
macro_rules! counters {
    ($($(#[doc = $doc:literal])+ $name:ident,)+) => {
        /// Counts of events since the node started.
        #[derive(Clone, Debug, Default)]
        pub(super) struct Stats { $($(#[doc = $doc])+ pub(super) $name: u64,)+ }

        impl Stats {
            /// Returns the counters as lines of `name value`.
            pub(super) fn lines(&self) -> String {
                [$((stringify!($name), self.$name),)+]
                    .iter()
                    .map(|(name, value)| format!("{name} {value}\n"))
                    .collect()
            }
        }
    };
}

counters! {
    /// Requests from clients of this node.
    requests,
    /// Responses to those requests with an error status (0x40 and above).
    errors,
    /// Requests and fetches whose response did not arrive in time.
    timeouts,
    /// Repeated attempts at requests of clients that another node executes.
    requests_repeated,
    /// Frames forwarded for other nodes.
    forwarded,
    /// Frames that left their fault-free path at this node because of a dead link.
    detours,
    /// Batches stored.
    batches,
    /// Records stored.
    records,
    /// Bytes of records stored.
    record_bytes,
    /// Duplicate batches, which were acknowledged but not stored again.
    duplicates,
    /// Records removed by retention.
    trimmed,
    /// FETCH requests answered with records.
    fetches,
    /// Jumps of the machine's wall clock.
    clock_jumps,
    /// Queries to the journal for records that were not in memory.
    reads,
    /// DELIVER frames sent to subscribers.
    delivers,
    /// Frames with records, and EVENTs that end subscriptions, sent over links for subscribers on other nodes.
    pushes,
    /// Pushes dropped because more than `PUSH_QUEUE_MAX` bytes were queued for the link.
    pushes_skipped,
    /// Fetches for readers that were behind.
    pulls,
    /// Copies of the states of groups that were taken from other nodes.
    copies,
    /// Copies that were given up, and had to begin again.
    copies_failed,
    /// Gap notices sent to subscribers, because retention removed records before they were delivered.
    gaps,
    /// Subscriptions ended by this node: topic deleted, records lost, or a record too large for the client.
    ended,
    /// Times that this node resent all its FEEDs to a leader.
    resyncs,
    /// Outages of leaders that lasted long enough for subscribers to be notified.
    outages,
    /// Nodes whose feeds were dropped because they did not answer HEADS.
    feeds_dropped,
    /// Requests refused because the send queue of a link was above its high-water mark.
    overloaded,
    /// Frames without a path to their target.
    unreachable,
    /// Frames dropped because their TTL was 0.
    ttl_expired,
    /// Responses dropped because they could not be forwarded.
    responses_lost,
    /// Responses to requests that had timed out or never existed.
    responses_late,
    /// Frames dropped because the node that they name as their source may not send them.
    false_claims,
    /// Frames with a corrupt args section or payload.
    corrupt,
    /// Requests that were not executed because their client was gone and they would have changed nothing.
    abandoned,
    /// One-way frames whose execution failed.
    oneways_dropped,
    /// Connections closed because the peer violated the protocol.
    protocol_errors,
    /// Clients refused with TOO_MANY_CLIENTS.
    clients_refused,
    /// CREATEs refused because their address had created too many topics.
    creates_refused,
    /// Clients closed because they were silent for too long.
    clients_silent,
    /// Times that a link came up.
    links_up,
    /// Times that a link went down.
    links_down,
    /// Times that reads from a client were suspended because of its outstanding responses.
    pauses,
}
