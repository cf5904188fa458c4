//! The client that protocol.md shows runs as it stands there.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::cube::Cube;

const FIRST_LINE: &str = "# first_client.py\n";

#[test]
fn the_first_client_of_the_protocol_publishes_and_reads_through_every_node() {
    if Command::new("python3").arg("--version").output().is_err() {
        return skip("there is no python3");
    }
    let document = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("protocol.md")).unwrap();
    let mut blocks = document.split("\n```python\n").skip(1);
    let Some(block) = blocks.find(|block| block.starts_with(FIRST_LINE)) else {
        return skip("protocol.md has no first_client.py");
    };
    let program = block.split("\n```").next().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("first_client.py");
    fs::write(&path, format!("{program}\n")).unwrap();
    let cube = Cube::start(3);
    for (turn, node) in cube.living().into_iter().enumerate() {
        let address = cube.address(node);
        let mut python = Command::new("python3");
        let run = python.arg(&path).args([address.ip().to_string(), address.port().to_string()]).output().unwrap();
        let (out, err) = (String::from_utf8_lossy(&run.stdout), String::from_utf8_lossy(&run.stderr));
        assert!(run.status.success(), "through node {node}: {out}{err}");
        assert_eq!(out, format!("{} hello\n{} world\n", 2 * turn, 2 * turn + 1), "through node {node}: {err}");
        assert_eq!(err, "");
    }
}

#[expect(clippy::print_stderr, reason = "the test runner shows it with --nocapture")]
fn skip(why: &str) {
    eprintln!("skipped: {why}");
}
