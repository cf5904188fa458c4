//! A thread: sends at its pace, waits for answers, counts.
//!
//! In the closed loop a request goes out when there is room among those in flight. In the open loop each has its time,
//! whatever became of those before; when the thread cannot keep it, the latency still counts from there.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use dht_node::client::{Deadline, Error};

use super::cpu;
use super::link::{Done, Link, Seat, kind, open};
use super::plan::PIPELINE_MAX;
use super::progress::Meter;
use super::tally::{Success, Tally, Window};
use crate::{clock, interrupt};

/// How long is waited before Ctrl-C is looked at.
const SLICE: Duration = Duration::from_millis(100);

/// A wait for a socket may be this much longer than asked for; nearer than this to a request's time the thread sleeps.
const COARSE: Duration = Duration::from_millis(20);

/// Between attempts to connect.
const RECONNECT: Duration = Duration::from_millis(100);

/// How long answers are waited for after Ctrl-C.
const HASTE: Duration = Duration::from_secs(1);

/// How requests follow one another.
#[derive(Clone, Copy, Debug)]
pub(super) enum Pace {
    /// So many in flight.
    Closed(usize),
    /// So long between the requests of one thread, and so long after the beginning its first one.
    Open(Duration, Duration),
}

/// What a thread is to do.
#[derive(Clone, Copy, Debug)]
pub(super) struct Task {
    pub(super) pace: Pace,
    pub(super) window: Window,
    /// So many requests after the warm-up, and it is over.
    pub(super) quota: Option<u64>,
}

/// What a thread has counted.
#[derive(Debug)]
pub(super) struct Work {
    pub(super) tally: Tally,
    /// Until when it sent; with a quota, until the last of it was answered.
    pub(super) end: Instant,
    /// Processor time …
    pub(super) cpu: Option<Duration>,
    /// … and its share of the time.
    pub(super) busy: Option<f64>,
    /// Topics that it made and could not remove.
    pub(super) left: Vec<String>,
}

struct Flight {
    planned: Instant,
    sent: Instant,
    hops: Option<usize>,
}

struct Worker<'p> {
    seat: &'p Seat<'p>,
    link: Option<Box<dyn Link + 'p>>,
    task: Task,
    window: Window,
    meter: &'p Meter,
    flights: BTreeMap<u64, Flight>,
    /// Requests that went out.
    serial: u64,
    /// Since when there is no connection.
    cut_off: Option<Instant>,
    /// Requests of the quota that were given up.
    given_up: u64,
    tally: Tally,
    left: Vec<String>,
}

/// Does the work of a seat.
pub(super) fn work<'p>(
    seat: &'p Seat<'p>,
    link: Result<Box<dyn Link + 'p>, Error>,
    task: Task,
    meter: &'p Meter,
) -> Work {
    let window = task.window;
    let refused = link.as_ref().err().map(kind);
    let (tally, flights, left) = (Tally::new(), BTreeMap::new(), Vec::new());
    let cut_off = refused.map(|_| window.begin);
    let (link, given_up) = (link.ok(), 0);
    let mut worker = Worker { seat, link, task, window, meter, flights, serial: 0, cut_off, given_up, tally, left };
    if let Some(kind) = refused {
        worker.fail(kind, 1, window.begin);
    }
    clock::pause(window.begin.saturating_duration_since(clock::now()));
    let cpu_before = cpu::thread_time();
    let sent = worker.send_all();
    let cpu_after = cpu::thread_time();
    worker.drain();
    let is_enough = worker.task.quota == Some(0);
    let end = if is_enough { clock::now().min(window.end) } else { sent };
    worker.tally.unsent = if is_enough { worker.given_up } else { worker.unsent(end) };
    worker.close(false);
    let lasted = sent.duration_since(window.begin).as_secs_f64();
    let cpu = cpu_before.zip(cpu_after).map(|(before, after)| after.saturating_sub(before));
    let busy = cpu.map(|cpu| cpu.as_secs_f64() / lasted.max(1e-9));
    Work { tally: worker.tally, end, cpu, busy, left: worker.left }
}

impl Worker<'_> {
    /// Sends until the time is over; gives when that was.
    fn send_all(&mut self) -> Instant {
        let mut now = clock::now();
        loop {
            if now >= self.window.end || self.task.quota == Some(0) || interrupt::is_pressed() {
                return now.min(self.window.end);
            }
            if self.link.is_none() {
                self.reconnect();
                now = clock::now();
                continue;
            }
            self.send_due(now);
            // Reading the clock is a tenth of a request that goes out among many; only the open loop must be so exact.
            let exact = if matches!(self.task.pace, Pace::Open(..)) { clock::now() } else { now };
            now = self.take(self.wait(exact));
        }
    }

    /// Sends what is due.
    fn send_due(&mut self, now: Instant) {
        loop {
            let planned = match self.task.pace {
                Pace::Closed(window) if self.flights.len() < window => now,
                Pace::Open(..) if self.flights.len() < PIPELINE_MAX as usize && self.planned(self.serial) <= now => {
                    self.planned(self.serial)
                }
                Pace::Closed(_) | Pace::Open(..) => return,
            };
            let Some(link) = self.link.as_mut().filter(|link| link.has_next()) else { return };
            if planned >= self.window.start
                && let Some(quota) = &mut self.task.quota
            {
                if *quota == 0 {
                    return;
                }
                *quota -= 1;
            }
            self.serial += 1;
            match link.send(self.serial) {
                Ok(sent) => {
                    self.flights.insert(sent.key, Flight { planned, sent: now, hops: sent.hops });
                }
                Err(error) => {
                    self.fail(kind(&error), 1, now);
                    self.lose(&error);
                }
            }
        }
    }

    /// When a request is to go out.
    fn planned(&self, serial: u64) -> Instant {
        let Pace::Open(between, first) = self.task.pace else { return self.window.begin };
        self.window.begin + first + Duration::from_secs_f64(between.as_secs_f64() * serial as f64)
    }

    /// How long an answer can be waited for.
    fn wait(&self, now: Instant) -> Duration {
        let until_end = self.window.end.saturating_duration_since(now);
        let has_next = self.link.as_ref().is_some_and(|link| link.has_next());
        let until_next = match self.task.pace {
            Pace::Open(..) if has_next && self.flights.len() < PIPELINE_MAX as usize => {
                self.planned(self.serial).saturating_duration_since(now)
            }
            Pace::Closed(_) | Pace::Open(..) => SLICE,
        };
        until_next.min(until_end).min(SLICE)
    }

    /// Waits so long for an answer and counts it; gives the time after that.
    fn take(&mut self, wait: Duration) -> Instant {
        let Some(link) = &mut self.link else { return clock::now() };
        if self.flights.is_empty() && wait < COARSE {
            clock::pause(wait); // nothing can come, and this is more exact than waiting for the socket
            return clock::now();
        }
        let wait = if self.flights.is_empty() { wait - COARSE / 2 } else { wait };
        let received = link.receive(Deadline::after(wait));
        let now = clock::now();
        match received {
            Ok(Some(done)) => self.count(done, now),
            Ok(None) => self.look_for_silence(now),
            Err(error) => self.lose(&error),
        }
        now
    }

    fn count(&mut self, done: Done, answered: Instant) {
        let Some(flight) = self.flights.remove(&done.key) else { return };
        let Flight { planned, sent, hops } = flight;
        match done.outcome {
            Ok(()) => {
                self.meter.answered();
                self.tally.succeeded(Success { planned, sent, answered, hops }, &self.window);
            }
            Err(kind) => self.fail(kind, 1, answered),
        }
    }

    fn fail(&mut self, kind: &'static str, count: u64, now: Instant) {
        self.meter.failed(count);
        self.tally.failed(kind, count, now, &self.window);
    }

    /// A connection on which an answer is overdue is given up.
    fn look_for_silence(&mut self, now: Instant) {
        let is_overdue = |flight: &Flight| now.saturating_duration_since(flight.sent) > self.seat.timeout;
        if self.flights.values().next().is_some_and(is_overdue) {
            self.give_up_flights();
            self.close(true);
        }
    }

    fn give_up_flights(&mut self) {
        let now = clock::now();
        while let Some((key, _)) = self.flights.pop_first() {
            let kind = self.link.as_mut().map_or("TIMED_OUT", |link| link.missing(key));
            self.fail(kind, 1, now);
        }
    }

    /// The connection is gone, and with it what was in flight.
    fn lose(&mut self, error: &Error) {
        let lost = std::mem::take(&mut self.flights).len().max(1);
        self.fail(kind(error), lost as u64, clock::now());
        self.close(true);
    }

    fn close(&mut self, is_broken: bool) {
        let Some(link) = self.link.take() else { return };
        self.cut_off = Some(clock::now());
        let left = link.close(is_broken);
        self.left.extend(left.topics);
        if let Some(delivery) = left.delivery {
            let now = clock::now();
            for (kind, count) in [("DAMAGED", delivery.damaged), ("OUT_OF_ORDER", delivery.out_of_order)] {
                if count > 0 {
                    self.fail(kind, count, now);
                }
            }
            self.tally.delivery.get_or_insert_default().add(&delivery);
        }
    }

    fn reconnect(&mut self) {
        let until_end = self.window.end.saturating_duration_since(clock::now());
        clock::pause(RECONNECT.min(until_end));
        match open(self.seat) {
            Ok(link) => (self.link, self.cut_off) = (Some(link), None),
            Err(error) => {
                let now = clock::now();
                self.fail(kind(&error), 1, now);
                let lasted = self.cut_off.map_or(Duration::ZERO, |since| now.saturating_duration_since(since));
                if lasted > self.seat.timeout {
                    self.give_up_quota();
                }
            }
        }
    }

    /// A time ends by itself; a number of requests would wait for ever for a node that is gone.
    fn give_up_quota(&mut self) {
        if let Some(quota) = &mut self.task.quota {
            self.given_up += std::mem::take(quota);
        }
    }

    /// Waits for what is in flight.
    fn drain(&mut self) {
        let patience = if interrupt::is_pressed() { HASTE } else { self.seat.timeout };
        let deadline = Deadline::after(patience);
        while !self.flights.is_empty() && self.link.is_some() && !deadline.is_over() {
            self.take(SLICE.min(patience));
        }
        self.give_up_flights();
    }

    /// Requests whose time came while it was measured and that did not go out.
    fn unsent(&self, end: Instant) -> u64 {
        let went_out = self.serial.max(self.due_before(self.window.start));
        self.due_before(end).saturating_sub(went_out)
    }

    /// Requests whose time is before that.
    fn due_before(&self, instant: Instant) -> u64 {
        let Pace::Open(between, first) = self.task.pace else { return 0 };
        let passed = instant.saturating_duration_since(self.window.begin + first);
        u64::try_from(passed.as_nanos().div_ceil(between.as_nanos().max(1))).unwrap_or(u64::MAX)
    }
}
