//! Real nodes for the tests of the command line.

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};

/// A process of dht-node, which is killed when this is dropped.
pub(crate) struct Node {
    pub(crate) process: Child,
    /// Kept open, so that the node can always write to it.
    _output: BufReader<ChildStdout>,
    pub(crate) address: String,
    /// Kept, because it has the peers file, which the node reads again from time to time.
    _folder: tempfile::TempDir,
}

impl Node {
    /// Starts node `id` of a cube and waits until it listens. `peers` is the text of its peers file.
    pub(crate) fn start(id: usize, dimension: u32, peers: &str) -> Self {
        Self::start_with(id, dimension, peers, &[])
    }

    /// Starts a node like [`Node::start`], with more options.
    pub(crate) fn start_with(id: usize, dimension: u32, peers: &str, options: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let peers_file = folder.path().join("peers");
        std::fs::write(&peers_file, peers).unwrap();
        let width = dimension.max(1) as usize;
        let mut process = Command::new(node_program())
            .args(["--in-memory", "--id", &format!("{id:0width$b}"), "--dimension", &dimension.to_string(), "--peers"])
            .arg(&peers_file)
            .args(options)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut output = BufReader::new(process.stdout.take().unwrap());
        let mut line = String::new();
        assert_ne!(output.read_line(&mut line).unwrap(), 0, "the node ended without printing its address");
        let address = line.trim().rsplit(' ').next().unwrap().to_owned();
        Self { process, _output: output, address, _folder: folder }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Returns the first of `count` consecutive free ports. They are below the system's ephemeral ports, because one of
/// those could be taken by a connection before its node listens.
pub(crate) fn free_ports(count: u16) -> u16 {
    static CALLS: AtomicU16 = AtomicU16::new(0);
    loop {
        let call = CALLS.fetch_add(1, Ordering::SeqCst) + u16::try_from(std::process::id() % 250).unwrap() * 8;
        let base = 12_000 + call * 8;
        if (base..base + count).all(|port| TcpListener::bind(("127.0.0.1", port)).is_ok()) {
            return base;
        }
    }
}

/// Returns the path of the daemon, in the folder of the command line's program. It is built if it is missing, as when
/// only this package was built.
pub(crate) fn node_program() -> PathBuf {
    let program = PathBuf::from(env!("CARGO_BIN_EXE_dht-cli")).with_file_name("dht-node");
    if !program.exists() {
        let mut build = Command::new(env!("CARGO"));
        build.args(["build", "--quiet", "-p", "dht-node", "--bin", "dht-node", "--target-dir"]);
        build.arg(program.parent().and_then(|profile| profile.parent()).unwrap());
        assert!(build.status().unwrap().success());
    }
    program
}
