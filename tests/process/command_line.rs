//! What the daemon says when it does not start.

use std::fs;
use std::net::TcpListener;

use tempfile::TempDir;

use crate::daemon::{Daemon, PATIENCE};

/// How a process ended, and what it said.
struct Outcome {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

#[test]
fn what_describes_no_node_is_one_clear_line_and_exit_code_2() {
    let folder = TempDir::new().unwrap();
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let occupied = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = occupied.local_addr().unwrap().to_string();
    let twice = file("twice", "0 127.0.0.1:1\n0 127.0.0.1:2\n1 127.0.0.1:3\n");
    let lacking = file("lacking", "0 127.0.0.1:1\n");
    let senseless = file("senseless", "0 127.0.0.1:1\n1 somewhere\n");
    let in_use = file("in-use", &format!("0 {taken}\n1 127.0.0.1:1\n"));
    let exposed = file("exposed", "0 0.0.0.0:0\n1 127.0.0.1:1\n");
    let absent = folder.path().join("absent").to_str().unwrap().to_owned();
    let cases: [(&str, &[&str]); 16] = [
        ("--id is missing", &[]),
        ("--id 5: the ids of a cube of dimension 3 are 000 to 111", &["--id", "5"]),
        ("are 0 to 1", &["--id", "2", "--dimension", "1"]),
        ("0 to 10 dimensions", &["--id", "0", "--dimension", "11"]),
        ("node 0 stands there twice", &["--id", "0", "--dimension", "1", "--peers", &twice]),
        ("node 1 is missing", &["--id", "0", "--dimension", "1", "--peers", &lacking]),
        ("\"somewhere\" is not IP:PORT", &["--id", "0", "--dimension", "1", "--peers", &senseless]),
        ("cannot read the peers file", &["--id", "0", "--dimension", "1", "--peers", &absent]),
        ("give one of them", &["--id", "0", "--dimension", "1", "--peers", &in_use, "--base-port", "1"]),
        (&taken, &["--id", "0", "--dimension", "1", "--peers", &in_use]),
        ("--insecure-network", &["--id", "0", "--dimension", "1", "--peers", &exposed]),
        ("--insecure-network", &["--id", "000", "--listen", "0.0.0.0"]),
        ("--base-port", &["--id", "000", "--base-port", "70000"]),
        ("--memory", &["--id", "000", "--memory", "much"]),
        ("--nonsense", &["--id", "000", "--nonsense"]),
        ("--id", &["--id"]),
    ];
    for (expected, arguments) in cases {
        let outcome = run(arguments);
        assert_eq!(outcome.code, Some(2), "{arguments:?}: {}", outcome.stderr);
        assert_eq!(outcome.stdout, "", "{arguments:?}");
        let lines: Vec<_> = outcome.stderr.lines().collect();
        assert_eq!(lines.len(), 1, "{arguments:?}: {lines:#?}");
        assert!(lines[0].starts_with("dht-node: ") && lines[0].contains(expected), "{arguments:?}: {}", lines[0]);
    }
}

#[test]
fn version_and_help_are_not_errors() {
    for arguments in [["--version"], ["-V"]] {
        let outcome = run(&arguments);
        let version = concat!("dht-node ", env!("CARGO_PKG_VERSION"), "\n");
        assert_eq!((outcome.code, outcome.stdout.as_str(), outcome.stderr.as_str()), (Some(0), version, ""));
    }
    for arguments in [["--help"], ["-h"]] {
        let outcome = run(&arguments);
        assert_eq!((outcome.code, outcome.stderr.as_str()), (Some(0), ""));
        for option in ["--id", "--peers", "--dimension", "--memory", "--insecure-network", "RUST_LOG"] {
            assert!(outcome.stdout.contains(option), "{option} is not explained:\n{}", outcome.stdout);
        }
    }
}

#[test]
fn a_node_that_others_can_reach_warns_at_its_start() {
    let folder = TempDir::new().unwrap();
    let (peers, log) = (folder.path().join("peers"), folder.path().join("log"));
    fs::write(&peers, "0 0.0.0.0:0\n").unwrap();
    let peers = peers.to_str().unwrap();
    let arguments = ["--id", "0", "--dimension", "0", "--peers", peers, "--insecure-network", "--in-memory"];
    let mut daemon = Daemon::spawn(&arguments, &log);
    let address = daemon.listening().unwrap();
    assert!(address.ip().is_unspecified() && address.port() != 0, "{address}");
    let warning = daemon.stderr();
    assert!(warning.contains("WARN") && warning.contains("without TLS"), "{warning}");
}

fn run(arguments: &[&str]) -> Outcome {
    let folder = TempDir::new().unwrap();
    let mut daemon = Daemon::spawn(arguments, &folder.path().join("log"));
    let status = daemon.wait(PATIENCE).unwrap_or_else(|| panic!("{arguments:?} starts a node"));
    Outcome { code: status.code(), stdout: daemon.stdout().to_owned(), stderr: daemon.stderr() }
}
