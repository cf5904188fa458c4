//! One run: the assignment of work to threads, their execution, and the CPU time that they use.

use std::time::Duration;

use dht_console::{clock, interrupt};
use dht_report::Test;

use super::campaign::Field;
use super::cpu::Ticks;
use super::link::{Seat, mixed, open};
use super::plan::{Plan, owns_topics};
use super::progress::{Meter, Progress};
use super::servers::Servers;
use super::stock::Stock;
use super::tally::Window;
use super::target::Target;
use super::worker::{Pace, Task, Work, work};

/// Delay between opening the connections and the first request, so that all threads are ready by then.
const LEAD: Duration = Duration::from_millis(20);

/// Interval at which the completion of a number of requests is checked.
const SOON: Duration = Duration::from_millis(5);

/// Interval at which Ctrl-C is checked.
const SLICE: Duration = Duration::from_millis(100);

/// Maximum number of subscriptions that a node accepts from one connection.
pub(super) const SUBSCRIPTIONS_MAX: usize = 4096;

/// The result of a run.
#[derive(Debug)]
pub(super) struct Measured {
    pub(super) works: Vec<Work>,
    pub(super) window: Window,
    pub(super) machine_busy: Option<f64>,
    pub(super) costs: Option<Costs>,
}

/// CPU time per request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Costs {
    pub(super) generator_us: f64,
    pub(super) nodes_us: Option<f64>,
}

/// Opens the connections, lets the threads work, and waits for them.
pub(super) fn measure(field: &Field<'_>, seats: &[Seat<'_>], rate: Option<f64>, progress: &mut Progress) -> Measured {
    let plan = field.plan;
    let links: Vec<_> = seats.iter().map(open).collect();
    let meters: Vec<_> = seats.iter().map(|_| Meter::default()).collect();
    let begin = clock::now() + LEAD;
    let start = begin + plan.warmup;
    let window = Window { begin, start, end: start + plan.measured };
    let before = Ticks::now();
    let (works, nodes_us): (Vec<Work>, _) = std::thread::scope(|scope| {
        let mut threads = Vec::new();
        for ((seat, link), meter) in seats.iter().zip(links).zip(&meters) {
            let task = task(plan, seat.index, seats.len(), rate, window);
            threads.push(scope.spawn(move || work(seat, link, task, meter)));
        }
        let is_over = || interrupt::is_pressed() || threads.iter().all(|thread| thread.is_finished());
        let step = if plan.requests.is_some() { SOON } else { SLICE };
        progress.wait(window.start, &meters, step, is_over);
        let before = Sample::take(field.servers.as_ref(), &meters);
        progress.wait(window.end, &meters, step, is_over);
        let nodes_us = before.zip(Sample::take(field.servers.as_ref(), &meters)).and_then(|(a, b)| b.each_since(&a));
        (threads.into_iter().map(|thread| thread.join().expect("no thread panics")).collect(), nodes_us)
    });
    let machine_busy = before.zip(Ticks::now()).and_then(|(before, after)| after.share_since(before));
    let (answered, failed) = Meter::sum(&meters);
    let generator: Option<Duration> = works.iter().map(|work| work.cpu).sum();
    let costs = generator.filter(|_| answered > 0).map(|cpu| {
        let generator_us = cpu.as_secs_f64() * 1e6 / (answered + failed) as f64;
        Costs { generator_us, nodes_us }
    });
    Measured { works, window, machine_busy, costs }
}

/// Returns the work for the thread of a seat.
fn task(plan: &Plan, index: u32, seats: usize, rate: Option<f64>, window: Window) -> Task {
    let pace = match rate {
        None => Pace::Closed(plan.pipeline as usize),
        Some(rate) => {
            let between = Duration::from_secs_f64(seats as f64 / rate);
            Pace::Open(between, between.mul_f64(f64::from(index) / seats as f64))
        }
    };
    // The first threads get the remainder of dividing the requests.
    let seats = seats as u64;
    let share = |requests: u64| requests / seats + u64::from(u64::from(index) < requests % seats);
    Task { pace, window, quota: plan.requests.map(share) }
}

/// The CPU time of the nodes, and the number of responses up to then.
struct Sample {
    time: Duration,
    answered: u64,
}

impl Sample {
    fn take(servers: Option<&Servers>, meters: &[Meter]) -> Option<Self> {
        let (answered, failed) = Meter::sum(meters);
        Some(Self { time: servers?.time()?, answered: answered + failed })
    }

    /// Returns the CPU time in microseconds per request since then.
    fn each_since(&self, before: &Self) -> Option<f64> {
        let time = self.time.checked_sub(before.time)?;
        let answered = self.answered.checked_sub(before.answered).filter(|count| *count > 0)?;
        Some(time.as_secs_f64() * 1e6 / answered as f64)
    }
}

/// Assigns topics and nodes to seats. With fewer topics than connections, some have nothing to do if topics are not
/// shared.
pub(super) fn seats<'p>(
    plan: &Plan,
    target: &'p Target,
    stock: &'p Stock,
    test: Test,
    topics: u32,
    order: u32,
) -> Vec<Seat<'p>> {
    let is_shared = !owns_topics(test);
    let count = if is_shared { plan.connections } else { plan.connections.min(topics) };
    let seat = |index: u32| {
        let (node, address) = target.entry(plan.entry, index, plan.seed);
        let mine = |at: usize| is_shared || at % count as usize == index as usize;
        let names = stock.names().enumerate().filter(|(at, _)| mine(*at)).map(|(_, name)| name);
        let most = if test == Test::Subscribe { SUBSCRIPTIONS_MAX } else { usize::MAX };
        let names: Vec<_> = names.take(most).collect();
        Seat {
            test,
            index,
            node,
            address,
            opposite: target.opposite(node).unwrap_or(address),
            dimension: target.dimension,
            picker: plan.keys.picker(names.len(), if is_shared { (index, count) } else { (0, 1) }),
            topics: names,
            share: (topics / count) as usize,
            prefix: format!("{}{order}", stock.prefix()),
            size: plan.size as usize,
            batch: plan.batch,
            mix: plan.mix,
            seed: mixed(plan.seed, u64::from(order) << 32 | u64::from(index)),
            timeout: plan.timeout,
        }
    };
    (0..count).map(seat).collect()
}
