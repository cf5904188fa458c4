//! `dht-cli bench` against real cubes: what it measures, what it leaves behind, and what it reports in case of errors.

#![expect(clippy::unwrap_used, reason = "an unexpected result fails the test")]

mod common;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use common::{Node, free_ports};
use serde_json::Value;

/// A cube of real nodes on free ports, which are killed when this is dropped.
struct Cube {
    _nodes: Vec<Node>,
    addresses: Vec<String>,
}

impl Cube {
    fn start(dimension: u32) -> Self {
        let addresses = free_addresses(1 << dimension);
        let width = dimension.max(1) as usize;
        let lines = addresses.iter().enumerate().map(|(id, address)| format!("{id:0width$b} {address}\n"));
        let peers: String = lines.collect();
        let nodes: Vec<_> = (0..addresses.len()).map(|id| Node::start(id, dimension, &peers)).collect();
        let cube = Self { addresses: nodes.iter().map(|node| node.address.clone()).collect(), _nodes: nodes };
        assert!(cube.cli(&["cluster", "--wait", "10s"]).status.success(), "the cube is whole");
        cube
    }

    fn cli(&self, words: &[&str]) -> Output {
        cli(&self.addresses[0], words).output().unwrap()
    }

    /// Runs a benchmark. Returns its exit code, standard output and report.
    fn bench(&self, words: &[&str]) -> (i32, String, Value) {
        bench(&self.addresses[0], words, |_| {})
    }

    fn topics(&self) -> String {
        String::from_utf8(self.cli(&["list"]).stdout).unwrap()
    }
}

fn free_addresses(count: u16) -> Vec<String> {
    let base = free_ports(count);
    (base..base + count).map(|port| format!("127.0.0.1:{port}")).collect()
}

fn cli(server: &str, words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dht-cli"));
    command.args(words).env("DHT_SERVER", server).env_remove("DHT_TIMEOUT").stdin(Stdio::null());
    command
}

/// Runs a benchmark, calls `meanwhile` when its first run is about to begin, and reads its files.
fn bench(server: &str, words: &[&str], meanwhile: impl FnOnce(&Child)) -> (i32, String, Value) {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    let mut command = cli(server, words);
    command.arg("--out").arg(&out).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut process = command.spawn().unwrap();
    let mut printed = BufReader::new(process.stderr.take().unwrap());
    let mut line = String::new();
    while !line.starts_with("Points") {
        line.clear();
        assert_ne!(printed.read_line(&mut line).unwrap(), 0, "the process ended before its first run");
    }
    meanwhile(&process);
    let mut stdout = String::new();
    process.stdout.take().unwrap().read_to_string(&mut stdout).unwrap();
    let mut stderr = String::new();
    printed.read_to_string(&mut stderr).unwrap();
    let code = process.wait().unwrap().code().unwrap();
    let report = std::fs::read(out.join("report.json")).unwrap_or_else(|_| panic!("{code}: {stdout}{stderr}"));
    check_tables(&out);
    assert!(std::fs::read_to_string(out.join("report.html")).unwrap().contains("<h2 id=\"load\">"));
    (code, stdout, serde_json::from_slice(&report).unwrap())
}

/// Checks that every line has as many fields as the heading.
fn check_tables(folder: &Path) {
    for name in ["summary.csv", "timeline.csv"] {
        let table = std::fs::read_to_string(folder.join(name)).unwrap();
        let fields: Vec<_> = table.lines().map(|line| line.split(',').count()).collect();
        assert!(fields.iter().all(|count| *count == fields[0]), "{name}: {table}");
    }
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("{value} is a number"))
}

const QUICK: [&str; 6] = ["-w", "50ms", "-d", "200ms", "-c", "4"];

#[test]
fn every_operation_is_measured_and_no_topics_are_left() {
    let cube = Cube::start(3);
    let all = "create,publish,subscribe,query,fetch,ping,delete,mixed";
    let tests = format!("{all}:1:3");
    let mut words = vec!["bench", "run", "-t", &tests, "-k", "20", "--runs", "2", "-P", "2"];
    words.extend(QUICK);
    let (code, stdout, report) = cube.bench(&words);
    assert_eq!(code, 0, "{stdout}\n{report:#}");
    assert_eq!((report["schema"].as_u64(), report["cluster"]["nodes_up"].as_u64()), (Some(1), Some(8)));
    assert_eq!(report["interrupted"], false);
    let points = report["points"].as_array().unwrap();
    let tests: Vec<_> = points.iter().map(|point| point["test"].as_str().unwrap()).collect();
    assert_eq!(tests.join(","), all);
    for point in points {
        let (latency, rate) = (&point["latency"], &point["rate"]);
        assert_eq!((point["topics"].as_u64(), point["errors"].as_u64()), (Some(20), Some(0)), "{point:#}");
        assert_eq!(point["runs"].as_array().unwrap().len(), 2);
        assert!(number(&rate["min"]) > 0.0 && number(&rate["min"]) <= number(&rate["max"]));
        let ascending = ["min_us", "p50_us", "p90_us", "p99_us", "p999_us"].map(|name| number(&latency[name]));
        assert!(ascending[0] > 0.0 && ascending.is_sorted(), "{latency:#}");
        let runs = point["runs"].as_array().unwrap();
        assert_eq!(number(&point["requests"]), runs.iter().map(|run| number(&run["requests"])).sum::<f64>());
    }
    let placed: f64 = points[1]["placement"].as_array().unwrap().iter().map(number).sum();
    assert_eq!(placed, 20.0);
    let share = |name: &str| points[0]["hops"].as_array().unwrap().iter().map(|hop| number(&hop[name])).sum::<f64>();
    assert!((share("share") - 1.0).abs() < 1e-9 && (share("expected_share") - 1.0).abs() < 1e-9);
    let delivery = &points[2]["delivery"];
    assert!(number(&delivery["delivered"]) > 0.0 && delivery["delivered"] == delivery["published"], "{delivery}");
    assert_eq!([&delivery["lost"], &delivery["damaged"], &delivery["out_of_order"]].map(number), [0.0; 3]);
    assert!(stdout.contains("closed loop: stalls are under-counted"), "{stdout}");
    assert_eq!(cube.topics(), "");
}

#[test]
fn a_sweep_has_a_point_for_every_number_of_topics() {
    let cube = Cube::start(0);
    let (code, stdout, report) =
        cube.bench(&["bench", "sweep", "-k", "1,10,30", "--runs", "1", "-d", "100ms", "-w", "20ms", "-c", "2"]);
    assert_eq!(code, 0, "{stdout}");
    let point = |point: &Value| format!("{} {}", point["test"].as_str().unwrap(), point["topics"]);
    let points: Vec<_> = report["points"].as_array().unwrap().iter().map(point).collect();
    let expected = ["create", "publish", "subscribe", "query"].map(|test| [1, 10, 30].map(|k| format!("{test} {k}")));
    assert_eq!(points, expected.concat());
    assert_eq!(report["points"][0]["connections"], 1); // not more than there are topics
    assert_eq!(cube.topics(), "");
}

#[test]
fn requirements_determine_the_exit_code() {
    let cube = Cube::start(0);
    for (require, code) in [("p99<60s", 0), ("p50<1us", 99), ("rate>=1e12", 99), ("errors<=0", 0)] {
        let mut words = vec!["bench", "run", "-t", "query", "-k", "1", "--require", require];
        words.extend(QUICK);
        let (found, stdout, report) = cube.bench(&words);
        assert_eq!(found, code, "{require}\n{stdout}");
        assert_eq!(report["requirements"][0]["met"], code == 0);
    }
    for (words, part) in [
        (["bench", "run", "--require", "p98<1s", "-c", "1"], "is not a requirement"),
        (["bench", "run", "-t", "publis", "-c", "1"], "did you mean \"publish\"?"),
        (["bench", "run", "-k", "0", "-c", "1"], "is not a list of numbers of topics"),
        (["bench", "run", "-c", "0", "-k", "1"], "there are 1 to"),
        (["bench", "run", "-n", "0", "-k", "1"], "number of requests must be above zero"),
        (["bench", "run", "-r", "5", "--ramp", "1..9/1s"], "--ramp already contains the rates"),
        (["bench", "run", "-d", "5", "--ramp", "1..9/1s"], "--ramp already contains the duration"),
        (["bench", "run", "-d", "5", "-n", "9"], "a time or after a number"),
        (["bench", "run", "-t", "publish:1:3", "-c", "1"], "only mixed has weights"),
        (["bench", "run", "--keys", "gauss", "-c", "1"], "no keys \"gauss\""),
        (["bench", "run", "--batch", "10000", "-m", "1000"], "do not fit one request"),
        (["bench", "run", "--name", "a/b", "-c", "1"], "is not a valid name"),
        (["bench", "run", "--hdr", "x", "-c", "1"], "--hdr takes the distribution of one test"),
    ] {
        let output = cube.cli(&words);
        let printed = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.code() == Some(2) && printed.contains(part), "{words:?}: {printed}");
    }
}

#[test]
fn ctrl_c_leaves_a_partial_report_and_no_topics() {
    let cube = Cube::start(0);
    let interrupt = |process: &Child| {
        let pid = process.id().to_string();
        assert!(Command::new("kill").args(["-INT", &pid]).status().unwrap().success());
    };
    let words = ["bench", "run", "-t", "create,publish", "-k", "10", "-d", "1h", "-w", "0"];
    let (code, stdout, report) = bench(&cube.addresses[0], &words, interrupt);
    assert_eq!((code, &report["interrupted"]), (130, &Value::Bool(true)), "{stdout}");
    assert!(stdout.contains("stopped before its end"), "{stdout}");
    assert_eq!(cube.topics(), "");
}

#[test]
fn a_server_that_dies_is_mentioned_first_in_the_report() {
    let cube = Cube::start(0);
    let relay = Relay::start(&cube.addresses[0], Fault::CutAfter(Duration::from_millis(400)));
    let words = "bench run -t publish -k 5 -d 1s -w 0 --entry one -c 2 --timeout 1s";
    let (code, stdout, report) = bench(&relay.address, &words.split(' ').collect::<Vec<_>>(), |_| {});
    assert_eq!(code, 5, "{stdout}");
    let point = &report["points"][0];
    assert!(number(&point["requests"]) > 0.0 && number(&point["errors"]) > 0.0, "{point:#}");
    assert!(report["notes"][0].as_str().unwrap().contains("in 1 of 1 point"), "{:#}", report["notes"]);
    assert!(stdout.find("errors: read the figures with care").unwrap() < stdout.find("req/s").unwrap(), "{stdout}");
    assert!(stdout.contains("could not be removed"), "{stdout}");
}

#[test]
fn a_run_with_a_number_of_requests_ends_when_its_server_has_died() {
    let cube = Cube::start(0);
    let relay = Relay::start(&cube.addresses[0], Fault::CutAfter(Duration::from_millis(400)));
    let words = "bench run -t publish -k 5 -n 1000000000 -w 0 --entry one -c 2 --timeout 300ms";
    let (code, stdout, report) = bench(&relay.address, &words.split(' ').collect::<Vec<_>>(), |_| {});
    assert_eq!(code, 5, "{stdout}");
    let point = &report["points"][0];
    let sum = ["requests", "errors", "unsent"].map(|name| number(&point[name])).iter().sum::<f64>();
    assert!(number(&point["unsent"]) > 0.0 && sum >= 1e9, "{point:#}");
    assert!(stdout.contains("their connections were lost for too long"), "{stdout}");
}

/// With 200 requests per second and a stall of 300 ms in 1.2 s, a quarter of the requests wait. A closed loop has only
/// one slow response per connection.
#[test]
fn an_open_loop_shows_a_stall_that_a_closed_one_hides() {
    let cube = Cube::start(0);
    let stall = Fault::StallAfter(Duration::from_millis(500), Duration::from_millis(300));
    let mut p90 = Vec::new();
    for rate in ["200", "max"] {
        let relay = Relay::start(&cube.addresses[0], stall);
        let words = [
            "bench", "run", "-t", "query", "-k", "5", "-d", "1200ms", "-w", "0", "--entry", "one", "-c", "2", "-r",
            rate,
        ];
        let (code, stdout, report) = bench(&relay.address, &words, |_| {});
        assert_eq!(code, 0, "{stdout}");
        let latency = &report["points"][0]["latency"];
        assert!(number(&latency["max_us"]) > 200_000.0, "{rate}: {latency:#}");
        p90.push(number(&latency["p90_us"]));
    }
    assert!(p90[0] > p90[1], "the open loop does not show the stall: {p90:?}");
}

/// The fields that pictures, pages and comparisons use. More may be added, but these keep their names and types.
const SCHEMA: &str = "
    number: schema seconds errors cluster/dimension cluster/nodes cluster/nodes_up load/connections load/pipeline
    number: load/size_bytes load/batch load/threads load/target_rate load/runs load/warmup_seconds load/seed
    number: load/measured_seconds environment/cores environment/memory_bytes counters/0/node counters/0/before/requests
    number: counters/0/after/requests edges/0/from edges/0/to edges/0/frames edges/0/bytes generator/lag_p99_us
    number: points/0/topics points/0/connections points/0/target_rate points/0/requests points/0/errors points/0/late
    number: points/0/unsent points/0/rate/median points/0/rate/min points/0/rate/max points/0/mb_s/median
    number: points/0/avg_us/median points/0/p50_us/median points/0/p99_us/median points/0/latency/count
    number: points/0/latency/avg_us points/0/latency/p9999_us points/0/latency/stddev_us points/0/service/p99_us
    number: points/0/latency/curve/0/percentile points/0/latency/curve/0/us points/0/hops/0/hops points/0/hops/0/share
    number: points/0/hops/0/expected_share points/0/hops/0/latency/avg_us points/0/placement/0 points/0/runs/0/run
    number: points/0/runs/0/order points/0/runs/0/seconds points/0/runs/0/requests points/0/runs/0/errors
    number: points/0/runs/0/late points/0/runs/0/unsent points/0/runs/0/rate points/0/runs/0/mb_s
    number: points/0/runs/0/latency/max_us points/0/runs/0/service/p50_us points/0/runs/0/timeline/0/at_ms
    number: points/0/runs/0/timeline/0/width_ms points/0/runs/0/timeline/0/requests points/0/runs/0/timeline/0/p99_us
    number: requirements/0/worst/topics requirements/0/worst/value
    string: kind command/0 started cluster/software/0 cluster/addresses/0 load/mode load/keys load/entry
    string: environment/cpu environment/governor environment/kernel environment/version environment/commit
    string: environment/rustc points/0/test requirements/0/text requirements/0/worst/test notes/0
    boolean: interrupted environment/debug_build environment/same_host generator/was_limit requirements/0/met
    array: load/ramp points/0/error_kinds
    null: load/requests points/0/delivery";

#[test]
fn the_report_keeps_its_fields() {
    let cube = Cube::start(1);
    let words = "bench run -t publish -k 20 -r 500 -d 300ms -w 0 -c 2 --require errors<=0";
    let (code, stdout, report) = cube.bench(&words.split(' ').collect::<Vec<_>>());
    assert_eq!(code, 0, "{stdout}");
    for line in SCHEMA.lines().filter(|line| !line.is_empty()) {
        let (kind, fields) = line.trim().split_once(": ").unwrap();
        for field in fields.split(' ') {
            let found = match report.pointer(&format!("/{field}")) {
                Some(Value::Number(_)) => "number",
                Some(Value::String(_)) => "string",
                Some(Value::Bool(_)) => "boolean",
                Some(Value::Array(_)) => "array",
                Some(Value::Object(_)) => "object",
                Some(Value::Null) => "null",
                None => "nothing",
            };
            assert_eq!(found, kind, "{field}");
        }
    }
    assert_eq!((&report["schema"], &report["points"][0]["target_rate"]), (&1.into(), &500.0.into()));
}

const SUMMARY: &str = "run,test,topics,connections,size_bytes,target_rate,requests,errors,unsent,seconds,rate,mb_s,\
    avg_us,min_us,p50_us,p90_us,p95_us,p99_us,p999_us,max_us,stddev_us,service_p99_us";

/// The nodes' counters show whether exactly the requested number of batches was sent.
#[test]
fn the_number_of_batches_agrees_in_all_files_and_in_the_nodes_counters() {
    let cube = Cube::start(1);
    let folder = tempfile::tempdir().unwrap();
    let [out, csv, hdr] = ["out", "runs.csv", "one.hgrm"].map(|name| folder.path().join(name));
    let paths = [&out, &csv, &hdr].map(|path| path.to_str().unwrap());
    let words = "bench run -t publish -k 40 -n 50 -w 0 -m 32 --batch 4 --keys zipf:1.1 -c 3 --runs 2 --no-progress";
    let mut words: Vec<_> = words.split(' ').collect();
    words
        .extend(["--name", "nightly", "--remark", "it's new", "--out", paths[0], "--csv", paths[1], "--hdr", paths[2]]);
    let output = cube.cli(&words);
    let printed = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success() && !printed.contains("req/s"), "{printed}");
    let read = |path: &Path| std::fs::read_to_string(path).unwrap();
    let report: Value = serde_json::from_str(&read(&out.join("report.json"))).unwrap();
    let (load, point) = (&report["load"], &report["points"][0]);
    for (name, expected) in [
        ("batch", 4.into()),
        ("keys", "zipf:1.1".into()),
        ("requests", 50.into()),
        ("threads", 3.into()),
        ("target_rate", Value::Null),
        ("ramp", Value::Array(Vec::new())),
    ] {
        assert_eq!(load[name], expected, "{name}");
    }
    assert_eq!((point["requests"].as_u64(), point["errors"].as_u64()), (Some(100), Some(0)));
    for run in point["runs"].as_array().unwrap() {
        assert!((number(&run["mb_s"]) - number(&run["rate"]) * 128.0 / 1e6).abs() < 1e-9, "{run:#}");
    }
    let counted = |name: &str| {
        let counters = report["counters"].as_array().unwrap().iter();
        counters.map(|node| number(&node["after"][name]) - number(&node["before"][name])).sum::<f64>()
    };
    assert_eq!([counted("batches"), counted("records")], [100.0, 400.0]);
    let edges = report["edges"].as_array().unwrap();
    let ends: Vec<_> = edges.iter().map(|edge| (edge["from"].as_u64(), edge["to"].as_u64())).collect();
    assert_eq!(ends, [(Some(0), Some(1)), (Some(1), Some(0))]);
    assert!(edges.iter().all(|edge| number(&edge["frames"]) > 0.0 && number(&edge["bytes"]) > 0.0), "{edges:?}");
    let environment = &report["environment"];
    assert!(["commit", "rustc"].iter().all(|name| !environment[name].as_str().unwrap().is_empty()));
    assert_eq!((environment["name"].as_str(), environment["remark"].as_str()), (Some("nightly"), Some("it's new")));
    if cfg!(target_os = "linux") {
        assert!(number(&point["server_cpu_us"]["min"]) > 0.0, "{point:#}");
    }
    assert_eq!(read(&csv), read(&out.join("summary.csv")));
    assert_eq!((read(&csv).lines().next(), read(&csv).lines().count()), (Some(SUMMARY), 3));
    assert_eq!(read(&hdr), read(&out.join("publish.hgrm")));
    assert!(read(&hdr).contains("Total count    =          100]"), "{}", read(&hdr));
    assert!(read(&out.join("command.txt")).ends_with(&format!(" --hdr {}\n", paths[2])));
    assert!(read(&out.join("command.txt")).contains(r"--remark 'it'\''s new' "));
    assert_eq!(cube.topics(), "");
}

#[test]
fn mixed_publishes_and_fetches_in_the_requested_proportion() {
    let cube = Cube::start(0);
    let (code, stdout, report) =
        cube.bench(&["bench", "run", "-t", "mixed:1:3", "-k", "10", "-n", "400", "-w", "0", "-c", "2"]);
    assert_eq!(code, 0, "{stdout}");
    let node = &report["counters"][0];
    let counted = |name: &str| number(&node["after"][name]) - number(&node["before"][name]);
    let published = counted("batches") - 10.0; // each topic first gets a record to fetch
    // A quarter of 400 random draws has a standard deviation of 9.
    assert!((60.0..140.0).contains(&published), "{published}");
    assert_eq!(published + counted("fetches"), 400.0);
}

#[test]
fn records_of_batches_are_delivered_as_they_were_published() {
    let cube = Cube::start(1);
    let words = ["bench", "run", "-t", "subscribe", "-k", "6", "-n", "90", "-w", "0", "-c", "3", "--batch", "7"];
    let (code, stdout, report) = cube.bench(&words);
    assert_eq!(code, 0, "{stdout}");
    let delivery = &report["points"][0]["delivery"];
    let counts = ["published", "delivered", "lost", "damaged", "out_of_order"].map(|name| number(&delivery[name]));
    assert_eq!(counts, [630.0, 630.0, 0.0, 0.0, 0.0]);
}

/// All requests from one node to one topic take the same number of hops, because the topic has one home.
#[test]
fn hot_keys_send_all_requests_to_one_topic() {
    let cube = Cube::start(3);
    let mut words = vec!["bench", "run", "-t", "query", "-k", "50", "--entry", "one", "-n", "200", "-w", "0", "--keys"];
    for (keys, is_one) in [("hot:1", true), ("uniform", false)] {
        words.push(keys);
        let (code, stdout, report) = cube.bench(&words);
        words.pop();
        assert_eq!(code, 0, "{stdout}");
        let hops = report["points"][0]["hops"].as_array().unwrap();
        assert_eq!(hops.len() == 1, is_one, "{keys}: {hops:?}");
    }
}

/// No machine reaches the last rate of the ramp, so the ramp must end before it.
#[test]
fn a_ramp_ends_at_the_first_rate_that_is_not_reached() {
    let cube = Cube::start(0);
    let words = ["bench", "run", "-t", "ping", "--ramp", "50..5e8/1s", "-w", "0", "-c", "2"];
    let (code, stdout, report) = cube.bench(&words);
    assert_eq!(code, 0, "{stdout}");
    let ramp = report["load"]["ramp"].as_array().unwrap();
    let points = report["points"].as_array().unwrap();
    assert!((ramp.len(), number(&ramp[0]), number(&ramp[9])) == (10, 50.0, 5e8), "{ramp:?}");
    assert!(!points.is_empty() && points.len() < ramp.len(), "{} points", points.len());
    for (index, point) in points.iter().enumerate() {
        assert_eq!(point["target_rate"], ramp[index]);
        let is_reached = number(&point["rate"]["median"]) >= 0.95 * number(&ramp[index]);
        assert_eq!(is_reached, index + 1 < points.len(), "only the last one is not reached: {point:#}");
        // Every request that was due is counted as one of these. The tolerance is for connections that start at
        // different times.
        let due = number(&ramp[index]) * number(&point["runs"][0]["seconds"]);
        let known = ["requests", "errors", "unsent"].map(|name| number(&point[name])).iter().sum::<f64>();
        assert!((known - due).abs() <= 2.0 + due * 1e-3, "{known} of {due}: {point:#}");
    }
    assert!(stdout.contains("the ramp ended there"), "{stdout}");
}

#[test]
fn the_latency_of_the_machine_itself_is_measured_without_a_cluster() {
    let output = cli("127.0.0.1:1", &["bench", "intrinsic", "-d", "100ms", "--json"]).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let value: Value = serde_json::from_slice(&output.stdout).unwrap();
    for row in ["spin", "sleep"] {
        let figures = ["count", "p50_us", "p99_us", "p999_us", "max_us"].map(|name| number(&value[row][name]));
        assert!(figures[0] > 0.0 && figures[1..].is_sorted(), "{value:#}");
    }
    assert!((0.0..=1.0).contains(&number(&value["stalls_share"])), "{value:#}");
}

/// What a relay does to its connections, at a time after the benchmark has opened its own.
#[derive(Clone, Copy)]
enum Fault {
    CutAfter(Duration),
    StallAfter(Duration, Duration),
}

/// A proxy between the command line and a node, with a planned fault.
struct Relay {
    address: String,
}

impl Relay {
    fn start(node: &str, fault: Fault) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let node = node.to_owned();
        spawn(move || relay(&listener, &node, fault));
        Self { address }
    }
}

#[expect(clippy::disallowed_methods, reason = "the relay blocks concurrently with the test")]
fn spawn(work: impl FnOnce() + Send + 'static) {
    std::thread::spawn(work);
}

#[expect(clippy::disallowed_methods, reason = "a planned stall lasts for a time")]
fn pause(time: Duration) {
    std::thread::sleep(time);
}

/// Relays three connections: the first one creates the topics, the others are the benchmark's. The time of the fault
/// starts when the last one is accepted.
fn relay(listener: &TcpListener, node: &str, fault: Fault) {
    let gate = AtomicBool::new(false);
    let (gate, mut ends): (&'static _, Vec<TcpStream>) = (Box::leak(Box::new(gate)), Vec::new());
    for count in 0.. {
        let Ok((near, _)) = listener.accept() else { return };
        let far = TcpStream::connect(node).unwrap();
        for end in [&near, &far] {
            end.set_nodelay(true).unwrap();
        }
        ends.extend([near.try_clone().unwrap(), far.try_clone().unwrap()]);
        for (from, to) in [(near.try_clone().unwrap(), far.try_clone().unwrap()), (far, near)] {
            spawn(move || copy(from, to, gate));
        }
        if count == 2 {
            break;
        }
    }
    match fault {
        Fault::CutAfter(time) => {
            pause(time);
            ends.iter().for_each(|end| drop(end.shutdown(Shutdown::Both)));
        }
        Fault::StallAfter(time, length) => {
            pause(time);
            gate.store(true, Ordering::SeqCst);
            pause(length);
            gate.store(false, Ordering::SeqCst);
        }
    }
}

fn copy(mut from: TcpStream, mut to: TcpStream, gate: &AtomicBool) {
    let mut bytes = [0; 4096];
    while let Ok(count @ 1..) = from.read(&mut bytes) {
        while gate.load(Ordering::SeqCst) {
            pause(Duration::from_millis(1));
        }
        if to.write_all(&bytes[..count]).is_err() {
            return;
        }
    }
}
