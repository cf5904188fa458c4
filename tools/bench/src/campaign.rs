//! All runs of a plan, in shuffled order, and their combined result.

use std::collections::BTreeMap;

use dht_console::errors::Failure;
use dht_console::session::Session;
use dht_console::{clock, interrupt, text};
use dht_report::{Band, Cost, Generator, Point, Run, Summary, Test};

use super::link::mixed;
use super::measure::{Costs, Measured, measure, seats};
use super::plan::{Plan, needs_topics};
use super::progress::Progress;
use super::ramp::is_reached;
use super::servers::Servers;
use super::stock::Stock;
use super::tally::Tally;
use super::target::Target;
use super::worker::Work;

/// The share of a processor from which on a thread counts as having no spare capacity.
const FULL: f64 = 0.9;

/// The results so far.
#[derive(Debug, Default)]
pub(super) struct Campaign {
    points: BTreeMap<Place, Gathered>,
    pub(super) generator: Generator,
    /// Notes for the reader about how the measurement went.
    pub(super) notes: Vec<String>,
    order: u32,
}

/// A point, as indexes into the plan: its operation, its number of topics, its rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    test: usize,
    topics: u32,
    rate: usize,
}

/// The inputs of all runs.
#[derive(Debug)]
pub(super) struct Field<'p> {
    pub(super) plan: &'p Plan,
    pub(super) target: &'p Target,
    /// The processes of the nodes, if they run on this machine and can be observed.
    pub(super) servers: Option<Servers>,
}

/// The runs of a point.
#[derive(Debug)]
struct Gathered {
    tally: Tally,
    connections: u32,
    placement: Vec<u32>,
    runs: Vec<Run>,
    /// The CPU use of each run, where it is known.
    costs: Vec<Costs>,
}

impl Campaign {
    /// Executes all runs, or those before Ctrl-C. If one fails, the results of the others are kept.
    ///
    /// # Errors
    /// Returns an error if topics cannot be created, or if no node answers any more.
    pub(super) fn run(&mut self, field: &Field<'_>, stock: &mut Stock, session: &mut Session) -> Result<(), Failure> {
        let plan = field.plan;
        let blocks = shuffled(plan);
        let all = blocks.len() * plan.tests.len() * plan.rates.len();
        let is_told = !session.settings.quiet && !plan.is_still;
        let each = if plan.requests.is_some() { plan.warmup } else { plan.warmup + plan.measured };
        let mut progress = Progress::new(is_told, u32::try_from(all).unwrap_or(u32::MAX), each);
        let mut outcome = Ok(());
        for (topics, run) in blocks {
            for test in permutation(plan.tests.len(), mixed(plan.seed, u64::from(self.order))) {
                if outcome.is_ok() && !interrupt::is_pressed() {
                    outcome = self.rates(field, stock, session, (test, topics, run), &mut progress);
                }
            }
        }
        progress.clear();
        outcome
    }

    /// Runs a test at each of its rates in ascending order. A ramp ends at the first rate that is not reached.
    fn rates(
        &mut self,
        field: &Field<'_>,
        stock: &mut Stock,
        session: &mut Session,
        (place, topics, run): (usize, u32, u32),
        progress: &mut Progress,
    ) -> Result<(), Failure> {
        let plan = field.plan;
        let test = plan.tests[place];
        for (rate, target) in plan.rates.iter().enumerate() {
            let began = clock::now();
            progress.begin(test, topics, (run, plan.runs), *target);
            let client = session.client()?;
            // Create and delete have topics of their own, and ping uses none.
            if test != Test::Ping {
                stock.resize(if needs_topics(test) { topics as usize } else { 0 }, client)?;
            }
            if matches!(test, Test::Fetch | Test::Mixed) {
                stock.fill(plan.size as usize, client)?;
            }
            if interrupt::is_pressed() {
                return Ok(());
            }
            let finished = self.one(field, stock, Place { test: place, topics, rate }, run, progress);
            progress.end(&finished, clock::now().duration_since(began));
            if interrupt::is_pressed() {
                return Ok(());
            }
            // Requests that wait must not exceed the client's timeout.
            if finished.requests == 0 && finished.errors > 0 {
                return Err(Failure::Found(
                    "no request succeeded in the last run, so the remaining runs were skipped".to_owned(),
                ));
            }
            if let Some(target) = target.filter(|target| plan.is_ramp && !is_reached(*target, finished.rate)) {
                let left = plan.rates.len() - rate - 1;
                progress.skip(u32::try_from(left).unwrap_or(u32::MAX));
                self.notes.push(format!(
                    "{} of {}, run {run}: {target:.0} req/s were planned and {:.0} reached; the ramp ended there",
                    test.name(),
                    text::counted(u64::from(topics), "topic"),
                    finished.rate,
                ));
                return Ok(());
            }
        }
        Ok(())
    }

    /// Executes one run of a test.
    fn one(&mut self, field: &Field<'_>, stock: &mut Stock, place: Place, number: u32, progress: &mut Progress) -> Run {
        let plan = field.plan;
        let test = plan.tests[place.test];
        let placement = if needs_topics(test) { stock.placement(field.target.dimension) } else { Vec::new() };
        let seats = seats(plan, field.target, stock, test, place.topics, self.order);
        let Measured { works, mut window, machine_busy, costs } =
            measure(field, &seats, plan.rates[place.rate], progress);
        drop(seats);
        let mut tally = Tally::new();
        works.iter().for_each(|work| tally.add(&work.tally));
        self.note_health(&works, machine_busy, &tally, plan);
        let connections = u32::try_from(works.len()).unwrap_or(u32::MAX);
        // After Ctrl-C the run was shorter than planned, and with a number of requests its length is not known in
        // advance.
        let end = works.iter().map(|work| work.end).max().unwrap_or(window.end);
        if plan.requests.is_some() {
            window.end = end;
        }
        let seconds = end.saturating_duration_since(window.start).as_secs_f64();
        let rate = if seconds > 0.0 { tally.answered() as f64 / seconds } else { 0.0 };
        let run = Run {
            run: number,
            order: self.order,
            seconds,
            requests: tally.requests(),
            errors: tally.errors(),
            late: if plan.is_open() { tally.late() } else { 0 },
            unsent: tally.unsent,
            rate,
            mb_s: rate * plan.payload_bytes(test) / 1e6,
            latency: tally.latency(),
            service: tally.service(),
            timeline: tally.timeline(&window),
        };
        self.order += 1;
        for work in works {
            stock.inherit(work.left);
        }
        let new = || Gathered { tally: Tally::new(), connections, placement, runs: Vec::new(), costs: Vec::new() };
        let gathered = self.points.entry(place).or_insert_with(new);
        gathered.tally.add(&tally);
        gathered.runs.push(run.clone());
        gathered.costs.extend(costs);
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
        if plan.is_open() {
            generator.lag_p99_us = more(generator.lag_p99_us, Some(tally.lag_p99_us()));
        }
        generator.was_limit |= busiest.is_some_and(|share| share > FULL);
        generator.was_limit |= cores.is_some_and(|cores| cores > FULL * available as f64);
    }

    /// Sorts the points by operation in the order of the command line, then by number of topics, then by rate.
    pub(super) fn points(&self, plan: &Plan, dimension: u8) -> Vec<Point> {
        let point = |(place, gathered): (&Place, &Gathered)| {
            let (test, target_rate) = (plan.tests[place.test], plan.rates[place.rate]);
            Point { target_rate, ..gathered.point(test, place.topics, dimension) }
        };
        self.points.iter().map(point).collect()
    }

    /// Merges the latencies of all points of each operation.
    pub(super) fn tallies(&self, plan: &Plan) -> Vec<(Test, Tally)> {
        let mut tallies = Vec::new();
        for (place, test) in plan.tests.iter().enumerate() {
            let mut all = Tally::new();
            self.of_test(place).for_each(|gathered| all.add(&gathered.tally));
            tallies.push((*test, all));
        }
        tallies.retain(|(_, tally)| tally.requests() > 0);
        tallies
    }

    /// Returns the CPU time per request of an operation: the median of its runs.
    pub(super) fn costs(&self, plan: &Plan) -> Vec<Cost> {
        let cost = |(place, test): (usize, &Test)| {
            let costs: Vec<Costs> = self.of_test(place).flat_map(|gathered| gathered.costs.iter().copied()).collect();
            let nodes: Vec<f64> = costs.iter().filter_map(|costs| costs.nodes_us).collect();
            let generator_us = Band::of(costs.iter().map(|costs| costs.generator_us)).median;
            let nodes_us = (!nodes.is_empty()).then(|| Band::of(nodes.into_iter()).median);
            (!costs.is_empty()).then_some(Cost { test: *test, generator_us, nodes_us })
        };
        plan.tests.iter().enumerate().filter_map(cost).collect()
    }

    fn of_test(&self, test: usize) -> impl Iterator<Item = &Gathered> {
        self.points.iter().filter(move |(place, _)| place.test == test).map(|(_, gathered)| gathered)
    }
}

impl Gathered {
    fn point(&self, test: Test, topics: u32, dimension: u8) -> Point {
        let band = |figure: fn(&Run) -> f64| Band::of(self.runs.iter().map(figure));
        // A run without successful requests has no latency; counting it as 0 would look good.
        let latency = |figure: fn(&Summary) -> f64| {
            Band::of(self.runs.iter().filter(|run| run.requests > 0).map(|run| figure(&run.latency)))
        };
        let (merged, service) = self.tally.curves();
        let nodes: Vec<f64> = self.costs.iter().filter_map(|costs| costs.nodes_us).collect();
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
            server_cpu_us: (!nodes.is_empty()).then(|| Band::of(nodes.into_iter())),
            latency: merged,
            service,
            hops: self.tally.hops(dimension),
            placement: self.placement.clone(),
            delivery: self.tally.delivery,
            runs: self.runs.clone(),
        }
    }
}

/// Returns all runs of all numbers of topics.
fn shuffled(plan: &Plan) -> Vec<(u32, u32)> {
    let blocks: Vec<_> = plan.topics.iter().flat_map(|topics| (1..=plan.runs).map(|run| (*topics, run))).collect();
    permutation(blocks.len(), plan.seed).into_iter().map(|at| blocks[at]).collect()
}

/// Returns the numbers below `count` in an order that depends only on the seed.
fn permutation(count: usize, seed: u64) -> Vec<usize> {
    let mut order: Vec<usize> = (0..count).collect();
    order.sort_by_key(|number| mixed(seed, *number as u64));
    order
}
