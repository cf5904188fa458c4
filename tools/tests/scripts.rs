//! `scripts/benchmark.sh` on real cubes: one that runs, and one that it starts and ends itself.

#![expect(clippy::unwrap_used, reason = "what a test did not expect, fails it")]

mod common;

use std::path::Path;
use std::process::{Command, Output, Stdio};

use common::{Node, node_program};

/// A sweep that takes a moment.
const SHORT: [&str; 8] = ["--quick", "-k1,3", "-d", "50ms", "--warmup=0", "-c2", "-t", "publish,query"];

fn benchmark(words: &[&str], out: &Path) -> Output {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut script = Command::new(root.join("scripts/benchmark.sh"));
    script.args(words).arg("--out").arg(out).stdin(Stdio::null());
    script.env("DHT_BIN_DIR", node_program().parent().unwrap()).env_remove("DHT_SERVER").env_remove("DHT_TIMEOUT");
    script.output().unwrap()
}

/// It ended well, said where the report is, and that is there.
fn check(output: &Output, out: &Path) -> String {
    let told = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8(bytes.clone()).unwrap());
    assert_eq!(output.status.code(), Some(0), "{}{}", told[0], told[1]);
    let report = std::fs::read_to_string(out.join("report.json")).unwrap();
    assert!(report.contains("\"publish\"") && report.contains("\"query\"") && !report.contains("\"create\""));
    assert!(told[0].ends_with(&format!("report    {}\n", out.display())), "{}", told[0]);
    assert!(told[1].contains("Points    2 (1 … 3 topics), 1 run each"), "{}", told[1]);
    told[0].clone()
}

#[test]
fn a_running_cube_is_measured_and_left_alone() {
    let node = Node::start(0, 0, "0 127.0.0.1:0\n");
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("report");
    let mut words = vec!["-s", &node.address];
    words.extend(SHORT);
    let told = check(&benchmark(&words, &out), &out);
    assert!(told.contains(&format!("measuring the cube at {}\n", node.address)), "{told}");
    let mut ping = Command::new(env!("CARGO_BIN_EXE_dht-cli"));
    assert!(ping.args(["-s", &node.address, "ping"]).output().unwrap().status.success());
}

#[test]
fn without_one_a_cube_is_started_and_ended() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("report");
    let mut words = vec!["--own", "--dimension", "1"];
    words.extend(SHORT);
    let told = check(&benchmark(&words, &out), &out);
    assert!(told.starts_with("starting  a cube of 2 nodes of its own\n"), "{told}");
    let address = told.split_once("measuring the cube at ").unwrap().1.lines().next().unwrap();
    assert!(std::net::TcpStream::connect(address).is_err(), "nothing listens at {address} any more");
}

#[test]
fn what_cannot_be_measured_is_told() {
    let folder = tempfile::tempdir().unwrap();
    for (words, code, part) in [
        (vec!["--dimension", "11"], 2, "a cube has 0 to 10 dimensions"),
        (vec!["--own", "-s", "127.0.0.1:1"], 2, "exclude each other"),
        (vec!["-s", "127.0.0.1:1"], 1, "the cube at 127.0.0.1:1 is not up as a whole"),
        (vec!["--sync", "never"], 2, "it is always, interval=TIME"),
        (vec!["--sync", "memory", "-s", "127.0.0.1:1"], 2, "a running one is as it is"),
        (vec!["--own", "--no-such-option"], 2, "unknown option --no-such-option"),
    ] {
        let output = benchmark(&words, &folder.path().join("report"));
        let told = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.code() == Some(code) && told.contains(part), "{words:?}: {told}");
        assert!(output.stdout.is_empty(), "{words:?}: nothing was started");
    }
}
