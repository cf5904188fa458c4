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

/// What a thread has counted.
#[derive(Debug)]
pub(super) struct Work {
    pub(super) tally: Tally,
    /// Until when it sent.
    pub(super) end: Instant,
    /// Processor time, as a share of its time.
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
    pace: Pace,
    window: Window,
    flights: BTreeMap<u64, Flight>,
    /// Requests that went out.
    serial: u64,
    tally: Tally,
    left: Vec<String>,
}

/// Does the work of a seat.
pub(super) fn work<'p>(
    seat: &'p Seat<'p>,
    link: Result<Box<dyn Link + 'p>, Error>,
    pace: Pace,
    window: Window,
) -> Work {
    let mut tally = Tally::new();
    if let Err(error) = &link {
        tally.failed(kind(error), 1, window.begin, &window);
    }
    let (link, flights, left) = (link.ok(), BTreeMap::new(), Vec::new());
    let mut worker = Worker { seat, link, pace, window, flights, serial: 0, tally, left };
    clock::pause(window.begin.saturating_duration_since(clock::now()));
    let cpu_before = cpu::thread_time();
    let end = worker.send_all();
    let cpu_after = cpu::thread_time();
    worker.drain();
    worker.tally.unsent = worker.unsent(end);
    worker.close(false);
    let lasted = end.duration_since(window.begin).as_secs_f64();
    let busy = cpu_before.zip(cpu_after).map(|(before, after)| (after - before).as_secs_f64() / lasted.max(1e-9));
    Work { tally: worker.tally, end, busy, left: worker.left }
}

impl Worker<'_> {
    /// Sends until the time is over; gives when that was.
    fn send_all(&mut self) -> Instant {
        loop {
            let now = clock::now();
            if now >= self.window.end || interrupt::is_pressed() {
                return now.min(self.window.end);
            }
            if self.link.is_none() {
                self.reconnect();
                continue;
            }
            self.send_due(now);
            self.take(self.wait(clock::now()));
        }
    }

    /// Sends what is due.
    fn send_due(&mut self, now: Instant) {
        loop {
            let planned = match self.pace {
                Pace::Closed(window) if self.flights.len() < window => now,
                Pace::Open(..) if self.flights.len() < PIPELINE_MAX as usize && self.planned(self.serial) <= now => {
                    self.planned(self.serial)
                }
                Pace::Closed(_) | Pace::Open(..) => return,
            };
            let Some(link) = &mut self.link else { return };
            self.serial += 1;
            match link.send(self.serial) {
                Ok(sent) => {
                    self.flights.insert(sent.key, Flight { planned, sent: now, hops: sent.hops });
                }
                Err(error) => {
                    self.tally.failed(kind(&error), 1, now, &self.window);
                    self.lose(&error);
                }
            }
        }
    }

    /// When a request is to go out.
    fn planned(&self, serial: u64) -> Instant {
        let Pace::Open(between, first) = self.pace else { return self.window.begin };
        self.window.begin + first + Duration::from_secs_f64(between.as_secs_f64() * serial as f64)
    }

    /// How long an answer can be waited for.
    fn wait(&self, now: Instant) -> Duration {
        let until_end = self.window.end.saturating_duration_since(now);
        let until_next = match self.pace {
            Pace::Open(..) if self.flights.len() < PIPELINE_MAX as usize => {
                self.planned(self.serial).saturating_duration_since(now)
            }
            Pace::Closed(_) | Pace::Open(..) => SLICE,
        };
        until_next.min(until_end).min(SLICE)
    }

    /// Waits so long for an answer and counts it.
    fn take(&mut self, wait: Duration) {
        let Some(link) = &mut self.link else { return };
        if self.flights.is_empty() && wait < COARSE {
            return clock::pause(wait); // nothing can come, and this is more exact than waiting for the socket
        }
        let wait = if self.flights.is_empty() { wait - COARSE / 2 } else { wait };
        match link.receive(Deadline::after(wait)) {
            Ok(Some(done)) => self.count(done),
            Ok(None) => self.look_for_silence(),
            Err(error) => self.lose(&error),
        }
    }

    fn count(&mut self, done: Done) {
        let Some(flight) = self.flights.remove(&done.key) else { return };
        let answered = clock::now();
        let Flight { planned, sent, hops } = flight;
        match done.outcome {
            Ok(()) => self.tally.succeeded(Success { planned, sent, answered, hops }, &self.window),
            Err(kind) => self.tally.failed(kind, 1, answered, &self.window),
        }
    }

    /// A connection on which an answer is overdue is given up.
    fn look_for_silence(&mut self) {
        let now = clock::now();
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
            self.tally.failed(kind, 1, now, &self.window);
        }
    }

    /// The connection is gone, and with it what was in flight.
    fn lose(&mut self, error: &Error) {
        let lost = std::mem::take(&mut self.flights).len().max(1);
        self.tally.failed(kind(error), lost as u64, clock::now(), &self.window);
        self.close(true);
    }

    fn close(&mut self, is_broken: bool) {
        let Some(link) = self.link.take() else { return };
        let left = link.close(is_broken);
        self.left.extend(left.topics);
        if let Some(delivery) = left.delivery {
            let now = clock::now();
            for (kind, count) in [("DAMAGED", delivery.damaged), ("OUT_OF_ORDER", delivery.out_of_order)] {
                if count > 0 {
                    self.tally.failed(kind, count, now, &self.window);
                }
            }
            self.tally.delivery.get_or_insert_default().add(&delivery);
        }
    }

    fn reconnect(&mut self) {
        let until_end = self.window.end.saturating_duration_since(clock::now());
        clock::pause(RECONNECT.min(until_end));
        match open(self.seat) {
            Ok(link) => self.link = Some(link),
            Err(error) => self.tally.failed(kind(&error), 1, clock::now(), &self.window),
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
        if matches!(self.pace, Pace::Closed(_)) {
            return 0;
        }
        let from = self.window.start;
        let due = (self.serial..).map(|serial| self.planned(serial)).take_while(|planned| *planned < end);
        due.filter(|planned| *planned >= from).count() as u64
    }
}
