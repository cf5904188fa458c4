//! A load-generating thread: it sends requests at its pace, waits for responses, and counts them.
//!
//! In the closed loop a request is sent whenever the number in flight allows it. In the open loop each request has a
//! planned time, whatever happens to the earlier ones. If the thread cannot keep up, the latency still counts from the
//! planned time.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use dht_client::{Deadline, Error};
use dht_console::{clock, interrupt};

use super::cpu;
use super::link::{Done, Link, Seat, kind, open};
use super::plan::PIPELINE_MAX;
use super::progress::Meter;
use super::tally::{Success, Tally, Window};

/// How long to wait before Ctrl-C is checked.
const SLICE: Duration = Duration::from_millis(100);

/// How late a wait for a socket may end. If a request is due sooner than this, the thread sleeps, which is more exact.
const COARSE: Duration = Duration::from_millis(20);

/// Delay between attempts to connect.
const RECONNECT: Duration = Duration::from_millis(100);

/// How long to wait for responses after Ctrl-C.
const HASTE: Duration = Duration::from_secs(1);

/// How requests follow one another.
#[derive(Clone, Copy, Debug)]
pub(super) enum Pace {
    /// Closed loop: this many requests in flight.
    Closed(usize),
    /// Open loop: the interval between the requests of a thread, and the delay before its first one.
    Open(Duration, Duration),
}

/// The work of a thread.
#[derive(Clone, Copy, Debug)]
pub(super) struct Task {
    pub(super) pace: Pace,
    pub(super) window: Window,
    /// The number of requests after the warm-up at which the run ends.
    pub(super) quota: Option<u64>,
}

/// The counts of a thread.
#[derive(Debug)]
pub(super) struct Work {
    pub(super) tally: Tally,
    /// When it stopped sending; with a quota, when the last request was answered.
    pub(super) end: Instant,
    /// CPU time of the thread.
    pub(super) cpu: Option<Duration>,
    /// That time as a share of the run's time.
    pub(super) busy: Option<f64>,
    /// Topics that it has created and could not delete.
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
    /// Number of requests sent.
    serial: u64,
    /// The time since which there has been no connection.
    cut_off: Option<Instant>,
    /// Number of requests of the quota that were given up.
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
    /// Sends until the time is over, and returns that time.
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
            // Reading the clock costs a tenth of a pipelined request; only the open loop needs that precision.
            let exact = if matches!(self.task.pace, Pace::Open(..)) { clock::now() } else { now };
            now = self.take(self.wait(exact));
        }
    }

    /// Sends the requests that are due.
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

    /// Returns when a request is due.
    fn planned(&self, serial: u64) -> Instant {
        let Pace::Open(between, first) = self.task.pace else { return self.window.begin };
        self.window.begin + first + Duration::from_secs_f64(between.as_secs_f64() * serial as f64)
    }

    /// Returns how long the thread can wait for a response.
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

    /// Waits up to the given time for a response and counts it; returns the current time.
    fn take(&mut self, wait: Duration) -> Instant {
        let Some(link) = &mut self.link else { return clock::now() };
        if self.flights.is_empty() && wait < COARSE {
            clock::pause(wait); // no response is outstanding, and sleeping is more exact than waiting for the socket
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

    /// Gives up a connection on which a response is overdue.
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

    /// Handles the loss of the connection and of the requests in flight.
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

    /// Gives up the remaining requests if the connection has been lost for too long. A run with a duration ends anyway,
    /// but one with a number of requests would otherwise wait for ever for a lost node.
    fn give_up_quota(&mut self) {
        if let Some(quota) = &mut self.task.quota {
            self.given_up += std::mem::take(quota);
        }
    }

    /// Waits for the requests in flight.
    fn drain(&mut self) {
        let patience = if interrupt::is_pressed() { HASTE } else { self.seat.timeout };
        let deadline = Deadline::after(patience);
        while !self.flights.is_empty() && self.link.is_some() && !deadline.is_over() {
            self.take(SLICE.min(patience));
        }
        self.give_up_flights();
    }

    /// Returns the requests that became due during the measurement and were not sent.
    fn unsent(&self, end: Instant) -> u64 {
        let went_out = self.serial.max(self.due_before(self.window.start));
        self.due_before(end).saturating_sub(went_out)
    }

    /// Returns the number of requests that are due before the given time.
    fn due_before(&self, instant: Instant) -> u64 {
        let Pace::Open(between, first) = self.task.pace else { return 0 };
        let passed = instant.saturating_duration_since(self.window.begin + first);
        u64::try_from(passed.as_nanos().div_ceil(between.as_nanos().max(1))).unwrap_or(u64::MAX)
    }
}
