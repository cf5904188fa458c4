//! What may be changed of a topic that is there: each setting by itself.

use std::ops::RangeInclusive;

use super::Retention;

/// Settings of a topic that are to be changed; `None` leaves a setting as it is.
///
/// A setting has a number, the same on the wire and in the journal, so that others can be added: whoever does not know
/// one must refuse the whole change.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SettingsChange {
    /// Most records; asked for, 0 is the home's default.
    pub retention_records: Option<u64>,
    /// Most bytes of records; asked for, 0 is the home's default.
    pub retention_bytes: Option<u64>,
    /// Most milliseconds since a record was appended; asked for, 0 is the home's default.
    pub retention_age_ms: Option<u64>,
}

impl SettingsChange {
    /// The numbers of settings.
    pub const NUMBERS: RangeInclusive<u8> = 1..=3;

    /// The settings that are to be changed, by number.
    pub fn settings(&self) -> impl Iterator<Item = (u8, u64)> {
        let all = [(1, self.retention_records), (2, self.retention_bytes), (3, self.retention_age_ms)];
        all.into_iter().filter_map(|(number, value)| Some((number, value?)))
    }

    /// Adds a setting; `None` when no setting has that number.
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

    /// What a topic keeps after the change that kept `before`.
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
