//! One `dht-node` process: its output, its exit status, and the memory and CPU time that it uses.

use std::fs::{self, File};
use std::io::{ErrorKind, Read};
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use dht_client::Deadline;

/// The timeout of everything that is expected to happen: much longer than needed, in case the machine is busy.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// A process. Dropping it kills the process, checks that it was running until then and did not panic, and prints its
/// log if the test has failed.
pub(crate) struct Daemon {
    child: Child,
    /// Connected to its stdout. A socket, unlike a pipe, supports reads with a timeout.
    output: UnixStream,
    stdout: String,
    log: PathBuf,
    is_over: bool,
}

impl Daemon {
    /// Starts a node. Its stderr is appended to the file `log`.
    pub(crate) fn spawn(arguments: &[&str], log: &Path) -> Self {
        Self::spawn_under(&[], arguments, log)
    }

    /// Starts a node by means of another program, which must `exec` it and so keep the pid.
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

    /// Returns its process id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Returns the address that it reports to listen on, or `None` if it exited without reporting one.
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

    /// Sends the signal with this name.
    pub(crate) fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        let status = Command::new("kill").args(["-s", name, &pid]).status().unwrap();
        assert!(status.success(), "kill -s {name} {pid}: {status}");
        if name == "STOP" {
            // The signal takes effect a little later: until then the process may still be woken.
            wait_for("it has stopped", || self.status_field("State:").starts_with('T').then_some(()));
        }
    }

    /// Kills it with SIGKILL, as in a crash.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.is_over = true;
    }

    /// Waits for it to exit and returns its status, or `None` after the timeout.
    pub(crate) fn wait(&mut self, patience: Duration) -> Option<ExitStatus> {
        let deadline = Deadline::after(patience);
        // Its end of the socket is closed only when the process has exited.
        while self.read_output(deadline)? > 0 {}
        self.is_over = true;
        Some(self.child.wait().unwrap())
    }

    /// Returns its output on stdout that has been read so far.
    pub(crate) fn stdout(&self) -> &str {
        &self.stdout
    }

    /// Returns its output on stderr.
    pub(crate) fn stderr(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }

    /// Returns the number of its log lines that contain the phrase. The phrase must occur in the program's source, so
    /// that a test that expects zero lines fails when the message is reworded.
    pub(crate) fn logged(&self, phrase: &str) -> usize {
        assert!(sources().contains(phrase), "no message of the node says {phrase:?}: follow its new wording");
        self.stderr().lines().filter(|line| line.contains(phrase)).count()
    }

    /// Returns its current and its peak resident memory, in KiB.
    pub(crate) fn memory_kib(&self) -> (u64, u64) {
        let kib = |name| self.status_field(name).trim_end_matches(" kB").parse().unwrap();
        (kib("VmRSS:"), kib("VmHWM:"))
    }

    /// Returns the CPU time that it has used.
    pub(crate) fn processor_time(&self) -> Duration {
        let times = fs::read_to_string(format!("/proc/{}/schedstat", self.child.id())).unwrap();
        Duration::from_nanos(times.split_whitespace().next().unwrap().parse().unwrap())
    }

    /// Returns the value of this field in `/proc/PID/status`.
    fn status_field(&self, name: &str) -> String {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        status.lines().find_map(|line| line.strip_prefix(name)).unwrap().trim().to_owned()
    }

    /// Reads more of its stdout. Returns the number of bytes, 0 at the end of the output, or `None` after the deadline.
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
                    let is_transient = [ErrorKind::WouldBlock, ErrorKind::TimedOut, ErrorKind::Interrupted];
                    assert!(is_transient.contains(&error.kind()), "reading the node's stdout: {error}");
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
            state = format!("{}, {:?} of CPU time", self.status_field("State:"), self.processor_time());
            self.child.kill().unwrap();
            self.child.wait().unwrap();
        }
        let log = self.stderr();
        if std::thread::panicking() {
            show(&format!("--- {}: {state}\n{}{log}", self.log.display(), self.stdout));
        } else {
            assert!(ended.is_none(), "the node exited unexpectedly, {ended:?}:\n{log}");
            assert!(!log.contains("panicked"), "{log}");
        }
    }
}

/// Returns the text of all source files of the program.
fn sources() -> &'static str {
    static TEXT: OnceLock<String> = OnceLock::new();
    TEXT.get_or_init(|| {
        let mut text = String::new();
        let mut folders = ["src", "protocol/src"].map(|name| Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).to_vec();
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

/// Repeats `attempt` until it returns a value, and fails after [`PATIENCE`].
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

/// Waits for this long, by reading with a timeout from a socket that nobody writes to.
pub(crate) fn pause(time: Duration) {
    let (mut ours, _theirs) = UnixStream::pair().unwrap();
    ours.set_read_timeout(Some(time)).unwrap();
    let nothing = ours.read(&mut [0]);
    assert!(nothing.is_err(), "nobody writes to this socket: {nothing:?}");
}

#[expect(clippy::print_stderr, reason = "the test runner shows it when the test has failed")]
fn show(text: &str) {
    eprintln!("{text}");
}
