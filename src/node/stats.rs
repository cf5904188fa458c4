//! The counters of a node. Nothing is refused, dropped or lost without one.

/// Declares the counters once, with the names that STATS shows.
macro_rules! counters {
    ($($(#[doc = $doc:literal])+ $name:ident,)+) => {
        /// What has happened since the start.
        #[derive(Clone, Debug, Default)]
        pub(super) struct Stats { $($(#[doc = $doc])+ pub(super) $name: u64,)+ }

        impl Stats {
            /// The counters as lines of `name value`.
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
    /// Requests of this node's clients.
    requests,
    /// Their answers with a status of 0x40 and above.
    errors,
    /// Answers that did not come in time.
    timeouts,
    /// Attempts beyond the first to have a client's request answered by another node.
    requests_repeated,
    /// Frames of others that were handed on.
    forwarded,
    /// Those that took another way than without faults.
    detours,
    /// Batches that were stored.
    batches,
    /// Records that were stored.
    records,
    /// Bytes of records that were stored.
    record_bytes,
    /// Batches that had been stored before.
    duplicates,
    /// Records that retention removed.
    trimmed,
    /// FETCH requests that were answered with records.
    fetches,
    /// Times that the wall clock jumped.
    clock_jumps,
    /// Times that the journal was asked for records that were not in memory.
    reads,
    /// Frames with records that were sent to subscribers.
    delivers,
    /// Frames with records, and ends of topics, that were sent over links for subscribers.
    pushes,
    /// Those that were not, because the link's queue was long.
    pushes_skipped,
    /// Fetches for subscribers that were behind.
    pulls,
    /// Subscribers that were told that retention was faster than they.
    gaps,
    /// Subscriptions that ended because their topic did.
    ended,
    /// Times that a home was told anew what is followed there.
    resyncs,
    /// Homes that were out of reach for so long that their subscribers were told.
    outages,
    /// Nodes whose feeds were dropped because they did not answer.
    feeds_dropped,
    /// Requests refused because a queue towards a neighbour was full.
    overloaded,
    /// Frames without a path to their target.
    unreachable,
    /// Frames that made all their hops.
    ttl_expired,
    /// Answers that had no way back.
    responses_lost,
    /// Answers to requests that had ended or were never made.
    responses_late,
    /// Frames whose args or payload were damaged.
    corrupt,
    /// One-way frames that could not be acted on.
    oneways_dropped,
    /// Connections that broke a rule of the protocol.
    protocol_errors,
    /// Clients that were told TOO_MANY_CLIENTS.
    clients_refused,
    /// Clients that were silent for too long.
    clients_silent,
    /// Links that came up.
    links_up,
    /// Links that went down.
    links_down,
    /// Times that a client was not read because it had too much unanswered.
    pauses,
}
