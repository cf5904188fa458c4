//! All runs of a plan, in shuffled order, and what they add up to.

use std::collections::BTreeMap;
use std::time::Duration;

use super::cpu::Ticks;
use super::link::{Seat, mixed, open};
use super::plan::Plan;
use super::report::{Band, Generator, Point, Run, Summary, Test};
use super::stock::Stock;
use super::tally::{Tally, Window};
use super::target::Target;
use super::worker::{Pace, Work, work};
use crate::errors::{Failure, note};
use crate::session::Session;
use crate::{clock, interrupt, text};

/// From when connections are open until the first request: all threads are at work by then.
const LEAD: Duration = Duration::from_millis(20);

/// A share of the processor that leaves nothing over.
const FULL: f64 = 0.9;

/// What has been measured so far.
#[derive(Debug, Default)]
pub(super) struct Campaign {
    points: BTreeMap<(usize, u32), Gathered>,
    pub(super) generator: Generator,
    order: u32,
}

/// The runs of a point.
#[derive(Debug)]
struct Gathered {
    tally: Tally,
    connections: u32,
    placement: Vec<u32>,
    runs: Vec<Run>,
}

impl Campaign {
    /// Does all runs, or those up to Ctrl-C. What was done is kept when one fails.
    ///
    /// # Errors
    /// Topics cannot be made, or nothing is answered any more.
    pub(super) fn run(
        &mut self,
        plan: &Plan,
        target: &Target,
        stock: &mut Stock,
        session: &mut Session,
    ) -> Result<(), Failure> {
        let blocks = shuffled(plan);
        let all = blocks.len() * plan.tests.len();
        for (topics, run) in blocks {
            for place in permutation(plan.tests.len(), mixed(plan.seed, u64::from(self.order))) {
                if interrupt::is_pressed() {
                    return Ok(());
                }
                let test = plan.tests[place];
                let client = session.client()?;
                stock.resize(if test.needs_topics() { topics as usize } else { 0 }, client)?;
                if test == Test::Fetch {
                    stock.fill(plan.size as usize, client)?;
                }
                let finished = self.one(plan, target, stock, (place, topics, run));
                if !session.settings.quiet {
                    self.progress(all, plan, &finished, (test, topics));
                }
                // A person who waits for answers must not time out.
                if finished.requests == 0 && finished.errors > 0 && !interrupt::is_pressed() {
                    return Err(Failure::Found(
                        "no request succeeded in the last run; the rest was not tried".to_owned(),
                    ));
                }
            }
        }
        Ok(())
    }

    fn progress(&self, all: usize, plan: &Plan, run: &Run, (test, topics): (Test, u32)) {
        let each = plan.warmup + plan.measured;
        let left = u32::try_from(all).unwrap_or(u32::MAX).saturating_sub(self.order);
        let left = Duration::from_secs((each * left).as_secs());
        note(&format!(
            "{}/{all}  {} {}, run {}/{}: {:.0} req/s, p99 {:.0} µs, {}, left {}",
            self.order,
            test.name(),
            text::counted(u64::from(topics), "topic"),
            run.run,
            plan.runs,
            run.rate,
            run.latency.p99_us,
            text::counted(run.errors, "error"),
            humantime::format_duration(left),
        ));
    }

    /// One run of a test.
    fn one(&mut self, plan: &Plan, target: &Target, stock: &mut Stock, (place, topics, run): (usize, u32, u32)) -> Run {
        let test = plan.tests[place];
        let placement = if test.needs_topics() { stock.placement(target.dimension) } else { Vec::new() };
        let seats = seats(plan, target, stock, test, topics, self.order);
        let (works, window, machine_busy) = measure(plan, &seats);
        drop(seats);
        let mut tally = Tally::new();
        works.iter().for_each(|work| tally.add(&work.tally));
        self.note_health(&works, machine_busy, &tally, plan);
        let connections = u32::try_from(works.len()).unwrap_or(u32::MAX);
        // After Ctrl-C it was shorter than planned.
        let end = works.iter().map(|work| work.end).max().unwrap_or(window.end);
        let seconds = end.saturating_duration_since(window.start).as_secs_f64();
        let rate = if seconds > 0.0 { tally.answered() as f64 / seconds } else { 0.0 };
        let run = Run {
            run,
            order: self.order,
            seconds,
            requests: tally.requests(),
            errors: tally.errors(),
            late: if plan.rate.is_some() { tally.late() } else { 0 },
            unsent: tally.unsent,
            rate,
            mb_s: if test.has_payload() { rate * f64::from(plan.size) / 1e6 } else { 0.0 },
            latency: tally.latency(),
            service: tally.service(),
            timeline: tally.timeline(&window),
        };
        self.order += 1;
        for work in works {
            stock.inherit(work.left);
        }
        let gathered = self.points.entry((place, topics)).or_insert_with(|| Gathered {
            tally: Tally::new(),
            connections,
            placement,
            runs: Vec::new(),
        });
        gathered.tally.add(&tally);
        gathered.runs.push(run.clone());
        run
    }

    fn note_health(&mut self, works: &[Work], machine_busy: Option<f64>, tally: &Tally, plan: &Plan) {
        let generator = &mut self.generator;
        let more = |so_far: Option<f64>, now: Option<f64>| so_far.into_iter().chain(now).reduce(f64::max);
        let busiest = works.iter().filter_map(|work| work.busy).reduce(f64::max);
        let cores: Option<f64> = works.iter().map(|work| work.busy).sum();
        let available = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        generator.busiest_thread = more(generator.busiest_thread, busiest);
        generator.cores_used = more(generator.cores_used, cores);
        generator.machine_busy = more(generator.machine_busy, machine_busy);
        if plan.rate.is_some() {
            generator.lag_p99_us = more(generator.lag_p99_us, Some(tally.lag_p99_us()));
        }
        generator.was_limit |= busiest.is_some_and(|share| share > FULL);
        generator.was_limit |= cores.is_some_and(|cores| cores > FULL * available as f64);
    }

    /// By operation as they were named, then by topics.
    pub(super) fn points(&self, plan: &Plan, dimension: u8) -> Vec<Point> {
        self.points
            .iter()
            .map(|((place, topics), gathered)| gathered.point(plan.tests[*place], *topics, dimension))
            .collect()
    }
}

impl Gathered {
    fn point(&self, test: Test, topics: u32, dimension: u8) -> Point {
        let band = |figure: fn(&Run) -> f64| Band::of(self.runs.iter().map(figure));
        // A run in which nothing succeeded has no latency; 0 would be a good one.
        let latency = |figure: fn(&Summary) -> f64| {
            Band::of(self.runs.iter().filter(|run| run.requests > 0).map(|run| figure(&run.latency)))
        };
        let (merged, service) = self.tally.curves();
        Point {
            test,
            topics,
            connections: self.connections,
            target_rate: None,
            requests: self.tally.requests(),
            errors: self.tally.errors(),
            error_kinds: self.tally.error_kinds(),
            late: self.runs.iter().map(|run| run.late).sum(),
            unsent: self.tally.unsent,
            rate: band(|run| run.rate),
            mb_s: band(|run| run.mb_s),
            avg_us: latency(|summary| summary.avg_us),
            p50_us: latency(|summary| summary.p50_us),
            p99_us: latency(|summary| summary.p99_us),
            server_cpu_us: None,
            latency: merged,
            service,
            hops: self.tally.hops(dimension),
            placement: self.placement.clone(),
            delivery: self.tally.delivery,
            runs: self.runs.clone(),
        }
    }
}

/// Opens the connections, lets the threads work, and waits for them.
fn measure(plan: &Plan, seats: &[Seat<'_>]) -> (Vec<Work>, Window, Option<f64>) {
    let links: Vec<_> = seats.iter().map(open).collect();
    let begin = clock::now() + LEAD;
    let start = begin + plan.warmup;
    let window = Window { begin, start, end: start + plan.measured };
    let before = Ticks::now();
    let works = std::thread::scope(|scope| {
        let mut threads = Vec::new();
        for (seat, link) in seats.iter().zip(links) {
            let pace = match plan.rate {
                None => Pace::Closed(plan.pipeline as usize),
                Some(rate) => {
                    let between = Duration::from_secs_f64(seats.len() as f64 / rate);
                    Pace::Open(between, between.mul_f64(f64::from(seat.index) / seats.len() as f64))
                }
            };
            threads.push(scope.spawn(move || work(seat, link, pace, window)));
        }
        threads.into_iter().map(|thread| thread.join().expect("no thread panics")).collect()
    });
    let busy = before.zip(Ticks::now()).and_then(|(before, after)| after.share_since(before));
    (works, window, busy)
}

/// Who sends what where. With fewer topics than connections, where topics are not shared, some have nothing to do.
fn seats<'p>(plan: &Plan, target: &'p Target, stock: &'p Stock, test: Test, topics: u32, order: u32) -> Vec<Seat<'p>> {
    let is_shared = !matches!(test, Test::Create | Test::Subscribe);
    let count = if is_shared { plan.connections } else { plan.connections.min(topics) };
    let seat = |index: u32| {
        let (node, address) = target.entry(plan.entry, index, plan.seed);
        let mine = |at: usize| is_shared || at % count as usize == index as usize;
        Seat {
            test,
            index,
            node,
            address,
            opposite: target.opposite(node).unwrap_or(address),
            dimension: target.dimension,
            topics: stock.names().enumerate().filter(|(at, _)| mine(*at)).map(|(_, name)| name).collect(),
            share: (topics / count) as usize,
            prefix: format!("{}{order}", stock.prefix()),
            size: plan.size as usize,
            seed: mixed(plan.seed, u64::from(order) << 32 | u64::from(index)),
            timeout: plan.timeout,
        }
    };
    (0..count).map(seat).collect()
}

/// All runs of all numbers of topics.
fn shuffled(plan: &Plan) -> Vec<(u32, u32)> {
    let blocks: Vec<_> = plan.topics.iter().flat_map(|topics| (1..=plan.runs).map(|run| (*topics, run))).collect();
    permutation(blocks.len(), plan.seed).into_iter().map(|at| blocks[at]).collect()
}

/// The numbers below `count` in an order that only the seed says.
fn permutation(count: usize, seed: u64) -> Vec<usize> {
    let mut order: Vec<usize> = (0..count).collect();
    order.sort_by_key(|number| mixed(seed, *number as u64));
    order
}
