//! What is acknowledged stays: real processes on a real disk.
//!
//! | file | what |
//! |---|---|
//! | `acked` | writers that know what was acknowledged to them, and the check that it is all there |
//! | `backups` | backups of running nodes, and starts on them |
//! | `crash` | kill -9 under load, as often as one likes; SIGTERM and SIGSTOP |
//! | `larger` | more records than memory |
//! | `marks` | damage at the end of the log after kill -9 |
//! | `rescue` | the commands on a folder: inspect, repair and backup |
//! | `restart` | what topics, offsets, producers and subscriptions are after a restart |
//! | `folder` | folders that a node does not take, and damaged ones |
//! | `descriptors` | a process that is refused descriptors |
//! | `calls` | the order of system calls, and a sync that fails |
//! | `full` | a full file system |
//! | `space` | what is deleted or expires gives its space back |
//! | `formats` | folders that earlier versions of the program wrote |
//!
//! The page cache outlives a process: that what was acknowledged is on the disk and not only in the cache is what
//! `calls` sees, and `tests/journal` on a disk that forgets.

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

use crate::cube::Cube;

/// How long a node may take to end when it is asked to.
const IN_TIME: Duration = Duration::from_secs(10);

impl Cube {
    /// Ends a node as it should be ended.
    pub(crate) fn stop(&mut self, node: u16) {
        let mut daemon = self.take(node);
        daemon.signal("TERM");
        let status = daemon.wait(IN_TIME).unwrap_or_else(|| panic!("not gone after {IN_TIME:?}"));
        assert_eq!(status.code(), Some(0), "{status}: {}", daemon.stderr());
    }
}

/// Says why a test has nothing to say on this machine.
#[expect(clippy::print_stderr, reason = "a test that was skipped must not look like one that passed")]
pub(crate) fn skip(test: &str, why: &str) {
    eprintln!("{test} is skipped: {why}");
}
