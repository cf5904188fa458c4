//! The errors of a daemon that does not start because of its arguments or environment.

use std::fs;
use std::net::TcpListener;

use tempfile::TempDir;

use crate::daemon::{Daemon, PATIENCE};

/// The exit code and the output of a process.
struct Outcome {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

#[test]
fn invalid_arguments_give_one_clear_line_and_exit_code_2() {
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
    // An address that RFC 5737 reserves for documentation.
    let elsewhere = file("elsewhere", "0 203.0.113.1:1\n1 127.0.0.1:1\n");
    let nowhere = file("nowhere", "0 node-0.invalid:1\n1 127.0.0.1:1\n");
    let unreachable = file("unreachable", "0 127.0.0.1:0\n1 127.0.0.1:1 0.0.0.0:1\n");
    let in_use = file("in-use", &format!("0 {taken}\n1 127.0.0.1:1\n"));
    let exposed = file("exposed", "0 0.0.0.0:0\n1 127.0.0.1:1\n");
    let absent = folder.path().join("absent").to_str().unwrap().to_owned();
    let cases: [(&str, &[&str]); 27] = [
        ("--id is missing", &[]),
        ("--id 5: the ids of a cube of dimension 3 are 000 to 111", &["--id", "5"]),
        ("are 0 to 1", &["--id", "2", "--dimension", "1"]),
        ("0 to 10 dimensions", &["--id", "0", "--dimension", "11"]),
        ("node 0 stands there twice", &["--id", "0", "--dimension", "1", "--peers", &twice]),
        ("node 1 is missing", &["--id", "0", "--dimension", "1", "--peers", &lacking]),
        ("\"somewhere\" is not HOST:PORT", &["--id", "0", "--dimension", "1", "--peers", &senseless]),
        ("cannot read the peers file", &["--id", "0", "--dimension", "1", "--peers", &absent]),
        ("give one of them", &["--id", "0", "--dimension", "1", "--peers", &in_use, "--base-port", "1"]),
        (&taken, &["--id", "0", "--dimension", "1", "--peers", &in_use]),
        (
            "no interface of this machine has it",
            &["--id", "0", "--insecure-network", "--dimension", "1", "--peers", &elsewhere],
        ),
        ("--insecure-network", &["--id", "0", "--dimension", "1", "--peers", &exposed]),
        ("--insecure-network", &["--id", "000", "--listen", "0.0.0.0"]),
        ("'70000': the number is too large", &["--id", "000", "--base-port", "70000"]),
        ("'http': not a number", &["--id", "000", "--base-port", "http"]),
        ("--memory", &["--id", "000", "--memory", "much"]),
        ("--memory: at least 1MiB", &["--id", "000", "--memory", "0"]),
        ("--disk is at least 320MiB", &["--id", "000", "--disk", "64M"]),
        ("--retain-age: at least 1ms", &["--id", "000", "--retain-age", "1us"]),
        ("--base-port 0", &["--id", "000", "--base-port", "0"]),
        ("--data is empty", &["--id", "000", "--data", ""]),
        ("--advertise here:0: clients cannot connect", &["--id", "000", "--advertise", "here:0"]),
        ("not an IP address", &["--id", "000", "--listen", "localhost"]),
        ("node-0.invalid, which cannot be looked up", &["--id", "0", "--dimension", "1", "--peers", &nowhere]),
        ("clients cannot connect to 0.0.0.0:1", &["--id", "0", "--dimension", "1", "--peers", &unreachable]),
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
fn options_come_from_the_command_line_or_else_from_the_environment() {
    let environment = ["DHT_NODE_ID=011", "DHT_NODE_IN_MEMORY=1", "DHT_NODE_MEMORY=64M", "DHT_NODE_CLUSTER=other"];
    let shown = |arguments: &[&str]| {
        let outcome = run_in(&environment, &[&["--print-config"], arguments].concat());
        assert_eq!((outcome.code, outcome.stderr.as_str()), (Some(0), ""));
        outcome.stdout.lines().map(str::to_owned).collect::<Vec<_>>()
    };
    let check = |shown: &[String], expected: &[&str]| {
        for line in expected {
            assert!(shown.iter().any(|shown| shown == line), "{line} is not in\n{shown:#?}");
        }
    };
    let base = ["--id 011", "--dimension 3", "--base-port 5000", "--listen 127.0.0.1", "--in-memory"];
    check(&shown(&[]), &[&base, ["--memory 62500KiB", "--cluster other"].as_slice()].concat());
    check(&shown(&["--memory", "64MiB"]), &[&base, ["--memory 64MiB", "--cluster other"].as_slice()].concat());
    let on_disk = shown(&["--data", "/x", "--listen", "[::1]"]);
    check(&on_disk, &["--data /x", "--disk 16GiB", "--sync always", "--listen ::1"]);
    assert!(!on_disk.contains(&"--in-memory".to_owned()), "{on_disk:#?}");
}

#[test]
fn an_invalid_environment_gives_an_error_that_names_the_variable() {
    let cases: [(&str, &str); 4] = [
        ("DHT_NODE_IN_MEMORY=maybe", "DHT_NODE_IN_MEMORY=maybe: write 1"),
        ("DHT_NODE_MEMORY=0", "--memory: at least 1MiB is needed"),
        ("DHT_NODE_MEMORY=much", "(the environment sets DHT_NODE_MEMORY)"),
        ("DHT_NODE_MEMROY=1GiB", "DHT_NODE_MEMROY sets no option; did you mean DHT_NODE_MEMORY?"),
    ];
    for (variable, expected) in cases {
        let outcome = run_in(&[variable], &["--id", "000"]);
        assert_eq!((outcome.code, outcome.stdout.as_str()), (Some(2), ""), "{variable}");
        assert_eq!(outcome.stderr.lines().count(), 1, "{variable}: {}", outcome.stderr);
        assert!(outcome.stderr.contains(expected), "{variable}: {}", outcome.stderr);
    }
    let outcome =
        run_in(&["DHT_NODE_TOKEN=a-secret", "DHT_NODE_PORT=tcp://10.0.0.1:80"], &["--id", "000", "--print-config"]);
    assert_eq!(outcome.code, Some(0));
    let warning = "WARN  node 000 main: ignored environment variables that set no option: DHT_NODE_";
    assert!(outcome.stderr.contains(warning), "{}", outcome.stderr);
    assert!(["DHT_NODE_TOKEN", "DHT_NODE_PORT"].iter().all(|name| outcome.stderr.contains(name)), "{}", outcome.stderr);
    assert!(!outcome.stderr.contains("a-secret"), "{}", outcome.stderr);
}

#[test]
fn a_node_that_listens_on_the_network_logs_a_warning_at_its_start() {
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
    run_in(&[], arguments)
}

/// Runs a node with these variables in its environment, until it exits.
fn run_in(variables: &[&str], arguments: &[&str]) -> Outcome {
    let folder = TempDir::new().unwrap();
    let program = if variables.is_empty() { Vec::new() } else { [&["env"], variables].concat() };
    let mut daemon = Daemon::spawn_under(&program, arguments, &folder.path().join("log"));
    let status = daemon.wait(PATIENCE).unwrap_or_else(|| panic!("{arguments:?} starts a node"));
    Outcome { code: status.code(), stdout: daemon.stdout().to_owned(), stderr: daemon.stderr() }
}
