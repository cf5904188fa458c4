//! Counting of work, for tests that show what a table costs: twice the entries may cost twice the work, not four times.
//!
//! A unit is an entry of a table that is looked at. Only tests count; a node does nothing here.

#[cfg(test)]
thread_local! {
    static UNITS: std::cell::Cell<u64> = const { std::cell::Cell::new(0) };
}

/// Counts so many entries that are looked at.
#[cfg(not(test))]
pub(super) const fn count(_units: usize) {}

/// Counts so many entries that are looked at.
#[cfg(test)]
pub(super) fn count(units: usize) {
    UNITS.with(|counted| counted.set(counted.get() + units as u64));
}

/// Returns the units that something takes.
#[cfg(test)]
pub(super) fn units_of(does: impl FnOnce()) -> u64 {
    let before = UNITS.with(std::cell::Cell::get);
    does();
    UNITS.with(std::cell::Cell::get) - before
}
