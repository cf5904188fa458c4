//! Which connection is read next, so that each gets a fair share of a turn however expensive its frames are.
//!
//! This is deficit round robin. Connections with input are visited in turn, and each visit allows so much work
//! ([`VISIT_WORK`]). A connection cannot stop in the middle of a frame, so it may overdraw; it then pays with its next
//! visits. A turn ends when its work ([`TURN_WORK`]) is done. The connections that still wait keep their order.
//!
//! Each turn begins with the links, one visit each, so that their control frames never wait for a client's bulk work.

use std::collections::VecDeque;

use crate::limits::{TURN_WORK, VISIT_WORK};
use crate::types::ConnId;

/// The connections that may have input, and the work that each may still cause.
#[derive(Debug, Default)]
pub(super) struct Fair {
    links: VecDeque<ConnId>,
    clients: VecDeque<ConnId>,
    /// The share of each connection, by its slot.
    shares: Vec<Share>,
    /// Links that are to be visited before the next client.
    links_due: usize,
    /// Work left in this turn; not positive once the turn is over.
    left: i64,
}

/// The deficit counter of one connection.
#[derive(Clone, Copy, Debug, Default)]
struct Share {
    /// The generation of the connection that the share belongs to. A later connection in the same slot gets a new
    /// share.
    generation: Option<u32>,
    /// Work that the last visit has left of its allowance; negative after an overdraft, which the next visits make up
    /// for.
    credit: i64,
    is_waiting: bool,
}

impl Fair {
    /// Returns true if no connection waits.
    pub(super) fn is_empty(&self) -> bool {
        self.links.is_empty() && self.clients.is_empty()
    }

    /// Puts a connection at the end of the queue, unless it is in it already.
    pub(super) fn add(&mut self, id: ConnId, is_link: bool) {
        let slot = id.slot as usize;
        if self.shares.len() <= slot {
            self.shares.resize(slot + 1, Share::default());
        }
        let share = &mut self.shares[slot];
        if share.generation != Some(id.generation) {
            *share = Share { generation: Some(id.generation), credit: 0, is_waiting: false };
        }
        if !std::mem::replace(&mut share.is_waiting, true) {
            if is_link { self.links.push_back(id) } else { self.clients.push_back(id) }
        }
    }

    /// Begins a turn.
    pub(super) fn begin(&mut self) {
        self.links_due = self.links.len();
        self.left = signed(TURN_WORK);
    }

    /// Removes and returns the connection to be read next, with the work that it may cause; `None` when none waits or
    /// the turn is over. The caller reports the work with [`Self::spend`], and adds the connection again if it may have
    /// more input.
    pub(super) fn next(&mut self) -> Option<(ConnId, u64)> {
        while self.left > 0 {
            let (id, is_link) = self.pop()?;
            let Some(share) = self.shares.get_mut(id.slot as usize) else { continue };
            if share.generation != Some(id.generation) {
                continue;
            }
            share.is_waiting = false;
            // What a visit leaves unused is not saved up.
            share.credit = share.credit.saturating_add(signed(VISIT_WORK)).min(signed(VISIT_WORK));
            match u64::try_from(share.credit) {
                Ok(allowed) if allowed > 0 => return Some((id, allowed)),
                Ok(_) | Err(_) => self.add(id, is_link),
            }
        }
        None
    }

    /// Counts the work of a visit.
    pub(super) fn spend(&mut self, id: ConnId, work: u64) {
        self.left = self.left.saturating_sub(signed(work));
        if let Some(share) = self.shares.get_mut(id.slot as usize)
            && share.generation == Some(id.generation)
        {
            share.credit = share.credit.saturating_sub(signed(work));
        }
    }

    fn pop(&mut self) -> Option<(ConnId, bool)> {
        if self.links_due == 0 {
            if let Some(client) = self.clients.pop_front() {
                return Some((client, false));
            }
            self.links_due = self.links.len();
        }
        let link = self.links.pop_front()?;
        self.links_due -= 1;
        Some((link, true))
    }
}

/// Converts work to a signed number. The work of one event is far below the largest value.
fn signed(work: u64) -> i64 {
    i64::try_from(work).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    const LINKS: u32 = 100;

    /// Connections, and the work of a frame of each.
    type Case = (&'static [u32], fn(u32) -> u64);

    /// Slots from [`LINKS`] on are links.
    fn conn(slot: u32) -> ConnId {
        ConnId { slot, generation: 1 }
    }

    fn add(fair: &mut Fair, slot: u32) {
        fair.add(conn(slot), slot >= LINKS);
    }

    fn waiting(slots: &[u32]) -> Fair {
        let mut fair = Fair::default();
        slots.iter().for_each(|slot| add(&mut fair, *slot));
        fair
    }

    /// Runs turns in which each connection always has more frames, each of this work, and returns the visits.
    fn run(fair: &mut Fair, turns: usize, frame: impl Fn(u32) -> u64) -> Vec<Vec<(u32, u64)>> {
        let turn = |_| {
            fair.begin();
            let mut visits = Vec::new();
            while let Some((id, allowed)) = fair.next() {
                let work = allowed.div_ceil(frame(id.slot)) * frame(id.slot);
                fair.spend(id, work);
                add(fair, id.slot);
                visits.push((id.slot, work));
            }
            visits
        };
        (0..turns).map(turn).collect()
    }

    fn shares(visits: &[Vec<(u32, u64)>]) -> BTreeMap<u32, u64> {
        let mut shares = BTreeMap::new();
        visits.iter().flatten().for_each(|(slot, work)| *shares.entry(*slot).or_default() += work);
        shares
    }

    #[test]
    fn connections_with_dear_and_with_cheap_frames_get_the_same_share() {
        let cases: [Case; 4] = [
            (&[1, 2], |_| 500),
            (&[1, 2, 3], |slot| if slot == 1 { 3 * VISIT_WORK } else { 500 }),
            (&[1, 2, 3, 4, 5, 6, 7, 8, 9], |slot| if slot < 9 { TURN_WORK / 4 } else { 700 }),
            // More connections than one turn can visit.
            (&[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20], |slot| {
                VISIT_WORK / 2 + u64::from(slot) * 9000
            }),
        ];
        for (slots, frame) in cases {
            let visits = run(&mut waiting(slots), 2000, frame);
            let shares = shares(&visits);
            let (least, most) = (*shares.values().min().unwrap(), *shares.values().max().unwrap());
            assert_eq!(shares.len(), slots.len());
            assert!(most - least <= most / 50, "{shares:?}");
            for turn in visits {
                let work: u64 = turn.iter().map(|(_, work)| work).sum();
                let overdraw = turn.last().map_or(0, |(slot, _)| VISIT_WORK + frame(*slot));
                assert!((TURN_WORK..TURN_WORK + overdraw).contains(&work), "{work}");
            }
        }
    }

    #[test]
    fn what_one_turn_leaves_is_visited_first_in_the_next() {
        let slots: Vec<u32> = (0..40).collect();
        let visits = run(&mut waiting(&slots), 5, |_| VISIT_WORK);
        let order: Vec<u32> = visits.iter().flatten().map(|(slot, _)| *slot).collect();
        assert_eq!(order, (0..40).cycle().take(5 * 16).collect::<Vec<_>>());
    }

    #[test]
    fn each_turn_begins_with_the_links_and_they_leave_clients_their_time() {
        let visits = run(&mut waiting(&[1, LINKS, 2, LINKS + 1, 3]), 10, |_| VISIT_WORK);
        for turn in &visits {
            let first: Vec<u32> = turn[..2].iter().map(|(slot, _)| *slot).collect();
            assert_eq!(first, [LINKS, LINKS + 1]);
            assert!(turn[2..].iter().all(|(slot, _)| *slot < LINKS), "{turn:?}");
        }
        let alone = run(&mut waiting(&[LINKS, LINKS + 1]), 1, |_| VISIT_WORK);
        assert_eq!(alone[0].len(), 16, "without clients the links have the whole turn");
    }

    #[test]
    fn who_overdraws_pays_with_the_next_visits_and_nothing_is_saved_up() {
        let mut fair = waiting(&[1, 2]);
        let visit = |fair: &mut Fair, work: u64| {
            let (id, allowed) = fair.next().unwrap();
            fair.spend(id, work);
            add(fair, id.slot);
            (id.slot, allowed)
        };
        fair.begin();
        assert_eq!(visit(&mut fair, 3 * VISIT_WORK + 10), (1, VISIT_WORK));
        assert_eq!(visit(&mut fair, 1), (2, VISIT_WORK));
        // The first one passes twice.
        assert_eq!(visit(&mut fair, 1), (2, VISIT_WORK));
        assert_eq!(visit(&mut fair, 1), (2, VISIT_WORK));
        assert_eq!(visit(&mut fair, 1), (1, VISIT_WORK - 10));
        assert_eq!(visit(&mut fair, 1), (2, VISIT_WORK), "what it left unused");
    }

    #[test]
    fn a_connection_waits_once_and_one_in_the_slot_of_another_begins_anew() {
        let mut fair = waiting(&[1, 1, 2]);
        fair.begin();
        let first = fair.next().unwrap().0;
        fair.spend(first, 10 * VISIT_WORK);
        add(&mut fair, 1);
        assert_eq!(fair.next().map(|(id, _)| id), Some(conn(2)));
        // Connection 1 is closed, and its slot is used again.
        let second = ConnId { slot: 1, generation: 2 };
        fair.add(second, false);
        assert_eq!(fair.next(), Some((second, VISIT_WORK)));
        fair.spend(conn(1), VISIT_WORK);
        fair.add(second, false);
        assert_eq!(fair.next(), Some((second, VISIT_WORK)), "what the earlier connection did is not its debt");
        assert_eq!(fair.next(), None);
        assert!(fair.is_empty());
    }
}
