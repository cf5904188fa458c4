//! The trace: the last events for people, a fingerprint of all of them, and totals.

use std::collections::VecDeque;
use std::fmt::Write;

use dht_node::wire::{Header, Opcode, Status};

use crate::faults::Fault;
use crate::wire::Place;

/// Number of events that a failure shows, unless SIM_STORY overrides it.
const KEPT: usize = 60;

/// The record of one run.
#[derive(Debug, Default)]
pub(crate) struct Trace {
    last: VecDeque<(u64, Note)>,
    /// Number of events to keep in addition.
    pub more: usize,
    /// A hash that changes with every delivery: two runs of one seed have the same.
    pub fingerprint: u64,
    /// The totals of the run.
    pub totals: Totals,
}

/// An event.
#[derive(Debug)]
pub(crate) enum Note {
    /// A frame was delivered.
    Frame { to: Place, from: Place, opcode: u8, is_response: bool, status: u8, request: u64, bytes: usize },
    /// A connection of a node or client was opened or closed.
    Conn { at: Place, peer: Place, what: &'static str },
    /// A fault was caused or repaired.
    Fault(Fault),
    /// The run entered another phase.
    Phase(&'static str),
}

/// Declares the totals once, with their names.
macro_rules! totals {
    ($($name:ident),+) => {
        /// Sums over runs.
        #[derive(Clone, Copy, Debug, Default)]
        pub(crate) struct Totals { $(pub(crate) $name: u64,)+ }

        impl Totals {
            pub(crate) const fn add(&mut self, other: &Self) {
                $(self.$name += other.$name;)+
            }

            pub(crate) fn lines(&self) -> String {
                [$((stringify!($name), self.$name),)+].iter().map(|(name, sum)| format!("{name} {sum}\n")).collect()
            }
        }
    };
}

totals! {
    seeds, virtual_ms, frames, bytes, requests, failed_requests, acked_batches, acked_records, duplicates,
    changes, resumed, records_read,
    trimmed_reads, deletes, crashes, drains, cuts, resets, stalls, links_up, links_down, queues_filled, overtakes,
    attacks,
    subscribed, delivered, waited, flowed, gaps, gaps_checked, ended, polled, pushes_lost, pushes_held, pushed_chunks,
    replicated_seeds, elections, disk_seeds, interval_seeds, truncations, lost_records, years, aged,
    recoveries, reads, syncs, segments, checkpoints, cleaned, copies, copies_failed,
    copied_seeds, copies_cut, copies_led_anew, copies_to_new_disks, disk_crashes, disk_stops,
    disk_failures, disks_filled, rotten, wipes
}

impl Totals {
    /// Fails if an ordinary number of seeds has not shown what the simulator is to test. The rarest is a lost record:
    /// one of 170 seeds has any, so 2000 seeds are without it once in a hundred thousand times. Subscribers that are
    /// notified when a home is back are rarer; `outage` shows them.
    pub(crate) fn check_coverage(&self) {
        if self.seeds < crate::SEEDS {
            return;
        }
        assert!(self.lost_records > 0 && self.truncations > 0, "no loss was reported");
        assert!(self.changes > 0 && self.resumed > 0, "no topic was altered, or no publisher resumed");
        assert!(self.waited > 0, "no subscriber was notified of an unreachable home");
        assert!(self.cleaned > self.disk_seeds / 50, "{} segments were cleaned", self.cleaned);
        assert!(self.rotten > self.disk_seeds / 4, "{} disks have rotted", self.rotten);
        assert!(self.replicated_seeds > self.seeds / 20, "{} cubes kept three copies", self.replicated_seeds);
        assert!(self.wipes > self.replicated_seeds / 20, "only {} disks were replaced by empty ones", self.wipes);
        assert!(self.copied_seeds > self.replicated_seeds / 20, "only {} cubes copied a state", self.copied_seeds);
        // Fewer than one in 1000 seeds has any.
        let is_long = self.seeds >= 10 * crate::SEEDS;
        assert!(!is_long || self.copies_cut > 0, "no node stopped while it copied a state");
        assert!(!is_long || self.copies_led_anew > 0, "no leader changed while a state was copied");
        assert!(self.copies_to_new_disks > self.wipes / 20, "only {} copies to new disks", self.copies_to_new_disks);
        assert!(self.elections > 20 * self.replicated_seeds, "{} times a node began to lead", self.elections);
        assert!(self.overtakes > 0, "no large response on a link was overtaken");
        assert!(self.years > 0 && self.aged > 0, "no clock jumped, or no record expired");
    }
}

impl Trace {
    /// Records an event.
    pub(crate) fn note(&mut self, now_us: u64, note: Note) {
        if self.last.len() == KEPT.max(self.more) {
            self.last.pop_front();
        }
        self.last.push_back((now_us, note));
    }

    /// Records a frame that was delivered to a node or a client.
    pub(crate) fn frame(&mut self, now_us: u64, (to, from): (Place, Place), header: &Header) {
        self.totals.frames += 1;
        self.totals.bytes += header.frame_len() as u64;
        let note = Note::Frame {
            to,
            from,
            opcode: header.opcode,
            is_response: header.flags.has(dht_node::wire::Flags::RESPONSE),
            status: header.status,
            request: header.request_id.0,
            bytes: header.frame_len(),
        };
        self.note(now_us, note);
    }

    /// Mixes a delivery into the fingerprint.
    pub(crate) fn mix(&mut self, now_us: u64, place: usize, bytes: &[u8]) {
        let mut mix = |value: u64| {
            self.fingerprint = (self.fingerprint ^ value).wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(29);
        };
        mix(now_us);
        mix(place as u64);
        mix(bytes.len() as u64);
        // A frame is represented by its header, which contains its checksums.
        bytes.chunks(8).take(6).for_each(|chunk| mix(chunk.iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte))));
    }

    /// Returns the last events, oldest first.
    pub(crate) fn story(&self) -> String {
        let mut story = String::new();
        for (now_us, note) in &self.last {
            let _ = writeln!(story, "{:>11.3} ms  {}", *now_us as f64 / 1000.0, note.text());
        }
        story
    }
}

impl Note {
    fn text(&self) -> String {
        match self {
            Self::Frame { to, from, opcode, is_response, status, request, bytes } => {
                let name = Opcode::from_number(*opcode).map_or("?", Opcode::name);
                let what = match (is_response, Status::from_number(*status)) {
                    (false, _) => "request",
                    (true, None) => "?",
                    (true, Some(status)) => status.name(),
                };
                format!("{to:?} <- {from:?}  {name} {request} {what}, {bytes} bytes")
            }
            Self::Conn { at, peer, what } => format!("{at:?} -- {peer:?}  {what}"),
            Self::Fault(fault) => format!("FAULT {fault:?}"),
            Self::Phase(name) => format!("PHASE {name}"),
        }
    }
}
