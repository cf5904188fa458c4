//! Acknowledged records survive: real processes on a real disk.
//!
//! | file | what |
//! |---|---|
//! | `acked` | writers that remember what was acknowledged, and the check that none of it is missing |
//! | `backups` | backups of running nodes, and nodes started on them |
//! | `crash` | kill -9 under load, any number of times; SIGTERM and SIGSTOP |
//! | `larger` | more records than fit into memory |
//! | `marks` | damage at the end of the log after kill -9 |
//! | `rescue` | the commands that work on a folder: inspect, repair and backup |
//! | `restart` | the state of topics, offsets, producers and subscriptions after a restart |
//! | `folder` | folders that a node refuses to use, and damaged ones |
//! | `descriptors` | a process that runs out of file descriptors |
//! | `calls` | the order of system calls, and a sync that fails |
//! | `full` | a full file system |
//! | `space` | the space of deleted and expired records is reclaimed |
//! | `formats` | folders that earlier versions of the program wrote |
//!
//! Killing a process cannot show that acknowledged records are on the disk and not only in the page cache, because the
//! page cache outlives the process. `calls` shows it from the order of system calls, and `tests/journal` on a simulated
//! disk that loses unsynced writes.

mod acked;
mod backups;
mod calls;
mod crash;
mod descriptors;
mod folder;
mod formats;
mod full;
mod larger;
mod marks;
mod rescue;
mod restart;
mod space;

use std::time::Duration;

pub(crate) use acked::EVERYTHING;
pub(crate) use rescue::{command, said, text};

use crate::cube::Cube;

/// The maximum duration of an orderly shutdown.
const IN_TIME: Duration = Duration::from_secs(10);

impl Cube {
    /// Shuts a node down with SIGTERM.
    pub(crate) fn stop(&mut self, node: u16) {
        let mut daemon = self.take(node);
        daemon.signal("TERM");
        let status = daemon.wait(IN_TIME).unwrap_or_else(|| panic!("still running after {IN_TIME:?}"));
        assert_eq!(status.code(), Some(0), "{status}: {}", daemon.stderr());
    }
}

/// Reports why a test cannot run on this machine.
#[expect(clippy::print_stderr, reason = "a test that was skipped must not look like one that passed")]
pub(crate) fn skip(test: &str, why: &str) {
    eprintln!("{test} is skipped: {why}");
}
