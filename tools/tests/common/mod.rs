//! Real nodes for the tests of the command line.

#[path = "../../../tests/support/programs.rs"]
pub(crate) mod programs;

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Stdio};

pub(crate) use programs::free_ports;

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

/// Returns the path of the daemon.
pub(crate) fn node_program() -> PathBuf {
    programs::program("dht-node", env!("CARGO_BIN_EXE_dht-cli"))
}
