//! `scripts/benchmark.sh` on a running cube, and on one that it starts and stops itself. `scripts/deploy.sh` and
//! existing data. What `scripts/cleanup.sh` removes.

#![expect(clippy::unwrap_used, reason = "an unexpected result fails the test")]

mod common;

use std::io::{BufRead, BufReader, Read};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Output, Stdio};

use common::programs::program;
use common::{Node, free_ports, node_program};

/// Options for a short sweep.
const SHORT: [&str; 8] = ["--quick", "-k1,3", "-d", "50ms", "--warmup=0", "-c2", "-t", "publish,query"];

fn benchmark(words: &[&str], out: &Path) -> Output {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut script = Command::new(root.join("scripts/benchmark.sh"));
    script.args(words).arg("--out").arg(out).stdin(Stdio::null());
    script.env("DHT_BIN_DIR", node_program().parent().unwrap()).env_remove("DHT_SERVER").env_remove("DHT_TIMEOUT");
    script.output().unwrap()
}

/// Checks that the benchmark succeeded, printed the folder of the report, and wrote the report. Returns its stdout.
fn check(output: &Output, out: &Path) -> String {
    let printed = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8(bytes.clone()).unwrap());
    assert_eq!(output.status.code(), Some(0), "{}{}", printed[0], printed[1]);
    let report = std::fs::read_to_string(out.join("report.json")).unwrap();
    assert!(report.contains("\"publish\"") && report.contains("\"query\"") && !report.contains("\"create\""));
    assert!(printed[0].ends_with(&format!("report    {}\n", out.display())), "{}", printed[0]);
    assert!(printed[1].contains("Points    2 (1 … 3 topics), 1 run each"), "{}", printed[1]);
    printed[0].clone()
}

#[test]
fn a_running_cube_is_measured_and_left_alone() {
    let node = Node::start(0, 0, "0 127.0.0.1:0\n");
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("report");
    let mut words = vec!["-s", &node.address];
    words.extend(SHORT);
    let printed = check(&benchmark(&words, &out), &out);
    assert!(printed.contains(&format!("measuring the cube at {}\n", node.address)), "{printed}");
    let mut ping = Command::new(env!("CARGO_BIN_EXE_dht-cli"));
    assert!(ping.args(["-s", &node.address, "ping"]).output().unwrap().status.success());
}

#[test]
fn without_a_running_cube_one_is_started_and_stopped() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("report");
    let mut words = vec!["--own", "--dimension", "1"];
    words.extend(SHORT);
    let printed = check(&benchmark(&words, &out), &out);
    assert!(printed.starts_with("starting  a cube of 2 nodes of its own\n"), "{printed}");
    let address = printed.split_once("measuring the cube at ").unwrap().1.lines().next().unwrap();
    assert!(TcpStream::connect(address).is_err(), "nothing listens at {address} any more");
}

#[test]
fn invalid_options_and_unreachable_cubes_are_refused() {
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
        let printed = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.code() == Some(code) && printed.contains(part), "{words:?}: {printed}");
        assert!(output.stdout.is_empty(), "{words:?}: nothing was started");
    }
}

/// The folder and the ports of a cube of `deploy.sh`, which is stopped when this is dropped.
struct Deployment {
    folder: tempfile::TempDir,
    base: u16,
}

impl Deployment {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap(), base: free_ports(4) }
    }

    fn command(&self, bash: &[&str], words: &str) -> Command {
        let mut script = self.command_without_port(bash, words);
        script.args(["--base-port", &self.base.to_string()]);
        script
    }

    fn command_without_port(&self, bash: &[&str], words: &str) -> Command {
        let mut script = Command::new("bash");
        script.args(bash).arg(Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("scripts/deploy.sh"));
        script.args(words.split_whitespace()).args(["--data", "run"]);
        script.current_dir(self.folder.path()).stdin(Stdio::null());
        script.env("DHT_BIN_DIR", node_program().parent().unwrap()).env_remove("DHT_SERVER").env_remove("RUST_LOG");
        script
    }

    /// Runs `deploy.sh`, and returns its exit code and output.
    fn run(&self, words: &str) -> (Option<i32>, String) {
        let output = self.command(&[], words).output().unwrap();
        let printed = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap()).concat();
        (output.status.code(), printed)
    }

    fn check(&self, words: &str, code: i32, parts: &[&str]) {
        let (found, printed) = self.run(words);
        assert_eq!(found, Some(code), "{words}: {printed}");
        for part in parts {
            let part = part.replace("RUN", self.folder.path().join("run").to_str().unwrap());
            assert!(printed.contains(&part), "{words}: {printed} should contain {part:?}");
        }
    }
}

impl Drop for Deployment {
    fn drop(&mut self) {
        let _ = self.command(&[], "clean").output();
    }
}

#[test]
fn a_start_is_refused_if_the_folder_has_data_that_the_cube_would_not_read() {
    let cube = Deployment::new();
    cube.check("start --dimension 1", 0, &["starting  2 of 2 nodes", "data      RUN: 0 topics found"]);
    let mut create = Command::new(env!("CARGO_BIN_EXE_dht-cli"));
    let server = format!("127.0.0.1:{}", cube.base);
    assert!(create.args(["-s", &server, "create", "a", "b", "c"]).output().unwrap().status.success());
    cube.check("start --dimension 2", 1, &["another cube runs from ./run: dimension 1"]);
    cube.check("restart --dimension 2", 1, &["a cube of dimension 2 would begin without it"]);
    cube.check("status", 0, &["2 of 2 nodes up"]);
    cube.check("stop", 0, &["stopped   2 nodes"]);
    let refusals = [
        (
            "start --dimension 2",
            "./run holds the data of 2 nodes, 0 to 1; a cube of dimension 2 would begin without it",
        ),
        ("start --dimension 0", "a cube of dimension 0 would begin without it"),
        ("start --sync memory", "./run holds the data of 2 nodes, 0 to 1; with --sync memory none of it would be read"),
    ];
    for (words, part) in refusals {
        cube.check(words, 1, &[part, "--data DIR", "deploy.sh --data ./run clean"]);
        assert!(TcpListener::bind(("127.0.0.1", cube.base)).is_ok(), "{words}: nothing was started");
    }
    cube.check("start --dimension 2", 1, &["deploy.sh --data ./run --dimension 1"]);
    cube.check("start", 0, &["starting  2 of 2 nodes", "data      RUN: 3 topics found"]);
    cube.check("clean", 0, &["stopped   2 nodes", "cleaned   ./run"]);
    cube.check("start --dimension 0 --sync memory", 0, &["starting  1 of 1 node"]);
}

#[test]
fn a_cube_that_was_stopped_starts_on_the_same_ports_and_stores_in_the_same_way() {
    let cube = Deployment::new();
    cube.check("start --dimension 0 --sync memory", 0, &["starting  1 of 1 node"]);
    for ended in ["stopped   1 node", "stopped   nothing ran"] {
        cube.check("stop", 0, &[ended]);
    }
    let output = cube.command_without_port(&[], "start --dimension 0").output().unwrap();
    let printed = String::from_utf8(output.stdout).unwrap();
    assert!(printed.contains(&format!("starting  1 of 1 node, ports {0} to {0}", cube.base)), "{printed}");
    assert!(!printed.contains("data      "), "it was in memory, and is again: {printed}");
    cube.check("stop", 0, &["stopped   1 node"]);
    cube.check("start --dimension 0 --sync always", 0, &["data      RUN: 0 topics found"]);
}

#[test]
fn a_cube_is_started_with_the_number_of_copies_that_it_had() {
    let cube = Deployment::new();
    cube.check("start --dimension 2 --replicas 2", 2, &["one or three nodes keep each topic"]);
    cube.check("start --dimension 2 --replicas 3", 0, &["starting  4 of 4 nodes"]);
    let is_kept_by_three = || {
        let identity = std::fs::read_to_string(cube.folder.path().join("run/node-10/identity")).unwrap();
        identity.contains("\nreplicas 3\n")
    };
    assert!(is_kept_by_three());
    cube.check("stop", 0, &["stopped   4 nodes"]);
    cube.check("start", 0, &["4 of 4 nodes up, 4 of 4 links up"]);
    cube.check("restart --replicas 1", 1, &["this data folder is of a cube in which three nodes keep each topic"]);
    assert!(is_kept_by_three());
}

#[test]
fn the_gateway_is_part_of_the_status_and_ends_and_restarts_with_the_nodes() {
    let _ = program("dht-gateway", env!("CARGO_BIN_EXE_dht-cli"));
    let cube = Deployment::new();
    let port = cube.base + 3;
    let [up, down] = ["up", "down"].map(|state| format!("{state}: http://127.0.0.1:{port}\n2 of 2 nodes up"));
    let started = format!("The gateway is up. To try:\n  curl -X PUT http://127.0.0.1:{port}/v1/topics/weather");
    cube.check(&format!("start --dimension 1 --sync memory --gateway-port {port}"), 0, &[&started]);
    cube.check("status", 0, &[&up]);
    cube.check("start", 0, &["every node was up already", &format!("is up already at http://127.0.0.1:{port}")]);
    let pid = std::fs::read_to_string(cube.folder.path().join("run/gateway.pid")).unwrap();
    let pid = pid.split(' ').next().unwrap();
    assert!(Command::new("kill").args(["-KILL", pid]).status().unwrap().success());
    // It is gone a moment after the signal.
    while cube.run("status").0 == Some(0) {}
    cube.check("status", 1, &[&down]);
    cube.check("start", 0, &["every node was up already", &started]);
    cube.check("restart", 0, &["stopped   the gateway and 2 nodes", &started]);
    cube.check("status", 0, &[&up]);
    cube.check("stop", 0, &["stopped   the gateway and 2 nodes"]);
    assert!(TcpStream::connect(("127.0.0.1", port)).is_err(), "nothing listens any more");
    let (code, printed) = cube.run("status");
    assert!(code == Some(1) && !printed.contains("gateway"), "{printed}");
    cube.check("clean", 0, &["cleaned   ./run"]);
    assert!(!cube.folder.path().join("run").exists(), "all that was in it is removed");
}

#[test]
fn a_node_logs_its_data_folder_and_the_number_of_topics() {
    let folder = tempfile::tempdir().unwrap();
    let node = |words: &[&str]| {
        let mut node = Command::new(node_program());
        node.args(["--id", "0", "--dimension", "0", "--base-port", &free_ports(1).to_string()]).args(words);
        node.current_dir(folder.path()).env_remove("RUST_LOG").stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut process = node.spawn().unwrap();
        let (mut listens, mut printed) = (String::new(), String::new());
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut listens).unwrap();
        process.kill().unwrap();
        process.stderr.take().unwrap().read_to_string(&mut printed).unwrap();
        process.wait().unwrap();
        (listens, printed)
    };
    let (listens, printed) = node(&["--data", "kept"]);
    let expected = format!("topics are kept in {}: 0 found\n", folder.path().join("kept").display());
    assert!(printed.contains(&expected), "{printed}");
    // The two lines go to different streams, and are in the order of their times.
    let line = printed.lines().find(|line| line.contains("topics are kept")).unwrap();
    assert!(listens.split(' ').next() >= line.split(' ').next(), "{listens}{printed}");
}

#[test]
fn status_does_not_loop_over_every_connection_of_the_machine() {
    if !Path::new("/proc/net/tcp").exists() {
        return;
    }
    // Closed connections stay in the system's tables for a minute.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    for _ in 0..3000 {
        drop(TcpStream::connect(listener.local_addr().unwrap()).unwrap());
        drop(listener.accept().unwrap());
    }
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    assert!(table.lines().count() > 1000, "closed connections are still listed");
    let cube = Deployment::new();
    let output = cube.command(&["-x"], "status --dimension 0").output().unwrap();
    assert_eq!(output.status.code(), Some(1), "the node is down");
    let steps = String::from_utf8(output.stderr).unwrap().lines().count();
    assert!(steps < 1000, "{steps} steps of bash");
}

#[test]
fn all_pairs_of_nodes_publish_and_read() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut script = Command::new(root.join("scripts/peer_test.sh"));
    script.args(["--dimension", "1"]).stdin(Stdio::null());
    script.env("DHT_BIN_DIR", node_program().parent().unwrap()).env_remove("DHT_SERVER").env_remove("DHT_TIMEOUT");
    let output = script.output().unwrap();
    let printed = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap()).concat();
    assert!(output.status.success() && !printed.contains("FAIL"), "{printed}");
}

/// Stops the nodes of a project when it is dropped, also after a failure.
struct Stop<'p>(&'p Path);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        let _ = Command::new("bash").arg(self.0.join("scripts/deploy.sh")).arg("stop").output();
    }
}

#[test]
fn clean_removes_logs_and_build_output_and_no_record() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let makefile = std::fs::read_to_string(root.join("Makefile")).unwrap();
    // A project of its own: `clean` knows no other folders than those of the project that the script belongs to.
    let folder = tempfile::tempdir().unwrap();
    let project = folder.path();
    std::fs::create_dir_all(project.join("scripts")).unwrap();
    for script in ["deploy.sh", "cleanup.sh", "lib.sh"] {
        std::fs::copy(root.join("scripts").join(script), project.join("scripts").join(script)).unwrap();
    }
    std::fs::write(project.join("Cargo.toml"), "[package]\nname = \"p\"\nedition = \"2024\"\n[workspace]\n").unwrap();
    std::fs::create_dir_all(project.join("src")).unwrap();
    std::fs::write(project.join("src/lib.rs"), "").unwrap();
    std::fs::create_dir_all(project.join("target/release")).unwrap();
    std::fs::write(project.join("target/CACHEDIR.TAG"), "Signature: 8a477f597d28d172789f06886806bc55").unwrap();

    let base = free_ports(1).to_string();
    let run = |command: &str| {
        let (script, words) = command.split_once(' ').unwrap_or((command, ""));
        let mut bash = Command::new("bash");
        bash.arg(project.join(script)).args(words.split_whitespace()).current_dir(project).stdin(Stdio::null());
        bash.env("DHT_BIN_DIR", node_program().parent().unwrap()).env_remove("CARGO_TARGET_DIR").env_remove("RUST_LOG");
        let output = bash.output().unwrap();
        let printed = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap()).concat();
        assert!(output.status.success(), "{command}: {printed}");
    };
    let dht_cli = |words: &[&str]| {
        let mut program = Command::new(env!("CARGO_BIN_EXE_dht-cli"));
        let output = program.args(["-s", &format!("127.0.0.1:{base}")]).args(words).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    let start = format!("scripts/deploy.sh start --dimension 0 --base-port {base}");
    let _stop = Stop(project);
    run(&start);
    dht_cli(&["create", "t"]);
    dht_cli(&["publish", "t", "kept"]);
    assert!(project.join("run/node-0.log").exists());

    let clean = "scripts/cleanup.sh --keep-records";
    assert!(
        makefile.contains(&format!(
            "\nclean: ## end the nodes, and remove build output and logs, but no record\n\t{clean}\n"
        ))
    );
    run(clean);
    assert!(!project.join("target").exists() && !project.join("run/node-0.log").exists());
    assert_eq!(dht_cli(&["fetch", "t"]), "", "the node was stopped");
    run(&start);
    assert_eq!(dht_cli(&["fetch", "t"]), "kept\n");

    assert!(makefile.contains("\nclean_data: ## end the nodes, and remove their data, too\n\tscripts/cleanup.sh\n"));
    run("scripts/cleanup.sh");
    assert!(!project.join("run").exists());
}
