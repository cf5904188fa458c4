//! Which connection is read next, so that each gets a fair share of a turn however expensive its frames are.
//!
//! This is deficit round robin, twice: among the sources of clients (their addresses), and among the clients of a
//! source. Those with input are visited in turn, and each visit allows so much work ([`VISIT_WORK`]). A connection
//! cannot stop in the middle of a frame, so it may overdraw; it, and its source, then pay with their next visits. A
//! source with many clients therefore gets no more than one with a single client, while both have input. A turn ends
//! when its work ([`TURN_WORK`]) is done. Whoever still waits keeps its place.
//!
//! Each turn begins with the links, one visit each, so that their control frames never wait for a client's bulk work.

use std::collections::{HashMap, VecDeque};

use foldhash::fast::RandomState;
use slab::Slab;

use crate::limits::{TURN_WORK, VISIT_WORK};
use crate::types::{ConnId, Source};

/// The connections that may have input, and the work that each may still cause.
#[derive(Debug, Default)]
pub(crate) struct Fair {
    links: VecDeque<ConnId>,
    /// The sources with waiting clients, by their keys, in the order of their visits.
    round: VecDeque<usize>,
    /// The sources with connections.
    sources: Slab<OfSource>,
    by_source: HashMap<Option<Source>, usize, RandomState>,
    /// The share of each connection, by its slot; `None` while the slot is free.
    shares: Vec<Option<Share>>,
    /// Links that are to be visited before the next client.
    links_due: usize,
    /// Work left in this turn; not positive once the turn is over.
    left: i64,
}

/// The deficit counter of one connection.
#[derive(Clone, Copy, Debug)]
struct Share {
    /// The connection that has the slot.
    id: ConnId,
    /// The key of its source.
    source: usize,
    credit: Credit,
    is_waiting: bool,
}

/// The connections of one source.
#[derive(Debug)]
struct OfSource {
    source: Option<Source>,
    conns: usize,
    /// Its clients that wait.
    clients: VecDeque<ConnId>,
    credit: Credit,
    is_in_round: bool,
}

/// Work that the last visit has left of its allowance; negative after an overdraft, which the next visits make up for.
#[derive(Clone, Copy, Debug, Default)]
struct Credit(i64);

impl Credit {
    /// Adds the allowance of a visit, and returns the work that the visit may cause; `None` if it must be skipped.
    fn visit(&mut self) -> Option<u64> {
        // What a visit leaves unused is not saved up.
        self.0 = self.0.saturating_add(signed(VISIT_WORK)).min(signed(VISIT_WORK));
        u64::try_from(self.0).ok().filter(|allowed| *allowed > 0)
    }

    fn spend(&mut self, work: u64) {
        self.0 = self.0.saturating_sub(signed(work));
    }
}

impl Fair {
    /// Notes a new connection, from this source if it comes from another process.
    pub(crate) fn open(&mut self, id: ConnId, source: Option<Source>) {
        let sources = &mut self.sources;
        let clients = VecDeque::new();
        let new = OfSource { source, conns: 0, clients, credit: Credit::default(), is_in_round: false };
        let key = *self.by_source.entry(source).or_insert_with(|| sources.insert(new));
        self.sources[key].conns += 1;
        let slot = id.slot as usize;
        if self.shares.len() <= slot {
            self.shares.resize(slot + 1, None);
        }
        assert!(self.shares[slot].is_none(), "the slot's last connection was closed");
        self.shares[slot] = Some(Share { id, source: key, credit: Credit::default(), is_waiting: false });
    }

    /// Notes the end of a connection.
    pub(crate) fn close(&mut self, id: ConnId) {
        if self.share_mut(id).is_none() {
            return;
        }
        if let Some(Share { source: key, .. }) = self.shares[id.slot as usize].take() {
            let of_source = &mut self.sources[key];
            of_source.conns -= 1;
            // In the queues, connections that have gone are skipped. A source in the round is removed by its visit.
            if of_source.conns == 0 && !of_source.is_in_round {
                self.forget(key);
            }
        }
    }

    fn forget(&mut self, key: usize) {
        let gone = self.sources.remove(key);
        self.by_source.remove(&gone.source);
    }

    /// Returns true if no connection waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.links.is_empty() && self.round.is_empty()
    }

    /// Puts a connection at the end of the queue, unless it is in it already.
    pub(crate) fn add(&mut self, id: ConnId, is_link: bool) {
        let Some(share) = self.share_mut(id) else { return };
        let key = share.source;
        if std::mem::replace(&mut share.is_waiting, true) {
            return;
        }
        if is_link {
            self.links.push_back(id);
        } else {
            self.sources[key].clients.push_back(id);
            self.enter(key);
        }
    }

    /// Puts a source at the end of the round if it has waiting clients.
    fn enter(&mut self, key: usize) {
        let of_source = &mut self.sources[key];
        if !of_source.clients.is_empty() && !std::mem::replace(&mut of_source.is_in_round, true) {
            self.round.push_back(key);
        }
    }

    /// Begins a turn.
    pub(crate) fn begin(&mut self) {
        self.links_due = self.links.len();
        self.left = signed(TURN_WORK);
    }

    /// Removes and returns the connection to be read next, with the work that it may cause; `None` when none waits or
    /// the turn is over. The caller reports the work with [`Self::spend`], and adds the connection again if it may have
    /// more input.
    pub(crate) fn next(&mut self) -> Option<(ConnId, u64)> {
        while self.left > 0 {
            if self.links_due == 0 {
                if let Some(visit) = self.next_client() {
                    return Some(visit);
                }
                self.links_due = self.links.len();
            }
            let id = self.links.pop_front()?;
            self.links_due -= 1;
            let Some(share) = self.share_mut(id) else { continue };
            share.is_waiting = false;
            match share.credit.visit() {
                Some(allowed) => return Some((id, allowed)),
                None => self.add(id, true),
            }
        }
        None
    }

    /// Returns the next client of the next source, each of which must not be in debt.
    fn next_client(&mut self) -> Option<(ConnId, u64)> {
        while let Some(key) = self.round.pop_front() {
            self.sources[key].is_in_round = false;
            let may_go = self.sources[key].credit.visit().is_some();
            let visit = if may_go { self.next_client_of(key) } else { None };
            self.enter(key);
            if self.sources[key].conns == 0 && !self.sources[key].is_in_round {
                self.forget(key);
            }
            if visit.is_some() {
                return visit;
            }
        }
        None
    }

    fn next_client_of(&mut self, key: usize) -> Option<(ConnId, u64)> {
        while let Some(id) = self.sources[key].clients.pop_front() {
            let Some(share) = self.share_mut(id) else { continue };
            if let Some(allowed) = share.credit.visit() {
                share.is_waiting = false;
                return Some((id, allowed));
            }
            self.sources[key].clients.push_back(id);
        }
        None
    }

    /// Counts the work of a visit.
    pub(crate) fn spend(&mut self, id: ConnId, work: u64) {
        self.left = self.left.saturating_sub(signed(work));
        if let Some(share) = self.share_mut(id) {
            share.credit.spend(work);
            let key = share.source;
            self.sources[key].credit.spend(work);
        }
    }

    fn share_mut(&mut self, id: ConnId) -> Option<&mut Share> {
        self.shares.get_mut(id.slot as usize)?.as_mut().filter(|share| share.id == id)
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

    const SOURCE: Source = Source::Ipv4([127, 0, 0, 1]);

    /// Slots from [`LINKS`] on are links.
    fn conn(slot: u32) -> ConnId {
        ConnId { slot, generation: 1 }
    }

    fn add(fair: &mut Fair, slot: u32) {
        fair.add(conn(slot), slot >= LINKS);
    }

    fn waiting(slots: &[u32]) -> Fair {
        waiting_from(slots, |_| SOURCE)
    }

    /// Returns waiting connections from these sources.
    fn waiting_from(slots: &[u32], source: impl Fn(u32) -> Source) -> Fair {
        let mut fair = Fair::default();
        for slot in slots {
            fair.open(conn(*slot), Some(source(*slot)));
            add(&mut fair, *slot);
        }
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
        let mut fair = waiting(&[1, 2]);
        add(&mut fair, 1);
        fair.begin();
        let first = fair.next().unwrap().0;
        fair.spend(first, 10 * VISIT_WORK);
        add(&mut fair, 1);
        assert_eq!(fair.next().map(|(id, _)| id), Some(conn(2)));
        // Connection 1 is closed, and its slot is used again.
        let second = ConnId { slot: 1, generation: 2 };
        fair.close(first);
        fair.open(second, Some(SOURCE));
        fair.add(second, false);
        assert_eq!(fair.next(), Some((second, VISIT_WORK)));
        fair.spend(conn(1), VISIT_WORK);
        fair.add(second, false);
        assert_eq!(fair.next(), Some((second, VISIT_WORK)), "what the earlier connection did is not its debt");
        assert_eq!(fair.next(), None);
        assert!(fair.is_empty());
    }

    #[test]
    fn sources_get_the_same_share_however_many_clients_they_have_and_whatever_their_frames_cost() {
        // One polite client, one of the same kind from another address, and a crowd with dear frames.
        let source = |slot: u32| Source::Ipv4([10, 0, 0, if slot < 3 { u8::try_from(slot).unwrap() } else { 9 }]);
        let slots: Vec<u32> = (1..100).collect();
        let mut fair = waiting_from(&slots, source);
        let visits = run(&mut fair, 2000, |slot| if slot < 3 { 700 } else { TURN_WORK });
        let shares = shares(&visits);
        let crowd: u64 = shares.iter().filter(|(slot, _)| **slot >= 3).map(|(_, work)| work).sum();
        for polite in [shares[&1], shares[&2]] {
            assert!(polite.abs_diff(crowd) <= crowd / 50, "{polite} of one client, {crowd} of the crowd");
        }
        // A source that wants less leaves the rest to the others, and a crowd by itself has all.
        slots.iter().filter(|slot| **slot < 3).for_each(|slot| fair.close(conn(*slot)));
        let alone = run(&mut fair, 10, |_| TURN_WORK);
        assert!(alone.iter().all(|visits| visits.len() == 1 && visits[0].0 >= 3), "{alone:?}");
    }

    #[test]
    fn sources_without_connections_are_forgotten() {
        let slots: Vec<u32> = (0..50).collect();
        let source = |slot: u32| Source::Ipv4(slot.to_be_bytes());
        let mut fair = waiting_from(&slots, source);
        fair.begin();
        // Some have been visited, and others still wait.
        for _ in 0..10 {
            fair.next().unwrap();
        }
        slots.iter().for_each(|slot| fair.close(conn(*slot)));
        assert_eq!(fair.next(), None);
        assert!(fair.is_empty());
        assert_eq!((fair.sources.len(), fair.by_source.len()), (0, 0));
    }
}
