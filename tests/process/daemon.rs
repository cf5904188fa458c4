//! One `dht-node` process: what it says, how it ends, what it takes of the machine.

use std::fs::{self, File};
use std::io::{ErrorKind, Read};
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use dht_node::client::Deadline;

/// How long anything may take that is to happen at all: far more than it does, for a machine that is busy.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// A process. Dropping it ends it, checks that it was well until then, and shows its log when the test has failed.
pub(crate) struct Daemon {
    child: Child,
    /// The other end is its stdout: reading from a socket can have a deadline, reading from a pipe cannot.
    output: UnixStream,
    stdout: String,
    log: PathBuf,
    is_over: bool,
}

impl Daemon {
    /// Starts one; what it writes to stderr goes to the end of `log`.
    pub(crate) fn spawn(arguments: &[&str], log: &Path) -> Self {
        Self::spawn_under(&[], arguments, log)
    }

    /// The same by another program, which becomes the node without another pid.
    pub(crate) fn spawn_under(program: &[&str], arguments: &[&str], log: &Path) -> Self {
        let (output, theirs) = UnixStream::pair().unwrap();
        let stderr = File::options().create(true).append(true).open(log).unwrap();
        let words = [program, &[env!("CARGO_BIN_EXE_dht-node")], arguments].concat();
        let child = Command::new(words[0])
            .args(&words[1..])
            .stdin(Stdio::null())
            .stdout(Stdio::from(OwnedFd::from(theirs)))
            .stderr(stderr)
            .spawn()
            .unwrap();
        Self { child, output, stdout: String::new(), log: log.to_owned(), is_over: false }
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The address that it says it listens on; `None` when it ended instead.
    pub(crate) fn listening(&mut self) -> Option<SocketAddr> {
        let deadline = Deadline::after(PATIENCE);
        while !self.stdout.contains('\n') {
            if self.read_output(deadline)? == 0 {
                return None;
            }
        }
        let line = self.stdout.lines().next()?;
        let address = line.split(" listens on ").nth(1).unwrap_or_else(|| panic!("{line:?} names no address"));
        Some(address.parse().unwrap())
    }

    /// Sends a signal by its name.
    pub(crate) fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        let status = Command::new("kill").args(["-s", name, &pid]).status().unwrap();
        assert!(status.success(), "kill -s {name} {pid}: {status}");
    }

    /// Ends it without a word, as a crash does.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.is_over = true;
    }

    /// How it ended; `None` when it has not by then.
    pub(crate) fn wait(&mut self, patience: Duration) -> Option<ExitStatus> {
        let deadline = Deadline::after(patience);
        // Its end of the socket is closed when it is gone, and not before.
        while self.read_output(deadline)? > 0 {}
        self.is_over = true;
        Some(self.child.wait().unwrap())
    }

    /// What it wrote to stdout, as far as it was read.
    pub(crate) fn stdout(&self) -> &str {
        &self.stdout
    }

    /// What it wrote to stderr.
    pub(crate) fn stderr(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }

    /// How many of its log lines hold the phrase. The phrase must stand in the program's source, so that a test that
    /// expects none, or waits for one, does not go stale when the message is worded anew.
    pub(crate) fn logged(&self, phrase: &str) -> usize {
        assert!(sources().contains(phrase), "no message of the node says {phrase:?}: follow its new wording");
        self.stderr().lines().filter(|line| line.contains(phrase)).count()
    }

    /// KiB of memory that it has now, and the most that it ever had.
    pub(crate) fn memory_kib(&self) -> (u64, u64) {
        let kib = |name| self.status_field(name).trim_end_matches(" kB").parse().unwrap();
        (kib("VmRSS:"), kib("VmHWM:"))
    }

    /// The time that it has spent on a processor.
    pub(crate) fn processor_time(&self) -> Duration {
        let times = fs::read_to_string(format!("/proc/{}/schedstat", self.child.id())).unwrap();
        Duration::from_nanos(times.split_whitespace().next().unwrap().parse().unwrap())
    }

    /// What the system says of it under that name.
    fn status_field(&self, name: &str) -> String {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        status.lines().find_map(|line| line.strip_prefix(name)).unwrap().trim().to_owned()
    }

    /// Reads on: the bytes that came, 0 at its end, `None` when nothing came by the deadline.
    fn read_output(&mut self, deadline: Deadline) -> Option<usize> {
        let mut bytes = [0; 4096];
        loop {
            let left = deadline.remaining().filter(|left| !left.is_zero())?;
            self.output.set_read_timeout(Some(left)).unwrap();
            match self.output.read(&mut bytes) {
                Ok(count) => {
                    self.stdout.push_str(std::str::from_utf8(&bytes[..count]).unwrap());
                    return Some(count);
                }
                Err(error) => {
                    let goes_on = [ErrorKind::WouldBlock, ErrorKind::TimedOut, ErrorKind::Interrupted];
                    assert!(goes_on.contains(&error.kind()), "reading what the node says: {error}");
                }
            }
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let ended = if self.is_over { None } else { self.child.try_wait().unwrap() };
        let mut state = format!("{ended:?}");
        if !self.is_over && ended.is_none() {
            state = format!("{}, {:?} of processor time", self.status_field("State:"), self.processor_time());
            self.child.kill().unwrap();
            self.child.wait().unwrap();
        }
        let log = self.stderr();
        if std::thread::panicking() {
            show(&format!("--- {}: {state}\n{}{log}", self.log.display(), self.stdout));
        } else {
            assert!(ended.is_none(), "the node ended by itself, {ended:?}:\n{log}");
            assert!(!log.contains("panicked"), "{log}");
        }
    }
}

/// The text of the program's source files.
fn sources() -> &'static str {
    static TEXT: OnceLock<String> = OnceLock::new();
    TEXT.get_or_init(|| {
        let mut text = String::new();
        let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("src")];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else {
                    text.push_str(&fs::read_to_string(path).unwrap());
                }
            }
        }
        text
    })
}

/// Asks until there is an answer.
pub(crate) fn wait_for<T>(what: &str, mut attempt: impl FnMut() -> Option<T>) -> T {
    let deadline = Deadline::after(PATIENCE);
    loop {
        if let Some(found) = attempt() {
            return found;
        }
        assert!(!deadline.is_over(), "not within {PATIENCE:?}: {what}");
        pause(Duration::from_millis(20));
    }
}

/// Lets so much time pass: a read from a socket to which nobody writes.
pub(crate) fn pause(time: Duration) {
    let (mut ours, _theirs) = UnixStream::pair().unwrap();
    ours.set_read_timeout(Some(time)).unwrap();
    let nothing = ours.read(&mut [0]);
    assert!(nothing.is_err(), "nobody writes there: {nothing:?}");
}

#[expect(clippy::print_stderr, reason = "the test runner shows it when the test has failed")]
fn show(text: &str) {
    eprintln!("{text}");
}
