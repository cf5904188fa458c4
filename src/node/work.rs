//! Work: an estimate of the processor time that events take. The event loop bounds its turns by it and shares them
//! fairly among the connections.
//!
//! A unit is about a nanosecond. Time itself is not measured, because a clock that is read for each frame would cost as
//! much as a cheap frame, and because the same events must have the same result in each run of a simulation. The costs
//! below were measured with the release build on an AMD EPYC of 2021. Only their ratios matter, within a factor of
//! two: a machine of half the speed has turns of twice the length.

/// A frame, with the write of its answer: decoding, routing, and whatever else takes the same time in each operation.
const FRAME_UNITS: u64 = 150;

/// An action.
const ACTION_UNITS: u64 = 50;

/// An entry of a table that is looked at, often not in the processor's cache.
const ENTRY_UNITS: u64 = 10;

/// A reader that gets a frame: moving its cursor, and queueing the frame for its client.
const DELIVERY_UNITS: u64 = 250;

/// A committed entry: applying it, and keeping the books about it.
const APPLIED_UNITS: u64 = 150;

/// A batch of a run: adding it, and later its acknowledgement.
const PART_UNITS: u64 = 50;

/// A record whose size is read to find the next one.
const RECORD_UNITS: u64 = 2;

/// Minimum size of an encoded record in bytes.
const RECORD_BYTES_LEAST: usize = 5;

/// Bytes that are received, hashed, copied and sent in the time of one unit.
const BYTES_PER_UNIT: u64 = 8;

/// Counts the work of a part of the node.
#[derive(Debug, Default)]
pub(super) struct Work {
    units: u64,
    /// Number of entries looked at since the start. Tests use it to check that the cost grows linearly with the number
    /// of entries.
    entries: u64,
}

impl Work {
    /// Counts the handling of a frame of this many bytes.
    pub(super) const fn add_frame(&mut self, bytes: usize) {
        self.units += FRAME_UNITS + bytes as u64 / BYTES_PER_UNIT;
    }

    /// Counts this many actions.
    pub(super) const fn add_actions(&mut self, count: usize) {
        self.units += count as u64 * ACTION_UNITS;
    }

    /// Counts looking at this many entries of a table.
    pub(super) const fn add_entries(&mut self, count: usize) {
        self.entries += count as u64;
        self.units += count as u64 * ENTRY_UNITS;
    }

    /// Counts sending a frame to this many readers.
    pub(super) const fn add_deliveries(&mut self, count: usize) {
        self.units += count as u64 * DELIVERY_UNITS;
    }

    /// Counts applying an entry with this many bytes of records.
    pub(super) const fn add_applied(&mut self, bytes: usize) {
        self.units += APPLIED_UNITS + bytes as u64 / BYTES_PER_UNIT;
    }

    /// Counts adding this many batches to runs, or acknowledging them.
    pub(super) const fn add_parts(&mut self, count: usize) {
        self.units += count as u64 * PART_UNITS;
    }

    /// Counts walking over this many records.
    pub(super) const fn add_records(&mut self, count: u32) {
        self.units += count as u64 * RECORD_UNITS;
    }

    /// Counts a walk over all records in this many bytes. Their number is not known, so it is taken as the largest
    /// possible one.
    pub(super) const fn add_walk(&mut self, bytes: usize) {
        self.units += (bytes / RECORD_BYTES_LEAST) as u64 * RECORD_UNITS;
    }

    /// Counts hashing or copying this many bytes.
    pub(super) const fn add_bytes(&mut self, bytes: usize) {
        self.units += bytes as u64 / BYTES_PER_UNIT;
    }

    /// Returns the units since the last [`Self::take`].
    pub(super) const fn units(&self) -> u64 {
        self.units
    }

    /// Returns the units since the last call, and starts counting at 0 again.
    pub(super) const fn take(&mut self) -> u64 {
        std::mem::replace(&mut self.units, 0)
    }

    /// Returns the number of entries looked at since the start.
    #[cfg(test)]
    pub(super) const fn entries(&self) -> u64 {
        self.entries
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_is_counted_by_what_is_done() {
        type Case = (fn(&mut Work), u64);
        let cases: [Case; 5] = [
            (|work| work.add_frame(80), FRAME_UNITS + 10),
            (|work| work.add_entries(3), 3 * ENTRY_UNITS),
            (|work| work.add_records(3), 3 * RECORD_UNITS),
            (|work| work.add_walk(50), 10 * RECORD_UNITS),
            (|work| work.add_bytes(80), 10),
        ];
        let mut work = Work::default();
        for (index, (add, units)) in cases.into_iter().enumerate() {
            add(&mut work);
            add(&mut work);
            assert_eq!((work.units(), work.take(), work.units()), (2 * units, 2 * units, 0), "case {index}");
        }
    }
}
