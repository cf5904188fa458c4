//! Tests of routing. Small cubes are enumerated: every set of dead nodes, every set of dead links, every pair of nodes.
//! Larger cubes have random faults. The expected results are computed independently of the code, without a `LinkSet`.

use proptest::prelude::*;

use super::*;

fn cube(bits: u8) -> Dimension {
    Dimension::new(bits).unwrap()
}

fn node(id: u16, dimension: Dimension) -> NodeId {
    NodeId::new(id, dimension).unwrap()
}

/// A cube with dead links, as its nodes see them.
#[derive(Debug)]
struct Faults {
    dimension: Dimension,
    /// For each node, a bitmap: bit `b` is set when the node sees its link across dimension `b` as down.
    seen_down: Vec<u16>,
}

impl Faults {
    fn none(dimension: Dimension) -> Self {
        Self { dimension, seen_down: vec![0; usize::from(dimension.nodes())] }
    }

    /// Returns faults in which all links of the nodes whose bits are set in `dead` are down.
    fn of_nodes(dead: u64, dimension: Dimension) -> Self {
        let mut faults = Self::none(dimension);
        for (node, bit) in links(dimension) {
            let other = node ^ (1 << bit);
            if (dead >> node) & 1 == 1 || (dead >> other) & 1 == 1 {
                faults.kill(node, bit);
            }
        }
        faults
    }

    /// Returns faults in which the links for which `is_dead` returns true are down. Its argument is the position of the
    /// link in [`links`].
    fn of_links(dimension: Dimension, is_dead: impl Fn(usize) -> bool) -> Self {
        let mut faults = Self::none(dimension);
        for (_, (node, bit)) in links(dimension).enumerate().filter(|(count, _)| is_dead(*count)) {
            faults.kill(node, bit);
        }
        faults
    }

    fn kill(&mut self, node: u16, bit: u8) {
        self.seen_down[usize::from(node)] |= 1 << bit;
        self.seen_down[usize::from(node ^ (1 << bit))] |= 1 << bit;
    }

    fn sees_up(&self, node: NodeId, bit: u8) -> bool {
        (self.seen_down[usize::from(node.index())] >> bit) & 1 == 0
    }

    /// Returns the links that at least one end sees as down.
    fn set(&self) -> LinkSet {
        let mut set = LinkSet::new();
        for node in self.dimension.all() {
            for bit in (0..self.dimension.bits()).filter(|bit| !self.sees_up(node, *bit)) {
                set.insert(Link::new(node, bit));
            }
        }
        set
    }

    /// Returns the distance of each node to `target` over links that both ends see as up. (Bellman-Ford: every link is
    /// relaxed until no distance changes.)
    fn distances(&self, target: NodeId) -> Vec<Option<u16>> {
        let mut distances = vec![None; self.seen_down.len()];
        distances[usize::from(target.index())] = Some(0);
        loop {
            let before = distances.clone();
            for (a, bit) in links(self.dimension) {
                let b = a ^ (1 << bit);
                if ((self.seen_down[usize::from(a)] | self.seen_down[usize::from(b)]) >> bit) & 1 == 0 {
                    for (from, to) in [(usize::from(a), usize::from(b)), (usize::from(b), usize::from(a))] {
                        let known = [distances[to], distances[from].map(|distance: u16| distance + 1)];
                        distances[to] = known.into_iter().flatten().min();
                    }
                }
            }
            if distances == before {
                return distances;
            }
        }
    }

    /// Sends a request and follows it to its end.
    fn send(&self, source: NodeId, target: NodeId) -> Journey {
        self.follow(source, target, |here, carried| {
            route(here, target, self.dimension, carried, |bit| self.sees_up(here, bit))
        })
    }

    /// Sends a response and follows it to its end.
    fn send_back(&self, source: NodeId, target: NodeId) -> Journey {
        self.follow(source, target, |here, carried| {
            route_back(here, target, self.dimension, carried, |bit| self.sees_up(here, bit))
        })
    }

    fn follow(&self, source: NodeId, target: NodeId, step: impl Fn(NodeId, &mut LinkSet) -> NextHop) -> Journey {
        let mut journey = Journey { path: vec![source], carried: LinkSet::new(), arrived: false };
        for hops in 0.. {
            assert!(hops <= hops_limit(self.dimension), "{source:?} to {target:?} never ends in {self:?}");
            let here = *journey.path.last().unwrap();
            match step(here, &mut journey.carried) {
                NextHop::Across(bit) => {
                    assert!(self.sees_up(here, bit), "{here:?} to {target:?} over the dead link {bit} of {self:?}");
                    journey.path.push(here.across(bit));
                }
                NextHop::Here => {
                    assert_eq!(here, target);
                    journey.arrived = true;
                    break;
                }
                NextHop::Unreachable => break,
            }
        }
        journey
    }
}

struct Journey {
    path: Vec<NodeId>,
    carried: LinkSet,
    arrived: bool,
}

impl Journey {
    fn hops(&self) -> u16 {
        u16::try_from(self.path.len() - 1).unwrap()
    }
}

/// Returns each link once, as its lower end and its bit.
fn links(dimension: Dimension) -> impl Iterator<Item = (u16, u8)> {
    (0..dimension.bits())
        .flat_map(move |bit| (0..dimension.nodes()).map(move |node| (node, bit)))
        .filter(|(node, bit)| (node >> bit) & 1 == 0)
}

#[test]
fn names_live_where_zlib_says() {
    let longest = "x".repeat(249);
    // name, zlib.crc32(name), its low 3 bits, its low 10 bits
    let cases: [(&str, u32, u16, u16); 12] = [
        ("a", 0xe8b7_be43, 3, 579),
        ("A", 0xd3d9_9e8b, 3, 651),
        ("_", 0x29d6_a3e8, 0, 1000),
        ("topic-1", 0xf870_e123, 3, 291),
        ("topic-2", 0x6179_b099, 1, 153),
        ("orders", 0xe52f_fdee, 6, 494),
        ("dht/meta", 0xac4e_4f81, 1, 897),
        ("logs.app_1", 0x66e2_123f, 7, 575),
        ("123456789", 0xcbf4_3926, 6, 294),
        ("metrics.cpu-0", 0xe5fb_c0c0, 0, 192),
        ("sensors/kitchen/temperature", 0x4a25_72e5, 5, 741),
        (&longest, 0xb4d9_02c7, 7, 711),
    ];
    for (name, crc, of_eight, of_1024) in cases {
        assert_eq!(crc32fast::hash(name.as_bytes()), crc, "{name}");
        let name = TopicName::new(name).unwrap();
        for (bits, expected) in [(0, 0), (3, of_eight), (10, of_1024)] {
            assert_eq!(home(name, cube(bits)).index(), expected, "{name} at d = {bits}");
        }
    }
}

#[test]
fn a_thousand_numbered_topics_are_spread_evenly_over_eight_nodes() {
    let mut topics = [0; 8];
    for number in 1..=1000 {
        let name = format!("topic-{number}");
        topics[usize::from(home(TopicName::new(&name).unwrap(), cube(3)).index())] += 1;
    }
    assert_eq!(topics, [125; 8]);
}

#[test]
fn however_many_slots_there_are_each_is_on_the_home_of_its_topics() {
    for slots in (0..=DIMENSION_MAX).map(|bits| Slots::new(bits).unwrap()) {
        let mut met = vec![false; usize::from(slots.count())];
        for number in 0..20_000 {
            let name = format!("topic-{number}");
            let name = TopicName::new(&name).unwrap();
            let slot = slot(name, slots);
            met[usize::from(slot.index())] = true;
            for dimension in (0..=slots.bits()).map(cube) {
                assert_eq!(node_of(slot, dimension), home(name, dimension), "{name} of {slots:?} in {dimension:?}");
            }
        }
        assert!(met.into_iter().all(|met| met), "{slots:?}");
        assert_eq!(slots.all().count(), usize::from(slots.count()));
    }
}

#[test]
fn a_cube_that_grows_moves_a_topic_by_one_hop_at_most() {
    for bits in 0..DIMENSION_MAX {
        let mut moved = 0;
        for number in 1..=1000 {
            let name = format!("topic-{number}");
            let name = TopicName::new(&name).unwrap();
            let (old, new) = (home(name, cube(bits)), home(name, cube(bits + 1)));
            assert!(old == new || old.across(bits) == new, "{name} moves from {old:?} to {new:?}");
            moved += u32::from(old != new);
        }
        assert!((400..600).contains(&moved), "{moved} of 1000 topics move from d = {bits}");
    }
}

#[test]
fn neighbours_come_in_increasing_bit() {
    for (bits, id, expected) in [(0, 0, vec![]), (1, 1, vec![0]), (3, 0b101, vec![0b100, 0b111, 0b001])] {
        let found = neighbours(node(id, cube(bits)), cube(bits)).map(|(bit, next)| (bit, next.index()));
        assert!(found.eq((0..).zip(expected)), "neighbours of {id} at d = {bits}");
    }
}

#[test]
fn a_step_corrects_the_highest_bit_and_detours_only_where_it_must() {
    use NextHop::{Across, Here, Unreachable};
    type Case = (u16, u16, &'static [(u16, u8)], NextHop);
    // Columns, for d = 3: here, target, the dead links as (node, bit), the expected step.
    let cases: [Case; 10] = [
        (0b000, 0b000, &[], Here),
        (0b000, 0b000, &[(0b000, 0), (0b000, 1), (0b000, 2)], Here),
        (0b000, 0b111, &[], Across(2)),
        (0b101, 0b110, &[], Across(1)),
        (0b000, 0b111, &[(0b000, 2)], Across(1)),
        // 100 is a dead end, and so is 010, which a step across bit 1 would lead to.
        (0b000, 0b111, &[(0b100, 1), (0b100, 0), (0b010, 2), (0b010, 0)], Across(0)),
        // Of two equally long detours, the one over the higher bit is taken.
        (0b000, 0b001, &[(0b000, 0)], Across(2)),
        // Both paths have four hops: correcting bit 0 is preferred to a detour over bit 2.
        (0b000, 0b011, &[(0b000, 1), (0b001, 1)], Across(0)),
        (0b000, 0b001, &[(0b001, 0), (0b001, 1), (0b001, 2)], Unreachable),
        (0b000, 0b001, &[(0b000, 0), (0b000, 1), (0b000, 2)], Unreachable),
    ];
    for (here, target, down, expected) in cases {
        let three = cube(3);
        let mut faults = Faults::none(three);
        down.iter().for_each(|(node, bit)| faults.kill(*node, *bit));
        let found = next_hop(node(here, three), node(target, three), three, &faults.set());
        assert_eq!(found, expected, "{here:03b} to {target:03b} without {down:?}");
    }
}

#[test]
fn without_faults_every_pair_is_joined_by_a_shortest_path() {
    for dimension in (0..=6).map(cube) {
        let faults = Faults::none(dimension);
        for source in dimension.all() {
            for target in dimension.all() {
                let journey = faults.send(source, target);
                assert!(journey.arrived && journey.carried.is_empty());
                assert_eq!(u32::from(journey.hops()), source.distance(target));
                assert_eq!(journey.hops(), hop_bound(source, target, dimension, &journey.carried));
            }
        }
    }
}

#[test]
fn with_any_nodes_dead_a_frame_arrives_exactly_when_a_path_exists() {
    // Columns: d; the most hops to a live target, to a live target that is cut off, to a dead target.
    for (bits, arrived, cut_off, dead_target) in [(1, 1, 0, 0), (2, 2, 0, 3), (3, 5, 5, 8)] {
        let dimension = cube(bits);
        let mut most = (0, 0, 0);
        for dead in 0..1 << dimension.nodes() {
            let faults = Faults::of_nodes(dead, dimension);
            let is_dead = |node: NodeId| (dead >> node.index()) & 1 == 1;
            for target in dimension.all() {
                let distances = faults.distances(target);
                for source in dimension.all().filter(|source| !is_dead(*source)) {
                    let journey = faults.send(source, target);
                    let path_exists = distances[usize::from(source.index())].is_some();
                    assert_eq!(journey.arrived, path_exists, "{source:?} to {target:?} with {dead:b} dead");
                    let most = match (journey.arrived, is_dead(target)) {
                        (true, _) => &mut most.0,
                        (false, false) => &mut most.1,
                        (false, true) => &mut most.2,
                    };
                    *most = journey.hops().max(*most);
                }
            }
        }
        assert_eq!(most, (arrived, cut_off, dead_target), "most hops at d = {bits}");
    }
}

#[test]
fn with_any_links_dead_a_frame_arrives_exactly_when_a_path_exists() {
    // Columns: d; the most hops to a target that is reached, to a target that is not reached.
    for (bits, arrived, given_up) in [(0, 0, 0), (1, 1, 0), (2, 4, 3), (3, 13, 12)] {
        let dimension = cube(bits);
        let mut most = (0, 0);
        for dead in 0_u32..1 << dimension.links() {
            let faults = Faults::of_links(dimension, |count| (dead >> count) & 1 == 1);
            for target in dimension.all() {
                let distances = faults.distances(target);
                for source in dimension.all() {
                    let journey = faults.send(source, target);
                    let path_exists = distances[usize::from(source.index())].is_some();
                    assert_eq!(journey.arrived, path_exists, "{source:?} to {target:?} with {dead:b} dead");
                    assert!(journey.hops() <= hop_bound(source, target, dimension, &journey.carried));
                    assert_eq!(walked(source, target, dimension, &journey.carried), journey.path);
                    let most = if journey.arrived { &mut most.0 } else { &mut most.1 };
                    *most = journey.hops().max(*most);
                }
            }
        }
        assert_eq!(most, (arrived, given_up), "most hops at d = {bits}");
        let (first, all_down) = (node(0, dimension), Faults::of_links(dimension, |_| true).set());
        assert_eq!(hop_bound(first, first, dimension, &all_down), arrived.max(given_up));
    }
}

#[test]
fn without_faults_an_answer_comes_back_the_way_of_its_request() {
    for bits in 0..=4 {
        let faults = Faults::none(cube(bits));
        for (source, target) in cube(bits).all().flat_map(|a| cube(bits).all().map(move |b| (a, b))) {
            let mut way = faults.send(source, target).path;
            way.reverse();
            assert_eq!(faults.send_back(target, source).path, way);
        }
    }
}

#[test]
fn an_answer_arrives_exactly_when_a_path_exists() {
    let three = cube(3);
    let links = usize::from(three.links());
    let mut hops_max = 0;
    for dead in 0..1_u32 << links {
        let faults = Faults::of_links(three, |place| dead >> place & 1 == 1);
        for target in three.all() {
            let distances = faults.distances(target);
            for source in three.all() {
                let journey = faults.send_back(source, target);
                assert_eq!(journey.arrived, distances[usize::from(source.index())].is_some(), "{faults:?}");
                hops_max = hops_max.max(if journey.arrived { journey.hops() } else { 0 });
            }
        }
    }
    assert_eq!(hops_max, 13);
}

/// While a cube grows from two dimensions to three, its nodes may differ about its dimension. All of them route a frame
/// in the dimension that its source has written into it, and the set of dead links in the frame has the same encoding
/// in both dimensions.
#[test]
fn a_frame_stamped_with_two_dimensions_stays_in_its_half_of_a_cube_of_three() {
    let (two, three) = (cube(2), cube(3));
    let mut hops_max = 0;
    for dead in 0_u32..1 << three.links() {
        let whole = Faults::of_links(three, |count| (dead >> count) & 1 == 1);
        let half = Faults { dimension: two, seen_down: whole.seen_down[..4].iter().map(|down| down & 0b11).collect() };
        for (source, target) in two.all().flat_map(|a| two.all().map(move |b| (a, b))) {
            for (is_request, journey) in [(true, half.send(source, target)), (false, half.send_back(source, target))] {
                let path_exists = half.distances(target)[usize::from(source.index())].is_some();
                assert_eq!(journey.arrived, path_exists, "{source:?} to {target:?} in {half:?}");
                let in_whole = whole.follow(source, target, |here, carried| {
                    let is_up = |bit| whole.sees_up(here, bit);
                    match is_request {
                        true => route(here, target, two, carried, is_up),
                        false => route_back(here, target, two, carried, is_up),
                    }
                });
                assert_eq!((&in_whole.path, &in_whole.carried), (&journey.path, &journey.carried));
                let words = journey.carried.words().to_vec();
                assert_eq!(LinkSet::from_words(words, three), Some(journey.carried.clone()));
                assert!(journey.carried.iter().all(|link| whole.set().contains(link)));
                hops_max = hops_max.max(journey.hops());
            }
        }
    }
    assert_eq!(hops_max, 4);
}

#[test]
fn the_worst_case_of_four_dimensions_is_within_its_limit() {
    // The worst set of dead links, found by an exhaustive search over the faults that a frame can meet (1.3 billion
    // cases, two minutes).
    let four = cube(4);
    let faults = Faults::of_links(four, |count| (0x43b8_ed87_u32 >> count) & 1 == 1);
    let journey = faults.send(node(0b1011, four), node(0, four));
    assert_eq!((journey.arrived, journey.hops()), (true, 37));
    assert!(4 * journey.hops() > hops_limit(four) && journey.hops() < hops_limit(four));
}

#[test]
fn in_the_largest_cube_a_frame_finds_the_last_link_of_its_target() {
    let ten = cube(10);
    let (first, last) = (node(0, ten), node(1023, ten));
    for last_link in 0..10 {
        let mut faults = Faults::none(ten);
        (0..10).filter(|bit| *bit != last_link).for_each(|bit| faults.kill(last.index(), bit));
        let journey = faults.send(first, last);
        assert!(journey.arrived, "over link {last_link}");
        assert_eq!(journey.path, walked(first, last, ten, &journey.carried));
        let bound = if journey.carried.is_empty() { 10 } else { 8192 };
        assert_eq!(hop_bound(first, last, ten, &journey.carried), bound);
    }
}

#[test]
fn a_replay_that_cannot_arrive_ends() {
    let three = cube(3);
    let all_down = Faults::of_links(three, |_| true).set();
    assert_eq!(walked(node(0, three), node(7, three), three, &all_down), [node(0, three)]);
}

#[test]
fn a_frame_for_many_is_split_by_the_highest_differing_bit() {
    let three = cube(3);
    let all: NodeSet = three.all().collect();
    let set = |ids: &[u16]| ids.iter().map(|id| node(*id, three)).collect::<NodeSet>();
    let cases = [
        (0b010, NodeSet::new(), false, vec![]),
        (0b010, set(&[0b010]), true, vec![]),
        (0b000, all.clone(), true, vec![(2, set(&[4, 5, 6, 7])), (1, set(&[2, 3])), (0, set(&[1]))]),
        (0b110, all, true, vec![(2, set(&[0, 1, 2, 3])), (1, set(&[4, 5])), (0, set(&[7]))]),
        (0b011, set(&[0b000, 0b111, 0b100]), false, vec![(2, set(&[0b111, 0b100])), (1, set(&[0b000]))]),
    ];
    for (here, targets, is_target, onward) in cases {
        let found = split(node(here, three), &targets, three);
        assert_eq!(found, Split { here: is_target, onward }, "{here:03b} to {targets:?}");
    }
}

/// Generates a dimension up to 6, a random number from 0 to 99 for each node or link, and a percentage: a node or link
/// is dead when its number is below the percentage.
fn dimension_and_dice() -> impl Strategy<Value = (Dimension, Vec<u8>, u8)> {
    ((0_u8..=6).prop_map(cube), prop::collection::vec(0_u8..100, 64 * 6), 0_u8..70)
}

/// Returns a pair of nodes of the cube.
fn pair(raw: (u16, u16), dimension: Dimension) -> (NodeId, NodeId) {
    (node(raw.0 % dimension.nodes(), dimension), node(raw.1 % dimension.nodes(), dimension))
}

proptest! {
    #[test]
    fn in_a_cube_with_random_faults_a_frame_arrives_exactly_when_a_path_exists(
        (dimension, dice, percent) in dimension_and_dice(), raw in (0_u16..64, 0_u16..64)
    ) {
        let (source, target) = pair(raw, dimension);
        let faults = Faults::of_links(dimension, |count| dice[count] < percent);
        let journey = faults.send(source, target);
        let path_exists = faults.distances(target)[usize::from(source.index())].is_some();
        prop_assert_eq!(journey.arrived, path_exists);
        prop_assert!(journey.hops() <= hop_bound(source, target, dimension, &journey.carried));
        prop_assert!(journey.carried.iter().all(|link| faults.set().contains(link)));
        prop_assert_eq!(walked(source, target, dimension, &journey.carried), journey.path);
    }

    #[test]
    fn a_step_leads_along_a_shortest_path_in_the_fixed_order(
        (dimension, dice, percent) in dimension_and_dice(), raw in (0_u16..64, 0_u16..64)
    ) {
        let (here, target) = pair(raw, dimension);
        let faults = Faults::of_links(dimension, |count| dice[count] < percent);
        let distances = faults.distances(target);
        let differs = |bit: u8| (here.index() ^ target.index()) >> bit & 1 == 1;
        let mut order: Vec<u8> = (0..dimension.bits()).collect();
        order.sort_by_key(|bit| (differs(*bit), *bit));
        let expected = match distances[usize::from(here.index())] {
            Some(0) => NextHop::Here,
            Some(distance) => {
                let closer = |bit: &u8| {
                    let next = usize::from(here.index() ^ (1 << *bit));
                    faults.sees_up(here, *bit) && distances[next] == Some(distance - 1)
                };
                NextHop::Across(order.into_iter().rfind(closer).unwrap())
            }
            None => NextHop::Unreachable,
        };
        prop_assert_eq!(next_hop(here, target, dimension, &faults.set()), expected);
    }

    /// The two ends of a link may disagree about its state for up to a second. A frame may then be dropped although a
    /// path exists, because it arrived over a link that it cannot leave by. But it never circulates forever.
    #[test]
    fn when_the_ends_of_links_disagree_a_frame_still_ends(
        (dimension, dice, percent) in dimension_and_dice(), raw in (0_u16..64, 0_u16..64)
    ) {
        let (source, target) = pair(raw, dimension);
        let mut faults = Faults::none(dimension);
        for (seen_down, dice) in faults.seen_down.iter_mut().zip(dice.chunks(6)) {
            let is_down = |bit: &u8| dice[usize::from(*bit)] < percent;
            *seen_down = (0..dimension.bits()).filter(is_down).map(|bit| 1 << bit).sum();
        }
        let journey = faults.send(source, target);
        prop_assert!(journey.arrived || !journey.carried.is_empty());
    }

    #[test]
    fn a_frame_for_many_reaches_each_once_by_a_shortest_path_and_crosses_a_link_once(
        (dimension, dice, percent) in dimension_and_dice(), raw in (0_u16..64, 0_u16..64)
    ) {
        let (source, _) = pair(raw, dimension);
        let targets: NodeSet =
            dimension.all().filter(|node| dice[usize::from(node.index())] < percent).collect();
        let (mut missing, mut crossed) = (targets.clone(), LinkSet::new());
        let mut frames = vec![(source, targets, 0)];
        while let Some((here, targets, hops)) = frames.pop() {
            let found = split(here, &targets, dimension);
            if found.here {
                prop_assert!(missing.remove(here), "{:?} is reached twice, or is no target", here);
                prop_assert_eq!(hops, source.distance(here));
            }
            for (bit, branch) in found.onward {
                let link = Link::new(here, bit);
                prop_assert!(!branch.is_empty() && !crossed.contains(link));
                crossed.insert(link);
                frames.push((here.across(bit), branch, hops + 1));
            }
        }
        prop_assert!(missing.is_empty(), "{:?} are never reached", missing);
    }
}
