//! The ends of subscriptions with `subscribe --to`.

use std::collections::BTreeMap;

use dht_client::{Client, Error, Item, Subscriptions};

use crate::places::{self, Bounds, End};

/// The topics that have an end.
#[derive(Debug, Default)]
pub(crate) struct Ends {
    of: BTreeMap<String, End>,
    /// True once a topic has reached its end.
    has_reached: bool,
}

impl Ends {
    /// Sets the end of a topic.
    pub(crate) fn add(&mut self, topic: &str, bounds: &Bounds) {
        if bounds.end != End::Open {
            self.of.insert(topic.to_owned(), bounds.end);
        }
    }

    /// Returns true if no topic has an end.
    pub(crate) fn is_empty(&self) -> bool {
        self.of.is_empty()
    }

    /// Returns true if a topic has reached its end.
    pub(crate) const fn has_reached(&self) -> bool {
        self.has_reached
    }

    /// Returns true if the item is at or after the end of its topic.
    pub(crate) fn is_behind(&self, topic: &str, item: &Item) -> bool {
        match (self.of.get(topic), item) {
            (Some(End::Offset(end)), item) => item.offset().is_some_and(|offset| offset >= *end),
            (Some(End::Time(micros)), Item::Record(message)) => message.append_us >= *micros,
            (Some(End::Time(_)), Item::Gap { .. } | Item::Lost { .. } | Item::Notice(_))
            | (Some(End::Open) | None, _) => false,
        }
    }

    /// Returns true if the item is the last one before the end of its topic.
    pub(crate) fn is_last(&self, topic: &str, item: &Item) -> bool {
        let next = match item {
            Item::Record(message) => message.offset.0 + 1,
            Item::Gap { to, .. } | Item::Lost { to, .. } => to.0,
            Item::Notice(_) => return false,
        };
        matches!(self.of.get(topic), Some(End::Offset(end)) if next >= end.0)
    }

    /// Ends the subscription to a topic.
    pub(crate) fn end(&mut self, topic: &str, subscriptions: &mut Subscriptions, client: &mut Client) {
        subscriptions.remove(client, topic);
        self.of.remove(topic);
        self.has_reached = true;
    }

    /// Ends the subscriptions whose cursor has reached their end.
    ///
    /// # Errors
    /// Returns the error of asking for the offset of an end given as a time, once that time has passed.
    pub(crate) fn check(&mut self, subscriptions: &mut Subscriptions, client: &mut Client) -> Result<(), Error> {
        let topics: Vec<String> = self.of.keys().cloned().collect();
        for topic in topics {
            if let Some(End::Time(micros)) = self.of.get(&topic)
                && places::until(*micros).is_zero()
            {
                let end = places::at(&topic, *micros, client)?;
                self.of.insert(topic.clone(), End::Offset(end));
            }
            if let (Some(End::Offset(end)), Some(cursor)) = (self.of.get(&topic), subscriptions.cursor(&topic))
                && cursor >= *end
            {
                self.end(&topic, subscriptions, client);
            }
        }
        Ok(())
    }
}
