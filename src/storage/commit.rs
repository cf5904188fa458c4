//! The thread that appends and syncs. What comes in while it syncs is synced together.
//!
//! On a full disk nothing waits for space, because what has to make it would wait as well. The rest of the segment is
//! shared out instead, and what finds no room in its share is refused:
//!
//! | entry | bytes of the segment that it leaves |
//! |---|---|
//! | a batch, a topic that is created, a producer that is opened | [`SEGMENT_RESERVE`] |
//! | other settings of a topic | [`SEGMENT_RESERVE_TRIMS`], so that records can be trimmed after any number of them |
//! | a trim | [`SEGMENT_RESERVE_DELETES`], so that topics can be deleted after any number of them |
//! | a topic that is deleted | [`SEGMENT_RESERVE_CLOCK`] |
//! | a jump of the clock | none beside the last words of an orderly end |

use std::io;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};

use super::{News, Supply, Sync, Task, Work, fail, left, now};
use crate::journal::{DiskFile, Mark, NoRoom, Prepared, Writer, is_transient};
use crate::limits::{
    COMMIT_TURNS_MAX, SEGMENT_BYTES, SEGMENT_RESERVE, SEGMENT_RESERVE_CLOCK, SEGMENT_RESERVE_DELETES,
    SEGMENT_RESERVE_TRIMS, SHORTAGE_WAIT_LEAST, SHORTAGE_WAIT_MAX,
};
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
                Sync::Always | Sync::Interval(_) => {
                    planted!("given back before the sync", self.sync(), self.patiently("cannot write", Writer::write));
                }
            }
            self.release(&wake);
            if is_end {
                return self.finish();
            }
        }
    }

    /// Appends the entries of a turn, except those that there is no space for.
    fn append(&mut self, mut entries: Vec<Entry>, wake: &impl Fn()) {
        let (mut appended, mut run_max) = (0, usize::MAX);
        let mut mark = self.writer.mark();
        while appended < entries.len() {
            while self.next.is_none()
                && let Ok(supply) = self.supplies.try_recv()
            {
                self.take(supply);
            }
            if self.is_full {
                refuse(&mut entries[appended..], SEGMENT_RESERVE);
            }
            let is_refused = |entry: &&Entry| matches!(entry, Entry::Refused);
            let run = entries[appended..].iter().take_while(|entry| !is_refused(entry)).count().min(run_max);
            if run == 0 {
                appended += 1;
                continue;
            }
            match self.append_record(&mut entries[appended..appended + run]) {
                Ok((count, at)) => (appended, mark) = (appended + count, at),
                // Fewer of them may still fit.
                Err(NoRoom) if self.is_full && run > 1 => run_max = run / 2,
                Err(NoRoom) if self.is_full => {
                    let reserve = reserve(&entries[appended]);
                    refuse(&mut entries[appended..], reserve);
                    run_max = usize::MAX;
                }
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

    /// Appends what fits one record. Until the next segment is ready, entries leave room for those that make space.
    fn append_record(&mut self, entries: &mut [Entry]) -> Result<(usize, Mark), NoRoom> {
        if self.next.is_none() && !self.writer.fits(entries, SEGMENT_RESERVE) {
            let most = entries.iter().map(reserve).max().unwrap_or_default();
            if !self.writer.fits(entries, most) {
                return Err(NoRoom);
            }
        }
        self.writer.append(entries)
    }

    /// Goes on in the next segment; when it is not there, waits for it, or for the news that there is no space.
    fn turn(&mut self, wake: &impl Fn()) {
        planted!("segment turned before the sync", self.sync(), ());
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
        planted!("given back in another order", (), self.written.reverse());
        for (entries, mark) in self.written.drain(..) {
            // The loop may have ended.
            let _ = self.news.send(News::Committed(entries, mark));
        }
        wake();
    }
}

/// Returns how many bytes of a segment an entry leaves while the next segment is not ready.
const fn reserve(entry: &Entry) -> u32 {
    match entry {
        Entry::Publish(_) | Entry::Create { .. } | Entry::OpenProducer { .. } => SEGMENT_RESERVE,
        Entry::Alter { .. } => SEGMENT_RESERVE_TRIMS,
        Entry::Trim { .. } => SEGMENT_RESERVE_DELETES,
        Entry::Delete { .. } => SEGMENT_RESERVE_CLOCK,
        Entry::Reclock(_) | Entry::RaiseEpochs | Entry::Refused => 0,
    }
}

/// Refuses the entries that would leave at least `least` bytes of the segment.
fn refuse(entries: &mut [Entry], least: u32) {
    if least == 0 {
        // Times that are appended after it would be wrong.
        fail("cannot record a jump of the clock", &io::ErrorKind::StorageFull.into());
    }
    entries.iter_mut().filter(|entry| reserve(entry) >= least).for_each(|entry| *entry = Entry::Refused);
}

#[cfg(test)]
mod tests {
    use std::any::Any;
    use std::fs::File;
    use std::sync::mpsc;

    use bytes::Bytes;

    use super::*;
    use crate::journal::{Folder, Watermark};
    use crate::record::{Batch, Place, Reclock, TopicRef};
    use crate::types::{Epoch, Offset, Opening, ProducerId, Retention, SettingsChange, TopicId};

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

    fn alter() -> Entry {
        Entry::Alter { topic: topic(), change: SettingsChange::default() }
    }

    fn trim() -> Entry {
        Entry::Trim { topic: TopicId::new(7).unwrap(), first: Offset(1) }
    }

    fn create() -> Entry {
        let (name, retention) = ("t".into(), Retention::default());
        Entry::Create { name, seed: 0, epoch: Epoch(1), retention, created_us: 0 }
    }

    fn open_producer() -> Entry {
        let opening = Opening { producer: ProducerId::new(1).unwrap(), token: 0, resume: false };
        Entry::OpenProducer { topic: topic(), opening }
    }

    fn reclock() -> Entry {
        Entry::Reclock(Reclock { at_us: 0, jump: None })
    }

    fn segment(number: u32) -> Prepared<File> {
        Prepared { file: tempfile::tempfile().unwrap(), number, size: 1 << 20 }
    }

    /// Of a folder that is gone: nobody reads it.
    fn watermark() -> Watermark<File> {
        let folder = tempfile::tempdir().unwrap();
        Watermark::open(&Folder::make(folder.path().to_owned()).unwrap()).unwrap()
    }

    #[test]
    fn without_a_next_segment_batches_leave_room_for_what_makes_space() {
        let (_supply, supplies) = mpsc::channel();
        let ((tasks, _tasks), (news, _news)) = (mpsc::channel(), mpsc::channel());
        let writer = Writer::new(0, false, Mark::default(), (segment(1), watermark()));
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
        assert_eq!(entries[..], [delete(), Entry::Refused, Entry::Refused, delete()]);

        // When there is, they go on in it.
        committer.take(Supply::Segment(segment(2)));
        committer.append(vec![batch(500_000)], &|| ());
        let (entries, mark) = committer.written.last().unwrap();
        assert!(matches!(&entries[..], [Entry::Publish(batch)] if batch.place.segment == 2));
        assert_eq!(mark.place.segment, 2);
    }

    /// A committer of an almost empty segment that there is no next one for.
    fn full() -> (Committer<File>, [Box<dyn Any>; 3]) {
        let (supply, supplies) = mpsc::channel();
        let ((tasks, for_keep), (news, for_loop)) = (mpsc::channel(), mpsc::channel());
        let writer = Writer::new(0, false, Mark::default(), (segment(1), watermark()));
        let mut committer = Committer::new(writer, supplies, tasks, news);
        committer.take(Supply::NoSpace);
        (committer, [Box::new(supply), Box::new(for_keep), Box::new(for_loop)])
    }

    #[test]
    fn on_a_full_disk_each_kind_of_entry_leaves_room_for_those_that_make_more_space() {
        let (mut committer, _ends) = full();
        let mut append = |entry: Entry| {
            committer.append(vec![entry], &|| ());
            let (entries, _) = committer.written.pop().unwrap();
            (entries[0] != Entry::Refused, committer.writer.room())
        };
        for never in [batch(1), create(), open_producer()] {
            assert!(!append(never).0);
        }
        // However many come before, the next kind has its share, and nothing ever waits.
        for (kind, reserve, share) in [
            (alter(), SEGMENT_RESERVE_TRIMS, (1 << 20) - SEGMENT_RESERVE_TRIMS),
            (trim(), SEGMENT_RESERVE_DELETES, SEGMENT_RESERVE_TRIMS - SEGMENT_RESERVE_DELETES),
            (delete(), SEGMENT_RESERVE_CLOCK, SEGMENT_RESERVE_DELETES - SEGMENT_RESERVE_CLOCK),
        ] {
            let (mut taken, mut room_left) = (0, 0);
            while let (true, room) = append(kind.clone()) {
                (taken, room_left) = (taken + 1, room);
            }
            assert!(room_left >= reserve && room_left < reserve + 256, "{room_left} bytes after {kind:?}");
            assert!(taken >= share / 128, "{taken} of {kind:?}");
        }
        for _ in 0..50 {
            assert!(append(reclock()).0, "a jump of the clock is never refused");
        }
        committer.writer.finish().unwrap();
    }

    #[test]
    fn on_a_full_disk_a_long_turn_is_appended_as_far_as_it_fits() {
        let (mut committer, _ends) = full();
        let entries = (0..100_000).map(|number| if number % 2 == 0 { alter() } else { delete() }).collect();
        committer.append(entries, &|| ());
        let (entries, _) = committer.written.pop().unwrap();
        let is_taken = |entry: &Entry, kind: &Entry| entry == kind;
        let alters = entries.iter().filter(|entry| is_taken(entry, &alter())).count();
        let deletes = entries.iter().filter(|entry| is_taken(entry, &delete())).count();
        assert!(alters > 1000 && deletes > 1000 && alters + deletes < 100_000, "{alters} and {deletes}");
        assert!(deletes > alters, "what makes space goes on longer");
        assert!(committer.writer.room() >= SEGMENT_RESERVE_CLOCK);
        committer.append(vec![reclock()], &|| ());
        committer.writer.finish().unwrap();
    }
}
