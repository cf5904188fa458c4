//! The properties of one run. Each seed draws its own mix of cluster, network, clients and faults (swarm testing), so
//! that no fault always hides another and rare combinations occur.

use dht_node::cube;
use dht_node::limits::{
    CLIENT_QUEUE_MAX, DRAIN_US, LINK_QUEUE_MAX, LOG_WINDOW_BYTES, PUSH_QUEUE_MAX, TOPIC_BYTES_DEFAULT, TURN_INPUT_US,
};
use dht_node::node::Copies;
use dht_node::types::{Dimension, Retention, SlotId, Slots, TopicName};
use dht_node::wire::response::Durability;
use fastrand::Rng;

use crate::faults::Kind;

/// Everything that a seed determines in advance.
#[derive(Debug)]
pub(crate) struct Profile {
    pub dimension: Dimension,
    /// The number of slots: one, two or four for each node.
    pub slots: Slots,
    pub topics: Vec<Plan>,
    /// The nodes' defaults for topics that specify nothing.
    pub default_retention: Retention,
    /// Memory limit of a node.
    pub memory_bytes: u64,
    pub network: Wires,
    pub nodes: Pace,
    pub clients: Clients,
    pub faults: Faults,
    /// The properties of the journals; `None` if nodes keep everything in memory.
    pub disks: Option<Disks>,
    /// How many nodes keep each topic. With three, every acknowledged record is on the disks of two.
    pub copies: Copies,
}

/// A topic that clients use.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub name: String,
    /// Its slot, and the node on which the topics of that slot live.
    pub slot: SlotId,
    pub home: usize,
    /// The retention in CREATE.
    pub retention: Retention,
    /// The retention in ALTER.
    pub other: Retention,
}

/// The properties of connections.
#[derive(Clone, Debug)]
pub(crate) struct Wires {
    /// The one-way delay: minimum and maximum of a connection.
    pub latency_us: (u64, u64),
    pub bytes_per_second: u64,
    /// Bytes in transit or unread at which a sender must wait.
    pub room: usize,
    /// Percentage of writes that arrive in two parts.
    pub split: u8,
    /// Percentage of connects that hang.
    pub hang: u8,
}

/// How nodes run.
#[derive(Clone, Debug)]
pub(crate) struct Pace {
    /// Most bytes that a read returns, unless very many wait.
    pub read_bytes: usize,
    /// What the clock advances in a pass when it is read.
    pub clock_us: u64,
    /// The delay from readiness to the turn.
    pub turn_us: (u64, u64),
    /// The high-water marks of queues are lowered to this, so that few bytes reach them.
    pub link_mark: usize,
    /// The length from which a link's queue accepts no pushes.
    pub push_mark: usize,
    pub client_mark: usize,
    /// Nodes start one after another within this time.
    pub start_us: u64,
}

/// The properties of the nodes' disks.
#[derive(Clone, Debug)]
pub(crate) struct Disks {
    /// Size of a segment in bytes: small, so that a run uses many.
    pub segment: u32,
    /// The duration of an fsync.
    pub sync_us: (u64, u64),
    /// Delay until acknowledged data is fsynced; `None` if it is fsynced first.
    pub interval_us: Option<u64>,
    /// The duration of each operation on notes, checkpoints and new segments.
    pub keep_us: (u64, u64),
    /// What is kept of the log for other members of a group, if that is less than in production.
    pub log_kept: Option<LogKept>,
}

/// How little of the log a node keeps for members that are behind, so that they often need a copy of the state.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LogKept {
    /// Bytes of segments on the disk.
    pub disk_bytes: u64,
    /// Bytes of applied bodies in memory.
    pub window_bytes: usize,
}

/// The clients and their behaviour.
#[derive(Clone, Debug, Default)]
pub(crate) struct Clients {
    pub publishers: usize,
    pub readers: usize,
    pub subscribers: usize,
    /// Maximum number of subscriptions of one client.
    pub subscriptions: usize,
    pub admins: usize,
    pub hostile: usize,
    /// Clients that request as much as possible from one node.
    pub greedy: usize,
    /// Delay between two actions of a client.
    pub think_us: (u64, u64),
    /// Unacknowledged batches of a publisher.
    pub window: usize,
    pub batch_records: u32,
    pub record_bytes: usize,
    /// Percent of an admin's requests that delete a topic.
    pub deletes: u8,
    /// Percent of an admin's requests that alter or trim one.
    pub changes: u8,
}

/// The faults of a run, and their times.
#[derive(Clone, Debug, Default)]
pub(crate) struct Faults {
    /// The kinds of faults. Empty in a calm run, in which no request may fail.
    pub kinds: Vec<Kind>,
    /// Mean time between two faults.
    pub every_us: u64,
    /// Mean duration of a fault.
    pub last_us: u64,
    /// The time after which no new faults occur.
    pub until_us: u64,
    /// The time at which all faults are repaired.
    pub end_us: u64,
}

impl Profile {
    /// Draws the properties of the run with a seed. The number of slots follows from the seed itself, so that it
    /// changes nothing else of a run.
    pub(crate) fn draw(seed: u64, rng: &mut Rng) -> Self {
        let dimension =
            Dimension::new(pick(rng, &[0, 1, 2, 2, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 4])).expect("at most 4");
        let default_retention =
            Retention { bytes: *choose(rng, &[TOPIC_BYTES_DEFAULT, 8 << 10]), ..Retention::default() };
        let mut disks = rng.bool().then(|| Disks::draw(rng));
        let mut faults = Faults::draw(rng);
        faults.kinds.retain(|kind| disks.is_some() || !kind.is_of_disks());
        let copies = copies(dimension, disks.as_ref(), &faults);
        // A node whose disk was full has dropped the part of its log that a replaced disk would need.
        let is_full = faults.kinds.contains(&Kind::DiskFull);
        if copies == Copies::Three && disks.is_some() && !is_full && Rng::with_seed(rng.clone().u64(..)).bool() {
            faults.kinds.push(Kind::Wipe);
        }
        let narrow = rng.u8(..100) < 15;
        let mut clients = Clients::draw(rng);
        let mut network = Wires::draw(rng, narrow);
        if faults.kinds.is_empty() || faults.kinds == [Kind::Rolling] {
            network.hang = 0;
        }
        if network.bytes_per_second < 1 << 20 || network.room < 16 << 10 {
            clients.record_bytes = clients.record_bytes.min(4 << 10);
        }
        if let Some(disks) = &mut disks {
            // Smaller records save time: on simulated disks the data is copied several times.
            clients.record_bytes = clients.record_bytes.min(2_000);
            clients.batch_records = clients.batch_records.min(5);
            // If each batch filled a segment, no two batches would share a sync, and publishers would wait too long.
            let batch_bytes = u32::try_from(clients.record_bytes).expect("few") * clients.batch_records;
            disks.segment = disks.segment.max((8 * batch_bytes).next_multiple_of(8));
        }
        if faults.kinds == [Kind::Rolling] {
            // A hostile client that poses as a neighbour would drop requests, which must not happen in such a run.
            (clients.hostile, clients.greedy) = (0, 0);
            // Publish less: the run is longer, and everything that is published is read at the end.
            clients.think_us = clients.think_us.max((10_000, 100_000));
            clients.batch_records = clients.batch_records.min(3);
        }
        if clients.greedy > 0 {
            (clients.record_bytes, clients.batch_records) = (40, 1);
        }
        let slots = slots(dimension, u8::try_from(seed % 3).expect("small"));
        Self {
            dimension,
            slots,
            topics: plans(rng, (dimension, slots)),
            default_retention,
            memory_bytes: *choose(rng, &[1 << 30, 1 << 30, 1 << 30, 40 << 10, 6 << 10]),
            network,
            nodes: Pace::draw(rng, narrow),
            clients,
            faults,
            disks,
            copies,
        }
    }

    /// Returns the profile of a calm cube without clients.
    pub(crate) fn calm(dimension: Dimension, names: Vec<String>, end_us: u64) -> Self {
        let slots = slots(dimension, 1);
        let plan = |name: String| {
            let (slot, home) = home(&name, (dimension, slots));
            Plan { name, slot, home, retention: Retention::default(), other: Retention::default() }
        };
        Self {
            dimension,
            slots,
            topics: names.into_iter().map(plan).collect(),
            default_retention: Retention { bytes: TOPIC_BYTES_DEFAULT, ..Retention::default() },
            memory_bytes: 1 << 30,
            network: Wires { latency_us: (50, 100), bytes_per_second: 1 << 30, room: 256 << 10, split: 0, hang: 0 },
            nodes: Pace {
                read_bytes: usize::MAX,
                clock_us: 0,
                turn_us: (1, 5),
                link_mark: LINK_QUEUE_MAX,
                push_mark: PUSH_QUEUE_MAX,
                client_mark: CLIENT_QUEUE_MAX,
                start_us: 0,
            },
            clients: Clients { think_us: (2_000, 4_000), ..Clients::default() },
            faults: Faults { last_us: 1, end_us, ..Faults::default() },
            disks: None,
            copies: Copies::One,
        }
    }

    /// Returns the name of a topic.
    pub(crate) fn name(&self, topic: usize) -> TopicName<'_> {
        TopicName::new(&self.topics[topic].name).expect("a valid name")
    }

    /// Returns true if a crash of a machine may lose the last acknowledged records, because syncs are periodic.
    pub(crate) fn has_interval_sync(&self) -> bool {
        self.durability() == Durability::Interval
    }

    /// Returns how many bytes of applied bodies of a group nodes keep in memory for others.
    pub(crate) fn log_window_bytes(&self) -> usize {
        let kept = self.disks.as_ref().and_then(|disks| disks.log_kept);
        kept.map_or(LOG_WINDOW_BYTES, |kept| kept.window_bytes)
    }

    /// Returns the durability that an acknowledgement promises.
    pub(crate) fn durability(&self) -> Durability {
        match &self.disks {
            None => Durability::Memory,
            Some(Disks { interval_us: Some(_), .. }) => Durability::Interval,
            Some(Disks { interval_us: None, .. }) => Durability::Synced,
        }
    }

    /// Returns true if requests may get QUOTA.
    pub(crate) fn is_scarce(&self) -> bool {
        // If a segment cannot be prepared, the node answers as with a full disk.
        let fills = |kind: &Kind| matches!(kind, Kind::DiskFull | Kind::DiskFails);
        self.memory_bytes < 1 << 30 || self.disks.is_some() && self.faults.kinds.iter().any(fills)
    }

    /// Returns true if a request may wait for a disk until it times out.
    pub(crate) const fn is_held_up(&self) -> bool {
        self.disks.is_some() && !self.faults.kinds.is_empty()
    }

    /// Returns true if every node that stops is shut down in an orderly way, so that no accepted request may be lost.
    pub(crate) fn is_orderly(&self) -> bool {
        !self.faults.kinds.is_empty() && self.faults.kinds.iter().all(|kind| *kind == Kind::Rolling) && !self.is_slow()
    }

    /// Returns true if connections are so slow that a request may take seconds.
    pub(crate) const fn is_slow(&self) -> bool {
        self.network.bytes_per_second < 1 << 30 || self.is_far()
    }

    /// Returns true if retention may repeatedly remove records while they are read from a disk, so that the read starts
    /// again. With slow disks, or if publishers do not wait for syncs, this may last as long as they publish.
    pub(crate) fn is_overtaken(&self) -> bool {
        self.disks.as_ref().is_some_and(|disks| disks.interval_us.is_some() || disks.keep_us.1 > 100_000)
    }

    /// Returns true if latencies are so high that answers may arrive after their requests have timed out.
    pub(crate) const fn is_far(&self) -> bool {
        self.network.latency_us.0 > 100_000
    }

    /// Returns true if there are no faults and no low limits, so that no request may fail for lack of a path or of
    /// space in a queue.
    pub(crate) fn is_calm(&self) -> bool {
        self.faults.kinds.is_empty()
            && self.nodes.link_mark == LINK_QUEUE_MAX
            && self.nodes.push_mark == PUSH_QUEUE_MAX
            && self.network.hang == 0
            && !self.is_far()
    }
}

impl Wires {
    fn draw(rng: &mut Rng, narrow: bool) -> Self {
        let least = *choose(rng, &[20, 50, 50, 200, 1000]);
        let most = least * *choose(rng, &[1, 2, 10]);
        let is_far = rng.u8(..100) < 4;
        Self {
            latency_us: if is_far { (350_000, 450_000) } else { (least, most) },
            bytes_per_second: if narrow { *choose(rng, &[400 << 10, 4 << 20]) } else { 1 << 30 },
            room: if narrow { *choose(rng, &[1 << 10, 8 << 10, 64 << 10]) } else { 256 << 10 },
            split: *choose(rng, &[0, 5, 30]),
            hang: *choose(rng, &[0, 0, 10, 40]),
        }
    }
}

impl Pace {
    fn draw(rng: &mut Rng, narrow: bool) -> Self {
        let low = narrow || rng.u8(..100) < 10;
        let all = usize::MAX;
        // One connection is read in a pass, a few, or all.
        let (read_bytes, clock_us) =
            *choose(rng, &[(128, TURN_INPUT_US), (1 << 10, TURN_INPUT_US / 3), (all, 0), (all, 0)]);
        Self {
            read_bytes,
            clock_us,
            turn_us: *choose(rng, &[(1, 5), (5, 100), (50, 2000)]),
            link_mark: if low { *choose(rng, &[400, 2 << 10, 16 << 10]) } else { LINK_QUEUE_MAX },
            push_mark: if low { *choose(rng, &[0, 300, 4 << 10, PUSH_QUEUE_MAX]) } else { PUSH_QUEUE_MAX },
            client_mark: if low { *choose(rng, &[200, 1 << 10, 8 << 10]) } else { CLIENT_QUEUE_MAX },
            start_us: *choose(rng, &[0, 1000, 300_000, 1_500_000]),
        }
    }
}

impl Disks {
    fn draw(rng: &mut Rng) -> Self {
        // Preparing a segment takes as long as other operations of the keeping thread. With small segments they must be
        // fast, because publishers wait if they fill segments faster than these are prepared.
        let (segment, keep_us) = *choose(
            rng,
            &[(4 << 10, (10, 100)), (16 << 10, (500, 5_000)), (64 << 10, (500, 20_000)), (64 << 10, (20_000, 150_000))],
        );
        let sync_us = *choose(rng, &[(50, 400), (200, 5_000), (5_000, 40_000)]);
        // A separate generator, so that later draws of the seed do not depend on this one.
        let apart = &mut Rng::with_seed(rng.clone().u64(..));
        let interval_us = (apart.u8(..3) == 0).then(|| *choose(apart, &[1_000, 20_000, 200_000, 1_000_000]));
        let log_kept = (apart.u8(..3) > 0).then(|| LogKept {
            disk_bytes: apart.u64(..4) * u64::from(segment),
            window_bytes: *choose(apart, &[0, 1 << 10, 16 << 10]),
        });
        Self { segment, sync_us, interval_us, keep_us, log_kept }
    }
}

impl Clients {
    fn draw(rng: &mut Rng) -> Self {
        Self {
            publishers: rng.usize(1..=3),
            readers: rng.usize(0..=2),
            subscribers: *choose(rng, &[0, 1, 2, 3, 3, 10]),
            subscriptions: *choose(rng, &[1, 2, 6]),
            admins: rng.usize(0..=2),
            hostile: rng.usize(0..=2),
            greedy: if rng.u8(..100) < 1 { 45 } else { 0 },
            think_us: *choose(rng, &[(2_000, 30_000), (10_000, 100_000), (100_000, 400_000)]),
            window: *choose(rng, &[1, 4, 16, 64]),
            batch_records: *choose(rng, &[1, 3, 20]),
            record_bytes: *choose(rng, &[0, 40, 40, 40, 300, 300, 2_000, 30_000, 90_000, 90_000]),
            deletes: *choose(rng, &[0, 0, 2, 10]),
            changes: *choose(rng, &[0, 0, 3, 15]),
        }
    }
}

/// Percentage of the seeds in which nodes are restarted in an orderly way, one after the other, without other faults.
const ROLLING: u8 = 6;

impl Faults {
    fn draw(rng: &mut Rng) -> Self {
        let mut kinds: Vec<Kind> = Kind::DRAWN.into_iter().filter(|_| rng.bool()).collect();
        if rng.u8(..100) < 15 {
            kinds.clear();
        }
        // A separate generator, so that later draws of the seed do not depend on this one.
        let apart = &mut Rng::with_seed(rng.clone().u64(..));
        let is_rolling = apart.u8(..100) < ROLLING;
        if is_rolling {
            kinds = vec![Kind::Rolling];
        }
        let end_us = rng.u64(1_500_000..5_000_000) + if is_rolling { DRAIN_US } else { 0 };
        // In some runs all faults come early and stay, so that routes are stable afterwards.
        let early = rng.u8(..100) < 25;
        // In others there are few faults, but so long ones that subscribers are notified of unreachable homes.
        let long = !early && rng.u8(..100) < 20;
        Self {
            kinds,
            every_us: if early { 150_000 } else { *choose(rng, &[100_000, 300_000, 1_000_000]) }
                * if long { 5 } else { 1 },
            last_us: if early { 1 << 40 } else { *choose(rng, &[60_000, 400_000, 1_500_000]) }
                + if long { 3_000_000 } else { 0 },
            until_us: if early { 700_000 } else { end_us },
            end_us: if early || long { end_us + 4_000_000 } else { end_us },
        }
    }
}

/// Returns how many nodes keep each topic: three if what is acknowledged is on disks, or no node ends. No clock jumps
/// then, because the times of records come from the clocks of several nodes.
fn copies(dimension: Dimension, disks: Option<&Disks>, faults: &Faults) -> Copies {
    let ends = |kind: &Kind| matches!(kind, Kind::Crash | Kind::PowerOff | Kind::Drain | Kind::Rolling);
    let jumps = |kind: &Kind| matches!(kind, Kind::WallJump | Kind::WallYear);
    let is_safe = match disks {
        None => !faults.kinds.iter().any(ends),
        Some(disks) => disks.interval_us.is_none(),
    };
    let is_possible = dimension.bits() >= 2 && is_safe && !faults.kinds.iter().any(jumps);
    if is_possible { Copies::Three } else { Copies::One }
}

/// Returns topics with various limits of retention.
fn plans(rng: &mut Rng, cube: (Dimension, Slots)) -> Vec<Plan> {
    let count = *choose(rng, &[1, 2, 3, 5, 8, 40]);
    let long = rng.u8(..100) < 5;
    let plan = |index: usize, rng: &mut Rng| {
        let name = if long { format!("{}{index}", "long/".repeat(45)) } else { format!("topic-{index}") };
        let (slot, home) = home(&name, cube);
        let bounded = |rng: &mut Rng, values: &[u64]| if rng.u8(..100) < 30 { *choose(rng, values) } else { 0 };
        let bounds = |rng: &mut Rng| Retention {
            records: bounded(rng, &[1, 2, 7, 50]),
            bytes: bounded(rng, &[1, 60, 500, 5_000, 50_000]),
            age_ms: bounded(rng, &[300, 2_000]),
        };
        Plan { name, slot, home, retention: bounds(rng), other: bounds(rng) }
    };
    (0..count).map(|index| plan(index, rng)).collect()
}

/// Returns the slots of a cube, with `2^bits` of them for each node.
fn slots(dimension: Dimension, bits: u8) -> Slots {
    Slots::new(dimension.bits() + bits).expect("small")
}

/// Returns the slot of a topic name, and its home vertex.
fn home(name: &str, (dimension, slots): (Dimension, Slots)) -> (SlotId, usize) {
    let slot = cube::slot(TopicName::new(name).expect("a valid name"), slots);
    (slot, usize::from(cube::node_of(slot, dimension).index()))
}

/// Returns a random element of `values`.
pub(crate) fn choose<'a, T>(rng: &mut Rng, values: &'a [T]) -> &'a T {
    &values[rng.usize(..values.len())]
}

fn pick(rng: &mut Rng, values: &[u8]) -> u8 {
    *choose(rng, values)
}

/// Returns a random number from an inclusive range.
pub(crate) fn within(rng: &mut Rng, (least, most): (u64, u64)) -> u64 {
    rng.u64(least..=most)
}
