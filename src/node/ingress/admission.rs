//! Accounts for the memory that clients make this node use: bytes are reserved before the work, and released when the
//! memory is free again.
//!
//! A request reserves the size of its largest possible answer until it is answered. Bytes that a client has not taken
//! from its send queue count as well. The budget is shared twice, among the sources and among the clients of a source,
//! each time by the rule that network switches with shared memory call dynamic thresholds: the limit is a fraction of
//! what is free. Heavy users are therefore suspended as the budget fills up, and there is always something left for the
//! next one.
//!
//! | who | may use |
//! |---|---|
//! | a source, with all its clients | three quarters of what the other sources leave free |
//! | a client | a quarter of what is free for its source, not counting a reserve: a quarter of the source's part |
//! | a client that uses at most 256 KiB | an eighth of what is free for its source, the reserve included |
//! | any client | one small request |
//!
//! Requests for another node, and those that wait for the disk, wait in one queue, in which a client with many of them
//! would be served more often than the others. Their number therefore has a limit of its own, which the sources with
//! such requests share equally, and so do the clients of each source.
//!
//! While a client is suspended, this node does not read from it: its requests wait in its socket. Nothing is lost, and
//! it is not disconnected. This module only decides; `charge` carries it out.

use std::collections::{HashMap, VecDeque};

use foldhash::fast::RandomState;
use slab::Slab;

use crate::limits::{
    CLIENT_CHARGE_MAX, CLIENT_LITTLE_BYTES, HELD_BYTES, INFLIGHT_LEAST, INFLIGHT_MAX, INFLIGHT_SHARED, RESPONSE_CHARGE,
};
use crate::types::{ConnId, Source};

/// A client may use one part in this many of what is free for its source, not counting the reserve ([`KEPT_PART`]). A
/// client alone can thus use a fifth of its source's part without the reserve: four times as much then remains free.
const FREE_PART: u64 = 4;

/// One part in this many of what a source may use is a reserve for clients that use little: without it, a few clients
/// that do not read their answers would leave hardly anything to the others.
const KEPT_PART: u64 = 4;

/// A client that uses at most [`CLIENT_LITTLE_BYTES`] may use one part in this many of what is free for its source.
const FREE_PART_LITTLE: u64 = 8;

/// Returns how many bytes a source may use when the other sources leave `free` bytes of the budget.
const fn part_of_source(free: u64) -> u64 {
    free - free / 4
}

/// The accounts of all clients.
#[derive(Debug)]
pub(in crate::node) struct Admission {
    /// Bytes that all clients together may use.
    budget: u64,
    /// The accounts of connected clients, by the slot of the connection.
    accounts: Vec<Option<Account>>,
    /// The accounts of closed connections with requests that are not finished.
    closed: HashMap<ConnId, Account, RandomState>,
    /// Number of unanswered requests.
    inflight: u64,
    /// Bytes reserved for them.
    reserved: u64,
    /// Bytes in the send queues of the clients.
    untaken: u64,
    /// Totals by source, for sources with at least one account.
    sources: Slab<SourceTotal>,
    by_source: HashMap<Source, usize, RandomState>,
    /// Number of sources with unanswered requests.
    asking_sources: u32,
    /// Clients to be checked again when budget is released, the longest waiting first: those suspended because the
    /// budget was short, and those with FETCHes that wait for memory. Some may have been resumed, or have gone, since.
    throttled: VecDeque<ConnId>,
}

/// What the clients of one source use in total.
#[derive(Debug)]
struct SourceTotal {
    source: Source,
    accounts: usize,
    /// Number of the source's accounts with unanswered requests.
    asking: u32,
    used: u64,
}

/// What one client uses.
#[derive(Debug)]
struct Account {
    id: ConnId,
    /// The key of its source.
    source: usize,
    inflight: u32,
    reserved: u64,
    /// Bytes in its send queue after the last write.
    untaken: u64,
    /// True while the send queue is above its high-water mark, because the client does not read.
    is_full: bool,
    is_suspended: bool,
    /// True while some of its FETCHes wait for memory.
    is_holding: bool,
    /// True while it is in the queue [`Admission::throttled`].
    is_throttled: bool,
}

impl Account {
    const fn used(&self) -> u64 {
        self.reserved + self.untaken
    }

    /// Returns true when the client has reached one of its own limits.
    const fn is_at_its_limit(&self, inflight_max: u32) -> bool {
        self.is_full || self.inflight >= inflight_max || self.reserved >= CLIENT_CHARGE_MAX
    }

    /// Returns true when at least half of its own limits is free again.
    const fn has_room(&self, inflight_max: u32) -> bool {
        !self.is_full && self.inflight <= inflight_max / 2 && self.reserved <= CLIENT_CHARGE_MAX / 2
    }
}

impl Admission {
    /// Returns the accounts of no clients, with a budget in bytes.
    pub(super) fn new(budget: u64) -> Self {
        Self {
            budget,
            accounts: Vec::new(),
            closed: HashMap::default(),
            inflight: 0,
            reserved: 0,
            untaken: 0,
            sources: Slab::new(),
            by_source: HashMap::default(),
            asking_sources: 0,
            throttled: VecDeque::new(),
        }
    }

    /// Returns the number of unanswered requests of all clients, including those that have disconnected.
    pub(in crate::node) const fn inflight(&self) -> u64 {
        self.inflight
    }

    /// Returns how many bytes are reserved for unanswered requests.
    pub(in crate::node) const fn reserved(&self) -> u64 {
        self.reserved
    }

    /// Returns the number of bytes in the send queues of the clients.
    pub(in crate::node) const fn untaken(&self) -> u64 {
        self.untaken
    }

    /// Opens the account of a new client.
    pub(super) fn open(&mut self, id: ConnId, source: Source) {
        let slot = id.slot as usize;
        if self.accounts.len() <= slot {
            self.accounts.resize_with(slot + 1, || None);
        }
        assert!(self.accounts[slot].is_none(), "the account of the slot's last connection was closed");
        let sources = &mut self.sources;
        let source = *self
            .by_source
            .entry(source)
            .or_insert_with(|| sources.insert(SourceTotal { source, accounts: 0, asking: 0, used: 0 }));
        self.sources[source].accounts += 1;
        self.accounts[slot] = Some(Account {
            id,
            source,
            inflight: 0,
            reserved: 0,
            untaken: 0,
            is_full: false,
            is_suspended: false,
            is_holding: false,
            is_throttled: false,
        });
    }

    /// Closes the account of a client that has disconnected. What its unanswered requests reserve stays reserved until
    /// they are finished.
    pub(super) fn close(&mut self, id: ConnId) {
        self.change(id, |account| account.untaken = 0);
        if self.account(id).is_some_and(|account| account.inflight > 0)
            && let Some(account) = self.accounts[id.slot as usize].take()
        {
            self.closed.insert(id, Account { is_throttled: false, is_holding: false, ..account });
        } else if self.account(id).is_some()
            && let Some(account) = self.accounts[id.slot as usize].take()
        {
            self.leave(account.source);
        }
    }

    /// Subtracts a closed account from the total of its source.
    fn leave(&mut self, source: usize) {
        self.sources[source].accounts -= 1;
        if self.sources[source].accounts == 0 {
            let gone = self.sources.remove(source);
            self.by_source.remove(&gone.source);
        }
    }

    /// Reserves budget for a request.
    pub(super) fn reserve(&mut self, id: ConnId, bytes: u32) {
        self.inflight += 1;
        self.change(id, |account| {
            account.inflight += 1;
            account.reserved += u64::from(bytes);
        });
    }

    /// Reserves more for a request that has a reservation already.
    pub(super) fn extend(&mut self, id: ConnId, bytes: u32) {
        self.change(id, |account| account.reserved += u64::from(bytes));
    }

    /// Releases a part of what a request has reserved.
    pub(super) fn release(&mut self, id: ConnId, bytes: u32) {
        self.change(id, |account| account.reserved -= u64::from(bytes));
    }

    /// Releases the rest of what a request has reserved, because it is answered or becomes a reader.
    pub(super) fn finish(&mut self, id: ConnId, bytes: u32) {
        self.finish_many(id, 1, bytes);
    }

    /// Releases the rest of what `count` requests of a client have reserved together.
    pub(super) fn finish_many(&mut self, id: ConnId, count: u32, bytes: u32) {
        self.inflight -= u64::from(count);
        self.change(id, |account| {
            account.inflight -= count;
            account.reserved -= u64::from(bytes);
        });
        if self.closed.get(&id).is_some_and(|account| account.inflight == 0)
            && let Some(account) = self.closed.remove(&id)
        {
            self.leave(account.source);
        }
    }

    /// Notes that a client's send queue has risen above its high-water mark.
    pub(super) fn fill(&mut self, id: ConnId) {
        self.change(id, |account| account.is_full = true);
    }

    /// Notes that a client's send queue has fallen to half of its high-water mark.
    pub(super) fn drain(&mut self, id: ConnId) {
        self.change(id, |account| account.is_full = false);
    }

    /// Notes how many bytes are left in a client's send queue after a write.
    pub(super) fn set_untaken(&mut self, id: ConnId, bytes: usize) {
        self.change(id, |account| account.untaken = bytes as u64);
    }

    /// Returns how many bytes of records may be queued for a client now. A client with an empty send queue may always
    /// get some, so that it makes progress.
    pub(in crate::node) fn room(&self, id: ConnId) -> usize {
        let Some(account) = self.account(id).filter(|account| !account.is_full) else { return 0 };
        usize::try_from(self.share(account.source).saturating_sub(account.untaken)).unwrap_or(usize::MAX)
    }

    /// Returns the source of a client that is connected or has unanswered requests.
    pub(in crate::node) fn source_of(&self, id: ConnId) -> Option<Source> {
        let account = self.account(id).or_else(|| self.closed.get(&id))?;
        Some(self.sources[account.source].source)
    }

    /// Returns the number of a connected client's unanswered requests.
    pub(in crate::node) fn inflight_of(&self, id: ConnId) -> u32 {
        self.account(id).map_or(0, |account| account.inflight)
    }

    /// Returns true while a client's send queue is above its high-water mark.
    pub(in crate::node) fn is_full(&self, id: ConnId) -> bool {
        self.account(id).is_some_and(|account| account.is_full)
    }

    /// Returns true while reads from a client are suspended.
    pub(in crate::node) fn is_suspended(&self, id: ConnId) -> bool {
        self.account(id).is_some_and(|account| account.is_suspended)
    }

    /// Notes whether FETCHes of a client wait for memory.
    pub(super) fn set_holding(&mut self, id: ConnId, is_holding: bool) {
        if let Some(account) = self.account_mut(id) {
            account.is_holding = is_holding;
            if is_holding && !account.is_throttled {
                account.is_throttled = true;
                self.throttled.push_back(id);
                self.forget_closed();
            }
        }
    }

    /// Returns the number of clients whose FETCHes wait for memory.
    pub(super) fn holding(&self) -> usize {
        self.accounts.iter().flatten().filter(|account| account.is_holding).count()
    }

    /// Returns true for a client that is connected.
    pub(super) fn is_open(&self, id: ConnId) -> bool {
        self.account(id).is_some()
    }

    /// Returns true while FETCHes of a client wait for memory.
    pub(super) fn is_holding(&self, id: ConnId) -> bool {
        self.account(id).is_some_and(|account| account.is_holding)
    }

    /// Returns true if a FETCH that waits for memory may now reserve this many more bytes: within its client's share,
    /// or, if its client has nothing but waiting FETCHes, within what is free for its source.
    pub(in crate::node) fn may_continue(&self, id: ConnId, bytes: u32) -> bool {
        let Some(account) = self.account(id) else { return false };
        let uses_nothing_else = account.used() <= u64::from(account.inflight) * u64::from(HELD_BYTES);
        account.used() + u64::from(bytes) <= self.share(account.source)
            || uses_nothing_else && u64::from(bytes) <= self.free_for(account.source)
    }

    /// Returns true if a client's request may reserve this many bytes. A request of at most [`RESPONSE_CHARGE`] bytes
    /// always may.
    pub(in crate::node) fn admits(&self, id: ConnId, bytes: u64) -> bool {
        let is_free = |account: &Account| bytes <= self.free_for(account.source);
        bytes <= RESPONSE_CHARGE.into() || self.account(id).is_none_or(is_free)
    }

    /// Suspends a client that has reached its limits or its share. Returns true if it was not suspended before.
    pub(super) fn suspend(&mut self, id: ConnId) -> bool {
        let Some(account) = self.account(id).filter(|account| !account.is_suspended) else { return false };
        let (share, inflight_max) = (self.share(account.source), self.inflight_max(account.source));
        let is_short = account.used() >= share;
        if !is_short && !account.is_at_its_limit(inflight_max) {
            return false;
        }
        let Some(account) = self.account_mut(id) else { return false };
        account.is_suspended = true;
        if is_short && !account.is_throttled {
            account.is_throttled = true;
            self.throttled.push_back(id);
            self.forget_closed();
        }
        true
    }

    /// Removes disconnected clients from the queue when it has become much longer than the table of accounts, so that
    /// it cannot grow without bound.
    fn forget_closed(&mut self) {
        if self.throttled.len() > 2 * self.accounts.len() {
            let throttled = std::mem::take(&mut self.throttled);
            self.throttled = throttled.into_iter().filter(|id| self.account(*id).is_some()).collect();
        }
    }

    /// Resumes a client once at least half of its own limits and of its share is free again. Returns true if it was
    /// suspended before.
    pub(super) fn resume(&mut self, id: ConnId) -> bool {
        let Some(account) = self.account(id).filter(|account| account.is_suspended) else { return false };
        let (share, inflight_max) = (self.share(account.source), self.inflight_max(account.source));
        let may_resume = account.has_room(inflight_max) && account.used() <= share / 2;
        if let Some(account) = self.account_mut(id) {
            account.is_suspended = !may_resume;
        }
        may_resume
    }

    /// Removes and returns the next client to be checked. The caller resumes it if possible, and calls
    /// [`Self::requeue_throttled`] in any case.
    pub(super) fn take_throttled(&mut self) -> Option<ConnId> {
        while let Some(id) = self.throttled.pop_front() {
            if let Some(account) = self.account_mut(id) {
                account.is_throttled = false;
                return Some(id);
            }
        }
        None
    }

    /// Puts a client that still waits for the budget at the end of the queue. One that has used more than half of its
    /// own limits is left out: it is checked when one of its requests ends or its send queue drains.
    pub(super) fn requeue_throttled(&mut self, id: ConnId) {
        let Some(inflight_max) = self.account(id).map(|account| self.inflight_max(account.source)) else { return };
        if let Some(account) = self.account_mut(id)
            && !account.is_throttled
            && (account.is_suspended && account.has_room(inflight_max) || account.is_holding)
        {
            account.is_throttled = true;
            self.throttled.push_back(id);
        }
    }

    /// Returns how many more bytes a client may reserve now.
    pub(super) fn room_to_ask(&self, id: ConnId) -> u64 {
        self.account(id).map_or(0, |account| self.share(account.source).saturating_sub(account.used()))
    }

    /// Asserts the invariants.
    pub(super) fn check(&self) {
        let all = || self.accounts.iter().flatten().chain(self.closed.values());
        let sum = |of: fn(&Account) -> u64| all().map(of).sum::<u64>();
        assert_eq!(self.inflight, sum(|account| account.inflight.into()));
        assert_eq!(self.reserved, sum(|account| account.reserved));
        assert_eq!(self.untaken, sum(|account| account.untaken));
        for account in all() {
            assert!(
                (account.reserved == 0) == (account.inflight == 0),
                "{account:?}: bytes are reserved for requests only"
            );
            assert!(!account.is_holding || account.is_throttled, "{account:?} is not in the queue");
            assert!(!account.is_throttled || self.throttled.contains(&account.id), "{account:?} is not in the queue");
        }
        for (key, total) in &self.sources {
            let of_it = || all().filter(|account| account.source == key);
            assert_eq!(total.used, of_it().map(Account::used).sum::<u64>());
            assert_eq!(total.accounts, of_it().count());
            assert_eq!(total.asking as usize, of_it().filter(|account| account.inflight > 0).count());
            assert_eq!(self.by_source.get(&total.source), Some(&key));
        }
        assert_eq!(self.sources.len(), self.by_source.len());
        let asking = self.sources.iter().filter(|(_, total)| total.asking > 0);
        assert_eq!(self.asking_sources as usize, asking.count());
        let is_waiting = |account: &Account| account.inflight > 0 && !account.is_throttled;
        assert!(self.closed.values().all(is_waiting), "closed accounts are kept for unanswered requests only");
    }

    /// Returns how many more bytes the clients of a source may use in total.
    fn free_for(&self, source: usize) -> u64 {
        let used = self.sources[source].used;
        let others = self.reserved + self.untaken - used;
        part_of_source(self.budget.saturating_sub(others)).saturating_sub(used)
    }

    /// Returns how many bytes a client of a source may use at present: at least those of one small request.
    fn share(&self, source: usize) -> u64 {
        let (free, used) = (self.free_for(source), self.sources[source].used);
        let of_much = free.saturating_sub((free + used) / KEPT_PART) / FREE_PART;
        let of_little = CLIENT_LITTLE_BYTES.min(free / FREE_PART_LITTLE);
        of_much.max(of_little).max(RESPONSE_CHARGE.into())
    }

    /// Returns how many unanswered requests a client of a source may have at present.
    fn inflight_max(&self, source: usize) -> u32 {
        let sharing = self.asking_sources.max(1).saturating_mul(self.sources[source].asking.max(1));
        (INFLIGHT_SHARED / sharing).clamp(INFLIGHT_LEAST, INFLIGHT_MAX)
    }

    fn account(&self, id: ConnId) -> Option<&Account> {
        self.accounts.get(id.slot as usize)?.as_ref().filter(|account| account.id == id)
    }

    fn account_mut(&mut self, id: ConnId) -> Option<&mut Account> {
        self.accounts.get_mut(id.slot as usize)?.as_mut().filter(|account| account.id == id)
    }

    /// Changes an account, and updates the totals.
    fn change(&mut self, id: ConnId, change: impl FnOnce(&mut Account)) {
        let connected = self.accounts.get_mut(id.slot as usize).and_then(Option::as_mut);
        let account = match connected.filter(|account| account.id == id) {
            Some(account) => account,
            None => match self.closed.get_mut(&id) {
                Some(account) => account,
                None => return,
            },
        };
        let (reserved, untaken, was_asking) = (account.reserved, account.untaken, account.inflight > 0);
        change(account);
        let total = &mut self.sources[account.source];
        total.used = total.used - reserved - untaken + account.used();
        let had_asked = total.asking > 0;
        total.asking = total.asking - u32::from(was_asking) + u32::from(account.inflight > 0);
        self.asking_sources = self.asking_sources - u32::from(had_asked) + u32::from(total.asking > 0);
        self.reserved = self.reserved - reserved + account.reserved;
        self.untaken = self.untaken - untaken + account.untaken;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u32 = 1 << 20;
    const PIECE: u32 = 64 << 10;
    const BUDGET: u64 = 96 << 20;
    const SOURCE: Source = Source::Ipv4([127, 0, 0, 1]);
    const OTHER: Source = Source::Ipv4([127, 0, 0, 2]);

    fn id(number: u32) -> ConnId {
        ConnId { slot: number % 1000, generation: number }
    }

    fn with_clients(count: u32) -> Admission {
        let mut admission = Admission::new(BUDGET);
        (0..count).for_each(|number| admission.open(id(number), SOURCE));
        admission
    }

    /// Reserves a MiB at a time until the client is suspended, and returns how many it got.
    fn take_all(admission: &mut Admission, client: ConnId) -> u64 {
        for taken in 1.. {
            admission.reserve(client, MIB);
            admission.check();
            if admission.suspend(client) {
                return taken;
            }
        }
        unreachable!("each client has a limit")
    }

    #[test]
    fn one_client_gets_its_limit_and_many_together_get_no_more_than_the_budget() {
        let mut admission = with_clients(1);
        assert_eq!(take_all(&mut admission, id(0)), CLIENT_CHARGE_MAX >> 20);
        for clients in [2, 3, 6, 12, 100, 1000] {
            let mut admission = with_clients(clients);
            for number in 0..clients {
                while admission.admits(id(number), PIECE.into()) && !admission.suspend(id(number)) {
                    admission.reserve(id(number), PIECE);
                }
                admission.check();
            }
            assert!(
                admission.reserved() <= part_of_source(BUDGET),
                "{clients} clients reserve {} bytes",
                admission.reserved()
            );
            assert!(admission.admits(id(0), RESPONSE_CHARGE.into()), "a small request always has room");
        }
    }

    /// Reserves a byte at a time for these clients in turn until all are suspended, and returns how many each got.
    fn ask_all(admission: &mut Admission, clients: &[ConnId]) -> Vec<u32> {
        let mut left = clients.to_vec();
        while !left.is_empty() {
            left.retain(|client| {
                admission.reserve(*client, 1);
                !admission.suspend(*client)
            });
        }
        admission.check();
        clients.iter().map(|client| admission.inflight_of(*client)).collect()
    }

    #[test]
    fn clients_that_wait_for_others_share_the_queue_equally_and_so_do_their_sources() {
        for (clients, each) in [(1, INFLIGHT_MAX), (2, INFLIGHT_MAX), (4, INFLIGHT_SHARED / 4), (100, INFLIGHT_LEAST)] {
            let mut admission = with_clients(clients);
            let all: Vec<ConnId> = (0..clients).map(id).collect();
            assert_eq!(ask_all(&mut admission, &all), vec![each; all.len()], "{clients} clients");
            // One from elsewhere has half of the queue for itself.
            let late = ConnId { slot: 1000, generation: 1000 };
            admission.open(late, OTHER);
            assert_eq!(ask_all(&mut admission, &[late]), [INFLIGHT_SHARED / 2]);
            // Once the others have their answers, they may ask for as much again.
            for client in all {
                (0..each).for_each(|_| admission.finish(client, 1));
                assert!(admission.resume(client));
            }
            admission.check();
        }
    }

    #[test]
    fn a_client_within_its_share_is_not_suspended_whatever_others_use() {
        let mut admission = with_clients(65);
        for number in 1..65 {
            while !admission.suspend(id(number)) {
                admission.reserve(id(number), PIECE);
            }
        }
        for _ in 0..60 {
            admission.reserve(id(0), RESPONSE_CHARGE);
            assert!(!admission.suspend(id(0)), "after {} bytes", admission.reserved());
        }
        admission.check();
    }

    #[test]
    fn one_source_leaves_a_part_of_the_budget_to_the_next_one_however_many_clients_it_has() {
        let mut admission = with_clients(1000);
        for number in 0..1000 {
            while admission.admits(id(number), PIECE.into()) && !admission.suspend(id(number)) {
                admission.reserve(id(number), PIECE);
            }
        }
        assert!(admission.reserved() <= part_of_source(BUDGET));
        let late = ConnId { slot: 1000, generation: 1000 };
        admission.open(late, OTHER);
        let left = BUDGET - admission.reserved();
        assert!(admission.admits(late, left / 2), "half of the {left} bytes that the first source has left");
        let taken = take_all(&mut admission, late);
        assert!(taken << 20 >= left / 16, "{taken} MiB of {left} bytes");
        admission.check();
        // A source without clients is forgotten once its requests are finished.
        (0..taken).for_each(|_| admission.finish(late, MIB));
        admission.close(late);
        assert_eq!(admission.sources.len(), 1);
        admission.check();
    }

    #[test]
    fn a_suspended_client_is_resumed_when_its_own_requests_are_finished_or_others_are() {
        let mut admission = Admission::new(20 << 20);
        (0..3).for_each(|number| admission.open(id(number), SOURCE));
        let taken: Vec<u64> = (0..3).map(|number| take_all(&mut admission, id(number))).collect();
        assert_eq!(taken, [3, 2, 2], "a quarter of what is free, and a part of a request more");
        assert!(!admission.resume(id(1)));
        admission.finish(id(1), MIB);
        assert!(!admission.resume(id(1)), "more than half of its share is in use");
        admission.finish(id(1), MIB);
        assert!(admission.resume(id(1)));
        // The others are looked at in turn, unless they use more than half of their own limits.
        [0, 0, 2].into_iter().for_each(|number| admission.finish(id(number), MIB));
        let looked_at: Vec<ConnId> = (0..3).map(|_| admission.take_throttled().unwrap()).collect();
        assert_eq!((looked_at, admission.take_throttled()), (vec![id(0), id(1), id(2)], None));
        (0..3).for_each(|number| admission.requeue_throttled(id(number)));
        assert_eq!(admission.take_throttled(), Some(id(0)), "the client that was resumed does not wait");
        assert_eq!((admission.take_throttled(), admission.take_throttled()), (Some(id(2)), None));
        admission.check();
    }

    #[test]
    fn what_a_client_that_has_gone_has_asked_for_stays_reserved_until_it_is_finished() {
        let mut admission = with_clients(1);
        (0..2).for_each(|_| admission.reserve(id(0), MIB));
        admission.close(id(0));
        // Its slot has another connection.
        let next = ConnId { slot: 0, generation: 1000 };
        admission.open(next, SOURCE);
        admission.reserve(next, MIB);
        assert_eq!((admission.inflight(), admission.reserved()), (3, 3 << 20));
        assert_eq!(admission.inflight_of(next), 1);
        (0..2).for_each(|_| admission.finish(id(0), MIB));
        assert_eq!((admission.inflight(), admission.reserved()), (1, 1 << 20));
        admission.check();
    }

    #[test]
    fn what_a_client_has_not_taken_counts_until_it_has_and_limits_what_else_it_gets() {
        let mut admission = with_clients(2);
        // Three quarters of 96 MiB are for the source, and a quarter of that is kept for clients that use little.
        let share = |used: usize| ((54 << 20) - used) / 4;
        assert_eq!(admission.room(id(0)), share(0));
        admission.set_untaken(id(0), 4 << 20);
        assert_eq!(admission.untaken(), 4 << 20);
        assert_eq!(admission.room(id(0)), share(4 << 20) - (4 << 20));
        assert_eq!(admission.room(id(1)), share(4 << 20));
        admission.set_untaken(id(0), 20 << 20);
        assert_eq!(admission.room(id(0)), 0);
        assert!(admission.suspend(id(0)), "it asks for no more while it does not take what it has asked for");
        admission.set_untaken(id(0), 10 << 20);
        assert!(!admission.resume(id(0)));
        admission.set_untaken(id(0), 0);
        assert!(admission.resume(id(0)));
        admission.fill(id(1));
        assert_eq!(admission.room(id(1)), 0);
        admission.set_untaken(id(1), 5 << 20);
        admission.close(id(1));
        assert_eq!(admission.untaken(), 0, "what it has not taken is dropped with its connection");
        admission.check();
    }
}
