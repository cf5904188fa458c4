//! Changes to individual settings of an existing topic.

use std::ops::RangeInclusive;

use super::Retention;

/// A change to a topic's settings; `None` leaves a setting unchanged.
///
/// Each setting has a number, the same on the wire and in the journal, so that settings can be added later. A reader
/// that does not know a number must refuse the whole change. In a request, 0 selects the home's default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SettingsChange {
    /// New bound on the number of records.
    pub retention_records: Option<u64>,
    /// New bound on the total size of records in bytes.
    pub retention_bytes: Option<u64>,
    /// New bound on the age of a record in milliseconds.
    pub retention_age_ms: Option<u64>,
}

impl SettingsChange {
    /// The numbers of all settings.
    pub const NUMBERS: RangeInclusive<u8> = 1..=3;

    /// Returns the settings that are changed, as pairs of number and value.
    pub fn settings(&self) -> impl Iterator<Item = (u8, u64)> {
        let all = [(1, self.retention_records), (2, self.retention_bytes), (3, self.retention_age_ms)];
        all.into_iter().filter_map(|(number, value)| Some((number, value?)))
    }

    /// Sets the new value of a setting. Returns `None` when no setting has that number.
    pub const fn set(&mut self, number: u8, value: u64) -> Option<()> {
        let setting = match number {
            1 => &mut self.retention_records,
            2 => &mut self.retention_bytes,
            3 => &mut self.retention_age_ms,
            _ => return None,
        };
        *setting = Some(value);
        Some(())
    }

    /// Returns a topic's retention after the change, given its retention before it.
    pub fn applied_to(&self, before: Retention) -> Retention {
        Retention {
            records: self.retention_records.unwrap_or(before.records),
            bytes: self.retention_bytes.unwrap_or(before.bytes),
            age_ms: self.retention_age_ms.unwrap_or(before.age_ms),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_made_again_from_its_settings_and_leaves_the_others_alone() {
        let change = SettingsChange { retention_records: Some(5), retention_age_ms: Some(0), ..Default::default() };
        let mut again = SettingsChange::default();
        for (number, value) in change.settings() {
            assert_eq!(again.set(number, value), Some(()));
        }
        assert_eq!(again, change);
        (0..=u8::MAX).for_each(|number| {
            assert_eq!(again.set(number, 1).is_some(), SettingsChange::NUMBERS.contains(&number));
        });
        let before = Retention { records: 1, bytes: 2, age_ms: 3 };
        assert_eq!(change.applied_to(before), Retention { records: 5, bytes: 2, age_ms: 0 });
    }
}
