//! The thread that appends and syncs. What comes in while it syncs is synced together.
//!
//! On a full disk it does not wait for space with what has to make it: batches are refused, and the rest of the segment
//! is left to deletes and trims.

use std::io;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};

use super::{News, Supply, Sync, Task, Work, fail, left, now};
use crate::journal::{DiskFile, Mark, NoRoom, Prepared, Writer, is_transient};
use crate::limits::{COMMIT_TURNS_MAX, SEGMENT_BYTES, SEGMENT_RESERVE, SHORTAGE_WAIT_LEAST, SHORTAGE_WAIT_MAX};
use crate::record::Entry;

/// The end of the log, and whom to tell.
pub(super) struct Committer<F> {
    writer: Writer<F>,
    supplies: Receiver<Supply<F>>,
    tasks: Sender<Task>,
    news: Sender<News>,
    /// Has the next segment been asked for?
    is_asked: bool,
    /// The next segment, when it is ready.
    next: Option<Prepared<F>>,
    /// Is there no space for one?
    is_full: bool,
    /// Written, but not safe yet.
    written: Vec<(Vec<Entry>, Mark)>,
}

impl<F: DiskFile> Committer<F> {
    pub(super) fn new(
        writer: Writer<F>,
        supplies: Receiver<Supply<F>>,
        tasks: Sender<Task>,
        news: Sender<News>,
    ) -> Self {
        Self { writer, supplies, tasks, news, is_asked: false, next: None, is_full: false, written: Vec::new() }
    }

    /// Works until it is told to end.
    pub(super) fn run(mut self, work: &Receiver<Work>, sync: Sync, wake: impl Fn()) {
        let mut due = None;
        loop {
            let first = match due {
                None => work.recv().ok(),
                Some(due) => match work.recv_timeout(left(due)) {
                    Ok(work) => Some(work),
                    Err(RecvTimeoutError::Timeout) => Some(Work::Entries(Vec::new())),
                    Err(RecvTimeoutError::Disconnected) => None,
                },
            };
            let more = work.try_iter().take(COMMIT_TURNS_MAX);
            let mut is_end = false;
            for work in first.map_or(Some(Work::End), Some).into_iter().chain(more) {
                match work {
                    Work::Entries(entries) => self.append(entries, &wake),
                    Work::End => is_end = true,
                }
            }
            match sync {
                Sync::Interval(interval) if !is_end => {
                    self.patiently("cannot write to the journal", Writer::write);
                    if due.is_some_and(|due| left(due).is_zero()) {
                        self.sync();
                        due = None;
                    } else if !self.written.is_empty() {
                        due = due.or_else(|| Some(now() + interval));
                    }
                }
                Sync::Always | Sync::Interval(_) => self.sync(),
            }
            self.release(&wake);
            if is_end {
                return self.finish();
            }
        }
    }

    /// Appends the entries of a turn, but for batches that there is no space for.
    fn append(&mut self, mut entries: Vec<Entry>, wake: &impl Fn()) {
        let mut appended = 0;
        let mut mark = self.writer.mark();
        while appended < entries.len() {
            while self.next.is_none()
                && let Ok(supply) = self.supplies.try_recv()
            {
                self.take(supply);
            }
            if self.is_full {
                entries[appended..].iter_mut().for_each(refuse);
            }
            let is_refused = |entry: &Entry| matches!(entry, Entry::Refused { .. });
            let run = entries[appended..].iter().take_while(|entry| !is_refused(entry)).count();
            if run == 0 {
                appended += 1;
                continue;
            }
            match self.append_record(&mut entries[appended..appended + run]) {
                Ok((count, at)) => (appended, mark) = (appended + count, at),
                Err(NoRoom) => self.turn(wake),
            }
            if !self.is_asked && self.writer.is_half_full() {
                self.is_asked = true;
                let number = mark.place.segment + 1;
                // Whoever is not there any more has ended the process.
                let _ = self.tasks.send(Task::Prepare { number, size: SEGMENT_BYTES });
            }
        }
        if !entries.is_empty() {
            self.written.push((entries, mark));
        }
    }

    /// Appends what fits one record. Until the next segment is ready, batches leave room for what makes space.
    fn append_record(&mut self, entries: &mut [Entry]) -> Result<(usize, Mark), NoRoom> {
        let has_batches = || entries.iter().any(|entry| matches!(entry, Entry::Publish(_)));
        if self.next.is_none() && !self.writer.fits(entries, SEGMENT_RESERVE) && has_batches() {
            return Err(NoRoom);
        }
        self.writer.append(entries)
    }

    /// Goes on in the next segment; when it is not there, waits for it, or for the news that there is no space.
    fn turn(&mut self, wake: &impl Fn()) {
        self.sync();
        self.release(wake);
        let Some(next) = self.next.take() else {
            let Ok(supply) = self.supplies.recv() else {
                fail("the keeper's thread has ended", &io::ErrorKind::BrokenPipe.into());
            };
            return self.take(supply);
        };
        // Everything is durable already, so this call makes no attempt that a shortage of memory could fail.
        self.writer.turn_to(next).unwrap_or_else(|error| fail("cannot begin a segment", &error));
        self.is_asked = false;
    }

    fn take(&mut self, supply: Supply<F>) {
        self.is_full = matches!(supply, Supply::NoSpace);
        if let Supply::Segment(next) = supply {
            self.next = Some(next);
        }
    }

    fn sync(&mut self) {
        self.patiently("cannot sync the journal", Writer::sync);
    }

    fn finish(&mut self) {
        self.sync();
        match self.writer.finish() {
            // The final record is in the writer's buffer and still has to be written.
            Err(error) if is_transient(&error) => self.sync(),
            done => done.unwrap_or_else(|error| fail("cannot close the journal", &error)),
        }
    }

    /// Repeats an attempt for as long as it fails for want of memory; entries stay in the writer's buffer until they
    /// are written. Any other failure ends the process.
    fn patiently(&mut self, what: &str, mut attempt: impl FnMut(&mut Writer<F>) -> io::Result<()>) {
        let mut wait = SHORTAGE_WAIT_LEAST;
        let mut has_failed = false;
        while let Err(error) = attempt(&mut self.writer) {
            if !is_transient(&error) {
                fail(what, &error);
            }
            log::warn!("{what}: {error}; trying again in {} ms", wait.as_millis());
            std::thread::park_timeout(wait);
            wait = (wait * 2).min(SHORTAGE_WAIT_MAX);
            has_failed = true;
        }
        if has_failed {
            log::info!("the journal is written and synced again");
        }
    }

    /// Gives back what is done.
    fn release(&mut self, wake: &impl Fn()) {
        if self.written.is_empty() {
            return;
        }
        for (entries, mark) in self.written.drain(..) {
            // The loop may have ended.
            let _ = self.news.send(News::Committed(entries, mark));
        }
        wake();
    }
}

/// A batch is not to be stored; everything else stays what it is.
fn refuse(entry: &mut Entry) {
    if let Entry::Publish(batch) = entry {
        *entry = Entry::Refused { payload_len: batch.payload.len() };
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::sync::mpsc;

    use bytes::Bytes;

    use super::*;
    use crate::record::{Batch, Place, TopicRef};
    use crate::types::TopicId;

    fn topic() -> TopicRef {
        TopicRef::Id(TopicId::new(7).unwrap())
    }

    fn batch(len: usize) -> Entry {
        let payload = Bytes::from(vec![1; len]);
        let (topic, place) = (topic(), Place::default());
        Entry::Publish(Batch { topic, producer: None, count: 1, payload_crc: 0, append_us: 0, payload, place })
    }

    fn delete() -> Entry {
        Entry::Delete { topic: topic() }
    }

    fn segment(number: u32) -> Prepared<File> {
        Prepared { file: tempfile::tempfile().unwrap(), number, size: 1 << 20 }
    }

    #[test]
    fn without_a_next_segment_batches_leave_room_for_what_makes_space() {
        let (_supply, supplies) = mpsc::channel();
        let ((tasks, _tasks), (news, _news)) = (mpsc::channel(), mpsc::channel());
        let writer = Writer::new(0, false, Mark::default(), segment(1));
        let mut committer = Committer::new(writer, supplies, tasks, news);
        for len in [100_000, 1000, 1] {
            while committer.append_record(&mut [batch(len)]).is_ok() {}
        }
        assert!(committer.writer.room() >= SEGMENT_RESERVE);
        (0..2000).for_each(|_| assert!(committer.append_record(&mut [delete()]).is_ok()));

        // With no space for one, batches are refused in their place, and the others are not.
        committer.take(Supply::NoSpace);
        committer.append(vec![delete(), batch(9), batch(1), delete()], &|| ());
        let (entries, _) = committer.written.last().unwrap();
        let refused = |payload_len| Entry::Refused { payload_len };
        assert_eq!(entries[..], [delete(), refused(9), refused(1), delete()]);

        // When there is, they go on in it.
        committer.take(Supply::Segment(segment(2)));
        committer.append(vec![batch(500_000)], &|| ());
        let (entries, mark) = committer.written.last().unwrap();
        assert!(matches!(&entries[..], [Entry::Publish(batch)] if batch.place.segment == 2));
        assert_eq!(mark.place.segment, 2);
    }
}
