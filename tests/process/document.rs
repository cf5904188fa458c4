//! The client program printed in protocol.md works, and so does each version printed earlier: a change of the protocol
//! must not break clients that were written from an earlier text.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use dht_client::Batch;

use crate::cube::Cube;
use crate::daemon::PATIENCE;

const FIRST_LINE: &str = "# first_client.py\n";
const TOPIC: &str = "first-client";
/// The client's flow-control window in bytes, which it extends with CREDIT.
const WINDOW: usize = 1 << 16;

/// The clients that were printed in protocol.md in the past, oldest first.
const EARLIER: [&str; 1] = [include_str!("clients/first_client_1.py")];

#[test]
fn the_first_client_of_the_protocol_publishes_reads_and_subscribes_through_every_node() {
    let document = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("protocol.md")).unwrap();
    let mut blocks = document.split("\n```python\n").skip(1);
    let block = blocks.find(|block| block.starts_with(FIRST_LINE)).expect("protocol.md has a first_client.py");
    run_through_every_node(block.split("\n```").next().unwrap());
}

#[test]
fn clients_written_from_earlier_texts_of_the_protocol_still_work() {
    EARLIER.into_iter().for_each(run_through_every_node);
}

fn run_through_every_node(program: &str) {
    if Command::new("python3").arg("--version").output().is_err() {
        return skip("there is no python3");
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("first_client.py");
    fs::write(&path, format!("{program}\n")).unwrap();

    let cube = Cube::start(3);
    let mut clients: Vec<_> = cube
        .living()
        .into_iter()
        .map(|node| {
            let mut client = Python::start(&path, cube.address(node));
            let first = 2 * u64::from(node);
            client.expect(&[&format!("{first} hello"), &format!("{} world", first + 1)]);
            client.expect(&[&format!("subscribed from {}", first + 2)]);
            client
        })
        .collect();

    // All subscriptions are acknowledged, so each client receives what later clients published, and what is published
    // now.
    let own = 2 * clients.len() as u64;
    let published = cube.client(5).publish(TOPIC, &Batch::of(b"again")).unwrap();
    assert_eq!(published.base.0, own);
    for (client, first) in clients.iter_mut().zip((2..).step_by(2)) {
        for offset in (first..own).step_by(2) {
            client.expect(&[&format!("{offset} hello"), &format!("{} world", offset + 1)]);
        }
        client.expect(&[&format!("{own} again")]);
    }

    // More bytes than the initial credit.
    let long = "x".repeat(WINDOW / 16);
    let mut publisher = cube.client(2);
    for offset in own + 1..=own + 32 {
        publisher.publish(TOPIC, &Batch::of(long.as_bytes())).unwrap();
        clients.iter_mut().for_each(|client| client.expect(&[&format!("{offset} {long}")]));
    }
}

/// The Python client as a process. Dropping it kills the process and fails the test if it has written to stderr.
struct Python {
    child: Child,
    output: BufReader<UnixStream>,
    errors: PathBuf,
}

impl Python {
    fn start(program: &Path, node: SocketAddr) -> Self {
        // A socket, unlike a pipe, supports reads with a timeout.
        let (output, theirs) = UnixStream::pair().unwrap();
        output.set_read_timeout(Some(PATIENCE)).unwrap();
        let errors = program.with_file_name(format!("errors-{}", node.port()));
        let child = Command::new("python3")
            .arg(program)
            .args([node.ip().to_string(), node.port().to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::from(OwnedFd::from(theirs)))
            .stderr(File::create(&errors).unwrap())
            .spawn()
            .unwrap();
        Self { child, output: BufReader::new(output), errors }
    }

    /// Checks that the program prints these lines next.
    fn expect(&mut self, lines: &[&str]) {
        for expected in lines {
            let mut line = String::new();
            let read = self.output.read_line(&mut line);
            let complaint = fs::read_to_string(&self.errors).unwrap();
            assert!(read.is_ok_and(|count| count > 0), "waiting for {expected:?}: {complaint}");
            assert_eq!(line.trim_end_matches('\n'), *expected, "{complaint}");
        }
    }
}

impl Drop for Python {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        let complaint = fs::read_to_string(&self.errors).unwrap();
        assert!(std::thread::panicking() || complaint.is_empty(), "{complaint}");
    }
}

#[expect(clippy::print_stderr, reason = "the test runner shows it with --nocapture")]
fn skip(why: &str) {
    eprintln!("skipped: {why}");
}
