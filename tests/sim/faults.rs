//! The faults: drawn at random from the kinds that the seed has selected, and repaired some time later.

use dht_node::limits::DRAIN_US;
use fastrand::Rng;

use crate::disk::FakeDisk;
use crate::host::Host;
use crate::profile::{Faults, choose};
use crate::storage::SimStore;
use crate::trace::Note;
use crate::wire::Leave;
use crate::world::{Wake, World};

/// The kinds of faults.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A link carries nothing in either direction, and its ends are not notified.
    Cut,
    /// A link carries nothing in one direction.
    CutOneWay,
    /// The connections of a link are reset.
    Reset,
    /// The connections of a link are reset several times in a row.
    Flap,
    /// A node dies, and its peers are notified.
    Crash,
    /// A node dies, and nobody is notified.
    PowerOff,
    /// A node is asked to end.
    Drain,
    /// All nodes are asked to end, each once the previous one is back.
    Rolling,
    /// A node stalls.
    Stall,
    /// A node's wall clock jumps by a small amount.
    WallJump,
    /// A node's wall clock jumps by days or a year, and usually back again.
    WallYear,
    /// A client's connection is reset.
    ClientReset,
    /// A node loses or delays some of the frames that pushes depend on.
    Sieve,
    /// A machine crashes in the middle of a disk operation.
    DiskStop,
    /// A disk is full for a while.
    DiskFull,
    /// A disk fails an fsync, and loses the data.
    DiskFails,
    /// A disk is very slow.
    DiskStall,
    /// A machine's disk is replaced by an empty one, at a time when the copies of all nodes are complete.
    Wipe,
}

/// A fault, or its repair.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Fault {
    Cut { from: usize, to: usize },
    Heal { from: usize, to: usize },
    Reset { a: usize, b: usize, left: u8 },
    Crash { node: usize, silent: bool },
    Drain { node: usize },
    Roll { node: usize, left: usize },
    Start { node: usize },
    Stall { node: usize, until_us: u64 },
    Awake { node: usize },
    WallJump { node: usize, offset_us: u64 },
    ClientReset { client: usize },
    Sieve { node: usize, loses: u8, holds: u8 },
    DiskStop { node: usize, changes: u64 },
    DiskFull { node: usize, room: u64 },
    DiskSpace { node: usize },
    DiskFails { node: usize, syncs: u64 },
    DiskStall { node: usize, until_us: u64 },
    Wipe { node: usize },
}

/// A node that has been back for this long has its links.
const BACK_US: u64 = 400_000;

/// A wall clock counts as wrong if it differs by more than that or by a twentieth of a second.
pub(crate) const DAY_US: u64 = 86_400_000_000;

/// The wall clocks start in the summer of 2025.
pub(crate) const WALL_US: u64 = 1_750_000_000_000_000;

impl Kind {
    /// Returns true if the fault concerns disks.
    pub(crate) const fn is_of_disks(self) -> bool {
        matches!(self, Self::DiskStop | Self::DiskFull | Self::DiskFails | Self::DiskStall | Self::Wipe)
    }

    /// The kinds that a seed draws from. `Rolling` and `Wipe` are not among them: each has seeds of its own.
    pub(crate) const DRAWN: [Self; 16] = [
        Self::Cut,
        Self::CutOneWay,
        Self::Reset,
        Self::Flap,
        Self::Crash,
        Self::PowerOff,
        Self::Drain,
        Self::Stall,
        Self::WallJump,
        Self::WallYear,
        Self::ClientReset,
        Self::Sieve,
        Self::DiskStop,
        Self::DiskFull,
        Self::DiskFails,
        Self::DiskStall,
    ];
}

/// Returns a random time between a half and one and a half times this.
pub(crate) fn about(rng: &mut Rng, mean_us: u64) -> u64 {
    rng.u64(mean_us / 2..=mean_us + mean_us / 2)
}

impl World {
    /// Causes a fault, and schedules the next one.
    pub(crate) fn break_something(&mut self) {
        let Faults { kinds, every_us, until_us, .. } = self.profile.faults.clone();
        if kinds.is_empty() || self.now_us >= until_us {
            return;
        }
        let next_us = self.now_us + about(&mut self.chaos, every_us);
        self.at(next_us, Wake::Trouble);
        let kind = *choose(&mut self.chaos, &kinds);
        self.begin(kind);
    }

    fn begin(&mut self, kind: Kind) {
        let edges: Vec<(usize, usize)> = self.ground.edges().collect();
        let node = self.chaos.usize(..self.hosts.len());
        let edge = if edges.is_empty() { None } else { Some(*choose(&mut self.chaos, &edges)) };
        match (kind, edge) {
            (Kind::Cut | Kind::CutOneWay | Kind::Reset | Kind::Flap, None) => {}
            (Kind::Cut, Some((a, b))) => {
                let heal_us = self.heal_at();
                for (from, to) in [(a, b), (b, a)] {
                    self.apply(Fault::Cut { from, to });
                    self.at(heal_us, Wake::Fault(Fault::Heal { from, to }));
                }
                self.trace.totals.cuts += 1;
            }
            (Kind::CutOneWay, Some((a, b))) => {
                let (from, to) = if self.chaos.bool() { (a, b) } else { (b, a) };
                self.apply(Fault::Cut { from, to });
                let heal_us = self.heal_at();
                self.at(heal_us, Wake::Fault(Fault::Heal { from, to }));
                self.trace.totals.cuts += 1;
            }
            (Kind::Reset, Some((a, b))) => self.apply(Fault::Reset { a, b, left: 0 }),
            (Kind::Flap, Some((a, b))) => {
                let left = self.chaos.u8(2..8);
                self.apply(Fault::Reset { a, b, left });
            }
            (Kind::Crash, _) => self.apply(Fault::Crash { node, silent: false }),
            (Kind::PowerOff, _) => self.apply(Fault::Crash { node, silent: true }),
            (Kind::Drain, _) => self.apply(Fault::Drain { node }),
            (Kind::Rolling, _) if self.is_rolling => {}
            (Kind::Rolling, _) => self.apply(Fault::Roll { node, left: self.hosts.len() }),
            (Kind::Stall, _) => {
                let until_us = self.now_us + self.chaos.u64(50_000..2_000_000);
                self.apply(Fault::Stall { node, until_us });
            }
            (Kind::WallJump, _) => {
                let offset_us = WALL_US + self.chaos.u64(..50_000);
                self.apply(Fault::WallJump { node, offset_us });
            }
            (Kind::WallYear, _) => self.jump_by_days(node),
            (Kind::ClientReset, _) => {
                let client = self.chaos.usize(..self.clients.len());
                self.apply(Fault::ClientReset { client });
            }
            (Kind::Sieve, _) => {
                let (loses, holds) = *choose(&mut self.chaos, &[(100, 0), (30, 0), (0, 30), (10, 10), (0, 100)]);
                self.apply(Fault::Sieve { node, loses, holds });
                let heal_us = self.heal_at();
                self.at(heal_us, Wake::Fault(Fault::Sieve { node, loses: 0, holds: 0 }));
            }
            (Kind::DiskStop, _) => {
                let changes = self.chaos.u64(..40);
                self.apply(Fault::DiskStop { node, changes });
            }
            (Kind::DiskFull, _) => {
                let room = self.chaos.u64(..100_000);
                self.apply(Fault::DiskFull { node, room });
                let heal_us = self.heal_at();
                self.at(heal_us, Wake::Fault(Fault::DiskSpace { node }));
            }
            (Kind::DiskFails, _) => {
                let syncs = self.chaos.u64(..20);
                self.apply(Fault::DiskFails { node, syncs });
            }
            (Kind::DiskStall, _) => {
                let until_us = self.now_us + self.chaos.u64(50_000..1_500_000);
                self.apply(Fault::DiskStall { node, until_us });
            }
            (Kind::Wipe, _) if self.are_complete() => self.apply(Fault::Wipe { node }),
            (Kind::Wipe, _) => {}
        }
    }

    fn jump_by_days(&mut self, node: usize) {
        // Two clocks that are wrong must not be wrong by the same amount.
        let by_us = DAY_US * *choose(&mut self.chaos, &[2, 30, 365]) + self.chaos.u64(..DAY_US);
        let offset_us = if self.chaos.bool() { WALL_US + by_us } else { WALL_US - by_us };
        self.apply(Fault::WallJump { node, offset_us });
        if self.chaos.u8(..4) > 0 {
            let heal_us = self.heal_at();
            self.at(heal_us, Wake::Fault(Fault::WallJump { node, offset_us: WALL_US }));
        }
        self.trace.totals.years += 1;
    }

    /// Applies a fault or its repair.
    pub(crate) fn apply(&mut self, fault: Fault) {
        let now_us = self.now_us;
        self.trace.note(now_us, Note::Fault(fault));
        match fault {
            Fault::Cut { from, to } => self.network.set_cut(now_us, (from, to), true),
            Fault::Heal { from, to } => self.network.set_cut(now_us, (from, to), false),
            Fault::Reset { a, b, left } => {
                self.trace.totals.resets += 1;
                self.network.reset_between(a, b);
                self.ground.disturb(now_us, a, b);
                if left > 0 && now_us < self.profile.faults.end_us {
                    let again_us = now_us + self.chaos.u64(20_000..400_000);
                    self.at(again_us, Wake::Fault(Fault::Reset { a, b, left: left - 1 }));
                }
            }
            Fault::Crash { node, silent } => self.crash(node, silent),
            Fault::Drain { node } => self.drain(node),
            Fault::Roll { node, left } => self.roll(node, left),
            Fault::Start { node } => self.start(node),
            Fault::Stall { node, until_us } => {
                self.trace.totals.stalls += 1;
                self.stalled_until_us[node] = self.stalled_until_us[node].max(until_us);
                self.at(until_us, Wake::Fault(Fault::Awake { node }));
            }
            Fault::Awake { node } => self.wake_node(node, now_us),
            Fault::WallJump { node, offset_us } => self.set_wall(node, offset_us),
            Fault::ClientReset { client } => {
                self.clients[client].session.break_off(&mut self.network, now_us, Leave::Reset)
            }
            Fault::Sieve { node, loses, holds } => self.sieve(node, (loses, holds)),
            Fault::Wipe { node } => self.wipe(node),
            Fault::DiskStop { .. }
            | Fault::DiskFull { .. }
            | Fault::DiskSpace { .. }
            | Fault::DiskFails { .. }
            | Fault::DiskStall { .. } => self.apply_to_disk(fault),
        }
        self.refresh_ground();
    }

    fn apply_to_disk(&mut self, fault: Fault) {
        let totals = &mut self.trace.totals;
        if let Fault::DiskStop { node, changes } = fault {
            totals.disk_stops += 1;
            self.disks[node].stop_after(changes);
        } else if let Fault::DiskFull { node, room } = fault {
            totals.disks_filled += 1;
            self.disks[node].set_capacity(Some(self.disks[node].used() + room));
        } else if let Fault::DiskSpace { node } = fault {
            self.disks[node].set_capacity(None);
        } else if let Fault::DiskFails { node, syncs } = fault {
            totals.disk_failures += 1;
            self.disks[node].fail_sync_after(Some(syncs));
        } else if let Fault::DiskStall { node, until_us } = fault
            && let Some(SimStore::Disk(store)) = self.hosts[node].as_mut().map(|host| &mut host.driver.turn.store)
        {
            store.stalled_until_us = until_us;
        }
    }

    fn crash(&mut self, node: usize, silent: bool) {
        if self.hosts[node].is_none() {
            return;
        }
        self.trace.totals.crashes += 1;
        // A process that is killed leaves its unsynced data in the page cache; a machine that crashes does not.
        if silent || self.chaos.bool() {
            self.crash_disk(node);
        }
        if self.profile.disks.is_some() && self.chaos.u8(..4) == 0 {
            // The next start crashes too, at some later operation.
            self.disks[node].stop_after(self.chaos.u64(..30));
        }
        self.stop(node, if silent { Leave::Vanish } else { Leave::Reset });
        self.network.is_dark[node] = silent;
    }

    /// Returns true if a node may lose its disk now: all nodes run, and their copies are complete and durable.
    fn are_complete(&self) -> bool {
        let is_complete = |host: &Host| match &host.driver.turn.store {
            SimStore::Disk(store) => store.is_idle() && host.driver.turn.node().is_complete(),
            SimStore::Memory(_) => false,
        };
        self.hosts.iter().all(|host| host.as_ref().is_some_and(is_complete))
    }

    fn wipe(&mut self, node: usize) {
        self.trace.totals.wipes += 1;
        self.stop(node, Leave::Vanish);
        self.network.is_dark[node] = true;
        self.disks[node] = FakeDisk::default();
        self.ground.nodes[node].has_new_disk = true;
    }

    fn drain(&mut self, node: usize) {
        let now_us = self.now_us;
        let Some(host) = self.hosts[node].as_mut().filter(|host| !host.is_draining()) else { return };
        host.drain(now_us);
        self.trace.totals.drains += 1;
        self.ground.nodes[node].is_draining = true;
        self.wake_node(node, now_us);
    }

    /// Asks one node after the other to end, each some time after the previous one is back.
    fn roll(&mut self, node: usize, left: usize) {
        // At the end, nodes that were still to be asked are stopped at once.
        self.is_rolling = left > 0 && self.now_us + DRAIN_US < self.phase_ends_us;
        if !self.is_rolling {
            return;
        }
        let is_whole = self.ground.nodes.iter().all(|truth| truth.is_up && !truth.is_draining);
        let is_settled = is_whole && self.ground.is_settled(self.now_us, BACK_US);
        let (next, wait_us) = if is_settled { ((node + 1) % self.hosts.len(), BACK_US) } else { (node, 20_000) };
        if is_settled {
            self.drain(node);
        }
        let left = left - usize::from(is_settled);
        self.at(self.now_us + wait_us, Wake::Fault(Fault::Roll { node: next, left }));
    }

    /// Sets what a node loses, if it is running.
    pub(crate) fn sieve(&mut self, node: usize, (loses, holds): (u8, u8)) {
        if let Some(host) = &mut self.hosts[node] {
            (host.driver.turn.conns.sieve.loses, host.driver.turn.conns.sieve.holds) = (loses, holds);
        }
    }

    fn heal_at(&mut self) -> u64 {
        self.now_us + about(&mut self.chaos, self.profile.faults.last_us)
    }
}
