//! Jumps of the wall clock: the age of records, when they expire, and what a search by time finds.

use super::harness::{Harness, SLOT, fetch, key};
use super::sent::only;
use crate::cube;
use crate::entry::TopicKey;
use crate::limits::{CLOCK_AGREES_US, CLOCK_ASK_US, CLOCK_JUMP_LASTS_US, CLOCK_JUMP_US, CLOCK_TRUST_US, TICK_US};
use crate::node::{Event, Node};
use crate::types::{ConnId, Offset, Retention, TopicId, TopicName};
use crate::wire::Opcode;
use crate::wire::request::{Fetch, Request, Start};
use crate::wire::response::Durability;

const SECOND_US: u64 = 1_000_000;
const YEAR_S: i64 = 31_556_952;

/// The retention by age, in seconds.
const AGE_S: u64 = 100;

/// The name of the only topic, whose home is node 0 in a cube of one node and of two.
const NAME: &str = "topic/4";

/// A node with one topic to which a record is published every five seconds, and the true times.
struct Scene {
    node: Harness,
    client: ConnId,
    topic: TopicId,
    /// Number of seconds that have passed.
    now_s: u64,
    /// The time at which each record was published.
    published_s: Vec<u64>,
}

impl Scene {
    fn new(mut node: Harness) -> Self {
        let client = node.client();
        let topic = node.create(client, NAME, Retention { age_ms: AGE_S * 1000, ..Retention::default() });
        Self { node, client, topic, now_s: 0, published_s: Vec::new() }
    }

    fn jump(&mut self, seconds: i64) {
        let micros = seconds * i64::try_from(SECOND_US).unwrap();
        self.node.now.wall_us = self.node.now.wall_us.saturating_add_signed(micros);
    }

    fn publish(&mut self) {
        self.node.publish(self.client, NAME, 1, 10);
        self.published_s.push(self.now_s);
    }

    /// Lets seconds pass, and checks that no record expires early.
    fn pass(&mut self, seconds: u64, publishes: bool) {
        for _ in 0..seconds {
            if publishes && self.now_s.is_multiple_of(5) {
                self.publish();
            }
            self.node.pass(SECOND_US);
            self.now_s += 1;
            if let Some(gone) = self.first().checked_sub(1) {
                let age_s = self.now_s - self.published_s[gone];
                assert!(age_s >= AGE_S, "record {gone} went at second {} after {age_s} s", self.now_s);
            }
        }
    }

    fn first(&self) -> usize {
        usize::try_from(self.node.node.kept(key(self.topic)).unwrap().0.0).unwrap()
    }

    /// Returns the age of the oldest retained record in seconds, or 0 if there is none.
    fn oldest_s(&self) -> u64 {
        self.published_s.get(self.first()).map_or(0, |published_s| self.now_s - published_s)
    }

    /// Returns the first record that a search by a true time finds, in seconds from the beginning.
    fn find(&mut self, since_s: u64) -> Offset {
        let ago_us = (self.now_s - since_s) * SECOND_US;
        let start = Start::Time(self.node.now.wall_us - ago_us);
        let sent = self.node.ask(self.client, 7, &Request::Fetch(Fetch { start, ..fetch(NAME) }));
        only(&sent, Opcode::Fetch)[0].fetched().from
    }

    /// Returns the append times of all records in memory, in seconds from the first.
    fn times_us(&mut self) -> Vec<u64> {
        let sent = self.node.ask(self.client, 8, &Request::Fetch(fetch(NAME)));
        let runs = only(&sent, Opcode::Fetch)[0].fetched().runs;
        runs.iter().flat_map(|run| std::iter::repeat_n(run.append_us, run.count as usize)).collect()
    }

    /// Restarts the process after some time, with a wall clock that is wrong by this many seconds.
    fn restart(self, away_s: u64, off_s: i64, is_linked: bool) -> Self {
        let Self { node, topic, now_s, published_s, .. } = self;
        let mut again = if is_linked { Harness::in_cube(1) } else { Harness::alone() };
        let away_us = away_s * SECOND_US;
        let off_us = off_s * i64::try_from(SECOND_US).unwrap();
        again.now.wall_us = node.now.wall_us.saturating_add(away_us).saturating_add_signed(off_us);
        again.node = Node::new(again.node.settings.clone(), again.now);
        again.node.restore(SLOT, &node.node.image(SLOT).topics, 2).unwrap();
        again.node.finish_restore();
        if is_linked {
            again.link_up();
        }
        let client = again.client();
        Self { node: again, client, topic, now_s: now_s + away_s, published_s }
    }

    /// Lets another node lead the group, which has run for some time, and whose clock differs by this many seconds.
    fn succeed(self, ran_s: u64, off_s: i64, is_linked: bool) -> Self {
        let Self { node, topic, now_s, published_s, .. } = self;
        let mut next = if is_linked { Harness::in_cube(1) } else { Harness::alone() };
        let off_us = off_s * i64::try_from(SECOND_US).unwrap();
        next.now.wall_us = node.now.wall_us.saturating_add_signed(off_us) - ran_s * SECOND_US;
        next.node = Node::new(next.node.settings.clone(), next.now);
        next.handle(Event::TurnOver); // a new node leads its group with the first body
        next.set_leads(false);
        next.pass(ran_s * SECOND_US);
        let mut out = Vec::new();
        let (parts, step) = next.node.split(next.now, &mut out);
        let group = parts.groups.existing_mut(SLOT);
        group.restore(&node.node.image(SLOT).topics, 2).unwrap();
        group.note_usage(step.budget);
        next.set_leads(true);
        if is_linked {
            next.link_up();
        }
        let client = next.client();
        Self { node: next, client, topic, now_s, published_s }
    }

    /// Lets a second pass until the neighbour is asked for its clock, and answers.
    fn answer_clock(&mut self, off_us: i64) {
        let sent = self.node.pass(CLOCK_ASK_US);
        self.now_s += CLOCK_ASK_US / SECOND_US;
        let asked = only(&sent, Opcode::Ping);
        let [asked, ..] = &asked[..] else { panic!("nobody was asked: {sent:?}") };
        let wall_us = self.node.now.wall_us.saturating_add_signed(off_us);
        self.node.answer_ping_at(asked, Some(wall_us));
    }
}

#[test]
fn records_go_at_their_age_however_the_clock_of_a_running_node_jumps() {
    // The second of the jump, and its size in seconds.
    let cases: [(&str, &[(u64, i64)]); 8] = [
        ("an even clock", &[]),
        ("a year ahead, for ever", &[(50, YEAR_S)]),
        ("a year ahead and right again", &[(50, YEAR_S), (90, -YEAR_S)]),
        ("a year behind and right again", &[(50, -YEAR_S), (90, YEAR_S)]),
        ("at 1970 until a time server answers", &[(0, -1_700_000_000), (60, 1_700_000_000)]),
        ("ahead and behind", &[(30, YEAR_S), (60, -2 * YEAR_S), (61, YEAR_S), (120, 40), (150, -40)]),
        ("every three seconds", &[(3, 10), (6, -10), (9, 10), (12, -10), (15, 10), (18, -10), (21, 10), (24, -10)]),
        ("too little to be a jump", &[(50, 4), (55, -4), (60, -4), (65, 4)]),
    ];
    for (what, jumps) in cases {
        let mut scene = Scene::new(Harness::alone());
        while scene.now_s < 400 {
            let now_s = scene.now_s;
            jumps.iter().filter(|(at_s, _)| *at_s == now_s).for_each(|(_, seconds)| scene.jump(*seconds));
            scene.pass(1, scene.now_s < 200);
            assert!(scene.oldest_s() <= AGE_S + 3, "{what}: kept for {} s", scene.oldest_s());
            if scene.now_s.is_multiple_of(7) && scene.now_s < 200 {
                let (ago_s, next) = (scene.now_s.saturating_sub(30), scene.published_s.len() as u64);
                let expected = scene.published_s.iter().position(|at_s| *at_s >= ago_s).unwrap() as u64;
                let is_settled = jumps.iter().all(|(at_s, _)| scene.now_s < *at_s || scene.now_s > at_s + 2);
                let found = scene.find(ago_s).0;
                // A jump is detected after a second, and a small difference is corrected at a hundredth of the time.
                let least = expected.saturating_sub(1).max(scene.first() as u64);
                assert!(
                    !is_settled || (least..=expected + 1).contains(&found),
                    "{what}: {found} of {next}, not {expected}"
                );
            }
        }
        assert_eq!(scene.first(), scene.published_s.len(), "{what}: all are gone in the end");
        let largest = jumps.iter().filter(|(_, seconds)| seconds.unsigned_abs() >= CLOCK_JUMP_US / SECOND_US);
        assert!(scene.node.node.stats.clock_jumps <= largest.count() as u64, "{what}");
    }
}

#[test]
fn append_times_follow_the_clock_when_it_comes_back_and_decrease_nowhere_else() {
    let mut scene = Scene::new(Harness::alone());
    let began_us = scene.node.now.wall_us;
    scene.pass(10, true);
    scene.jump(YEAR_S);
    scene.pass(10, true);
    scene.jump(-YEAR_S);
    scene.pass(10, true);
    let year_us = YEAR_S.cast_unsigned() * SECOND_US;
    let seconds: Vec<(u64, u64)> = scene
        .times_us()
        .iter()
        .map(|time| ((time - began_us) / year_us, (time - began_us) % year_us / SECOND_US))
        .collect();
    // Records published within a second after a jump get the time that was expected without it.
    assert_eq!(seconds, [(0, 0), (0, 5), (0, 10), (1, 15), (1, 20), (0, 25)]);
}

#[test]
fn a_clock_that_is_wrong_for_less_than_a_second_is_not_followed() {
    let mut scene = Scene::new(Harness::alone());
    scene.pass(1, true);
    let image = scene.node.node.image(SLOT).topics;
    for _ in 0..20 {
        scene.jump(YEAR_S);
        scene.node.pass(CLOCK_JUMP_LASTS_US - TICK_US);
        scene.jump(-YEAR_S);
        scene.node.pass(TICK_US);
    }
    assert_eq!((scene.node.node.stats.clock_jumps, scene.node.node.image(SLOT).topics), (0, image));
}

#[test]
fn a_small_difference_is_made_up_at_a_hundredth_of_the_time() {
    for seconds in [4, -4] {
        let mut scene = Scene::new(Harness::alone());
        scene.jump(seconds);
        let ahead_us = |scene: &Scene| scene.node.node.wall.now_us(scene.node.now).abs_diff(scene.node.now.wall_us);
        assert_eq!(ahead_us(&scene), 4 * SECOND_US);
        scene.node.pass(200 * SECOND_US);
        assert_eq!(ahead_us(&scene), 2 * SECOND_US);
        scene.node.pass(200 * SECOND_US);
        assert_eq!(ahead_us(&scene), 0);
    }
}

/// A start with a clock that may be wrong. The last earlier record is from second 15, and the start is in second 21.
struct Start21 {
    what: &'static str,
    /// By how many seconds the clock is wrong.
    off_s: i64,
    /// How many seconds after the start it jumps, and by how many seconds.
    jump: Option<(u64, i64)>,
    /// How many seconds after the start a neighbour reports its clock, and its difference; `None` without a neighbour.
    neighbour: Option<(u64, i64)>,
    /// How many seconds after the start the older records must have expired.
    gone_s: u64,
}

fn starts() -> [Start21; 9] {
    let agrees_s = i64::try_from(CLOCK_AGREES_US / SECOND_US).unwrap();
    let trust_s = CLOCK_TRUST_US / SECOND_US;
    let start = |what, off_s, jump, neighbour, gone_s| Start21 { what, off_s, jump, neighbour, gone_s };
    let back = Some((20, -YEAR_S));
    [
        start("right, and so says a neighbour", 0, None, Some((3, 0)), 94),
        start("a neighbour's differs by a minute", 0, None, Some((3, agrees_s)), 94),
        start("a neighbour's differs by more", 0, None, Some((3, agrees_s + 1)), trust_s),
        start("no neighbour", 0, None, None, trust_s),
        start("ahead, and right before a neighbour says so", YEAR_S, back, Some((30, 0)), 94),
        start("ahead, and right without a neighbour", YEAR_S, back, None, trust_s + 20),
        start("at 1970, and right before a neighbour says so", -YEAR_S, Some((20, YEAR_S)), Some((30, 0)), 94),
        // It is unknown which of two clocks the records are from, so they count as the younger.
        start("a little behind, as a clock that stood still", -10, Some((20, 10)), Some((30, 0)), 104),
        start("behind for ever", -YEAR_S, None, Some((3, 0)), 100),
    ]
}

#[test]
fn after_a_start_nothing_goes_for_its_age_before_the_clock_is_known_to_be_right() {
    for Start21 { what, off_s, jump, neighbour, gone_s } in starts() {
        let mut scene = Scene::new(Harness::alone());
        scene.pass(16, true);
        let before = scene.published_s.len();
        // The last record is from second 15, and there is no process for 5 s.
        scene = scene.restart(5, off_s, neighbour.is_some());
        let start_s = scene.now_s;
        for second in 0.. {
            jump.iter().filter(|(at_s, _)| *at_s == second).for_each(|(_, seconds)| scene.jump(*seconds));
            match neighbour {
                Some((at_s, off_s)) if at_s == second => {
                    scene.answer_clock(off_s * i64::try_from(SECOND_US).unwrap());
                }
                Some(_) | None => scene.pass(1, second < 50),
            }
            if scene.first() >= before {
                break;
            }
            assert!(second < gone_s + 10, "{what}: the records stay");
        }
        let took_s = scene.now_s - start_s;
        assert!((gone_s..=gone_s + 3).contains(&took_s), "{what}: gone after {took_s} s");
        // The others expire exactly at their age, which the monotonic clock measures.
        scene.pass(AGE_S + 60, false);
        assert_eq!(scene.first(), scene.published_s.len(), "{what}");
    }
}

#[test]
fn after_a_start_what_is_published_goes_at_its_age_when_nothing_from_before_is_left() {
    for (what, off_s, idle_us) in
        [("right", 0, SECOND_US), ("right", 0, 0), ("ahead", YEAR_S, 0), ("behind", -YEAR_S, 0)]
    {
        let mut scene = Scene::new(Harness::alone());
        scene.pass(20, true);
        scene.pass(AGE_S + 20, false);
        assert_eq!(scene.first(), scene.published_s.len());
        let mut scene = scene.restart(5, off_s, false);
        scene.node.pass(idle_us);
        scene.pass(20, true);
        scene.pass(AGE_S + 5, false);
        assert_eq!(scene.first(), scene.published_s.len(), "{what}, after {idle_us} us");
    }
}

#[test]
fn a_clock_that_was_wrong_when_a_process_ended_removes_nothing_too_early_in_the_next() {
    // What the clock does in the first process, and by how much it is wrong in the second; the neighbour agrees with
    // it.
    let cases: [(&str, i64, i64); 4] = [
        ("behind, and right at the next start", -YEAR_S, YEAR_S),
        ("ahead, and right at the next start", YEAR_S, -YEAR_S),
        ("behind, and still", -YEAR_S, 0),
        ("ahead, and still", YEAR_S, 0),
    ];
    for (what, jump_s, off_s) in cases {
        let mut scene = Scene::new(Harness::alone());
        scene.pass(20, true);
        scene.jump(jump_s);
        scene.pass(20, true);
        let mut scene = scene.restart(5, off_s, true);
        scene.answer_clock(0);
        scene.pass(AGE_S + 80, false);
        assert_eq!(scene.first(), scene.published_s.len(), "{what}: all are gone");
    }
}

#[test]
fn a_topic_that_a_clock_poisoned_before_there_were_eras_recovers() {
    let mut scene = Scene::new(Harness::alone());
    // As an older program left it: with append times a year ahead, and without a record of that.
    scene.jump(YEAR_S);
    scene.node.node = Node::new(scene.node.node.settings.clone(), scene.node.now);
    let mut scene = Scene::new(scene.node);
    scene.pass(20, true);
    let mut scene = scene.restart(5, -YEAR_S, true);
    scene.answer_clock(0);
    scene.pass(5, true);
    assert_eq!(scene.find(scene.now_s - 4).0, 4, "what was published since the start");
    scene.pass(AGE_S + 10, false);
    assert_eq!(scene.first(), scene.published_s.len());
}

#[test]
fn a_node_that_begins_to_lead_compares_the_clock_as_at_a_start() {
    let trust_s = CLOCK_TRUST_US / SECOND_US;
    let (long_s, short_s) = (trust_s, 30);
    // By how many seconds the clock of the leader before has jumped, how long this node has run when it begins to lead,
    // by how many seconds its clock differs then, by how many it jumps 20 seconds later, whether a neighbour then
    // agrees, and when the earlier records have gone, in seconds since it began to lead. The last of them is a second
    // old then.
    let cases = [
        ("after a long run", 0, long_s, 0, 0, false, AGE_S - 1),
        ("after a short run", 0, short_s, 0, 0, false, trust_s - short_s),
        ("after a short run, with a neighbour", 0, short_s, 0, 0, true, AGE_S - 1),
        ("after a long run, and behind", 0, long_s, -YEAR_S, 0, false, AGE_S),
        ("after a short run, and behind", 0, short_s, -YEAR_S, 0, false, trust_s - short_s),
        ("ahead, and no longer", 0, short_s, YEAR_S, -YEAR_S, true, AGE_S - 1),
        ("ahead of a clock that has jumped, and no longer", YEAR_S, short_s, YEAR_S, -YEAR_S, true, AGE_S - 1),
    ];
    for (what, jumped_s, ran_s, off_s, jump_s, agrees, gone_s) in cases {
        let mut scene = Scene::new(Harness::alone());
        scene.pass(6, true);
        scene.jump(jumped_s);
        scene.pass(10, true);
        let before = scene.published_s.len();
        let mut scene = scene.succeed(ran_s, off_s, agrees);
        let begins_s = scene.now_s;
        scene.pass(20, true);
        scene.jump(jump_s);
        scene.pass(5, false);
        if agrees {
            scene.answer_clock(0);
        }
        while scene.first() < before {
            assert!(scene.now_s < begins_s + gone_s + 10, "{what}: the records stay");
            scene.pass(1, false);
        }
        let took_s = scene.now_s - begins_s;
        assert!((gone_s..=gone_s + 3).contains(&took_s), "{what}: gone after {took_s} s");
        scene.pass(AGE_S + 20, false);
        assert_eq!(scene.first(), scene.published_s.len(), "{what}: what it has appended itself goes at its age");
    }
}

#[test]
fn a_jump_begins_an_era_in_each_group_that_the_node_leads_and_in_no_other() {
    let mut node = Harness::with_four_groups(Durability::Memory, u64::MAX);
    let slots = node.node.slots();
    let era_of = |node: &Harness, slot| node.node.parts.groups.of(slot).unwrap().topics().eras().newest().number;
    let mut expected = vec![0; slots.len()];
    // Before the second jump the node ceases to lead one of the groups, and begins again after it.
    for leads_all in [true, false] {
        node.set_leads_of(slots[2], leads_all);
        node.now.wall_us += YEAR_S.cast_unsigned() * SECOND_US;
        node.pass(2 * CLOCK_JUMP_LASTS_US);
        for (slot, era) in slots.iter().zip(&mut expected) {
            *era += u32::from(leads_all || *slot != slots[2]);
            assert_eq!(era_of(&node, *slot), *era, "{slot:?}");
        }
    }
    // The eras of the groups differ from here on: one of them has recorded one jump less.
    node.set_leads_of(slots[2], true);
    let client = node.client();
    let mut topics = Vec::new();
    for slot in &slots {
        let is_of_slot = |name: &String| cube::slot(TopicName::new(name).unwrap(), node.node.settings.slots) == *slot;
        let name = (0..).map(|number| format!("t{number}")).find(is_of_slot).unwrap();
        let id = node.create(client, &name, Retention { age_ms: AGE_S * 1000, ..Retention::default() });
        node.publish(client, &name, 1, 10);
        topics.push(TopicKey { slot: *slot, id });
    }
    let gone = |node: &Harness| topics.iter().filter(|topic| node.node.kept(**topic).unwrap().0 == Offset(1)).count();
    node.pass((AGE_S - 1) * SECOND_US);
    assert_eq!(gone(&node), 0);
    node.pass(3 * SECOND_US);
    assert_eq!(gone(&node), 4);
}
