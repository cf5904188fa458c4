//! Real nodes for the tests of the command line.

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};

/// A process of dht-node; ended when dropped.
pub(crate) struct Node {
    pub(crate) process: Child,
    /// Kept open, so that the node can always write.
    _output: BufReader<ChildStdout>,
    pub(crate) address: String,
    /// With its peers file, which it reads again now and then.
    _folder: tempfile::TempDir,
}

impl Node {
    /// Node `id` of a cube, as soon as it listens; `peers` is the text of its peers file.
    pub(crate) fn start(id: usize, dimension: u32, peers: &str) -> Self {
        Self::start_with(id, dimension, peers, &[])
    }

    /// The same with more options.
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
        assert_ne!(output.read_line(&mut line).unwrap(), 0, "the node says where it listens");
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

/// The first of so many ports in a row that are free, below those that the system gives to connections: one of these
/// could be taken before its node listens.
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

/// The daemon stands beside the command line; it is built if only this package was.
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
