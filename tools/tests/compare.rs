//! `dht-cli bench compare`, `report` and `plot` on stored files, without a cluster.

#![expect(clippy::unwrap_used, reason = "an unexpected result fails the test")]

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::{Value, json};

const STORED: &str = include_str!("data/report.json");

fn stored() -> Value {
    serde_json::from_str(STORED).unwrap()
}

/// Returns the stored report without its failures.
fn clean() -> Value {
    let mut report = stored();
    report["errors"] = json!(0);
    report["points"][0]["errors"] = json!(0);
    report
}

fn cli(folder: &Path, words: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dht-cli"));
    command.args(words).current_dir(folder).env_remove("DHT_SERVER").output().unwrap()
}

fn save(folder: &Path, name: &str, report: &Value) {
    fs::create_dir_all(folder.join(name)).unwrap();
    fs::write(folder.join(name).join("report.json"), report.to_string()).unwrap();
}

/// Compares two reports, and returns the output.
fn compare(old: &Value, new: &Value, words: &[&str]) -> String {
    let folder = tempfile::tempdir().unwrap();
    save(folder.path(), "old", old);
    save(folder.path(), "new", new);
    let output = cli(folder.path(), &[&["bench", "compare", "old", "new"], words].concat());
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Multiplies the rate and all latencies of the first point by a factor.
fn scale(report: &mut Value, factor: f64) {
    for figure in ["rate", "avg_us", "p50_us", "p99_us"] {
        for end in ["median", "min", "max"] {
            let value = &mut report["points"][0][figure][end];
            *value = json!(value.as_f64().unwrap() * factor);
        }
    }
}

/// Checks that the words occur in the text in this order.
fn stand_in_order(text: &str, words: &[&str]) {
    let mut rest = text;
    for word in words {
        let Some((_, behind)) = rest.split_once(word) else { panic!("{word:?} is missing or too early:\n{text}") };
        rest = behind;
    }
}

/// The name of a case, the change to a clean report, and parts of the expected output in this order.
type Case = (&'static str, fn(&mut Value), &'static [&'static str]);

const CASES: [Case; 13] = [
    (
        "equal",
        |_| (),
        &["publish, 100 topics", "rate", "52 310/s ±2 %", "+0.0 %", "within noise", "runs:", "nothing that is known"],
    ),
    (
        "faster",
        |new| {
            scale(new, 1.152);
            new["environment"]["commit"] = json!("d4e5f60");
        },
        &[
            "rate  52 310/s ±2 %  60 261/s ±2 %  +15.2 %  faster",
            "avg     148 µs ±2 %    171 µs ±2 %  +15.2 %  worse",
            "subscribe, 100 topics",
            "within noise",
            "33 times in 100",
            "commit a1b2c3d → d4e5f60 (everything else equal)",
        ],
    ),
    ("slower", |new| scale(new, 0.9), &["-10.0 %  slower", "-10.0 %  better"]),
    (
        "one run",
        |new| {
            scale(new, 2.0);
            new["points"][0]["runs"].as_array_mut().unwrap().pop();
            new["load"]["runs"] = json!(1);
        },
        &["104 620/s  +100.0 %  one run: the noise is unknown", "runs 2 → 1"],
    ),
    (
        "another load",
        |new| {
            scale(new, 2.0);
            new["load"]["connections"] = json!(16);
            new["load"]["size_bytes"] = json!(1024);
        },
        &[
            "Not comparable, the load differs: connections 8 → 16, size 128 B → 1024 B",
            "not comparable",
            "Different between the runs: only the load",
        ],
    ),
    (
        "another rate",
        |new| {
            new["load"]["mode"] = json!("open");
            new["load"]["target_rate"] = json!(5000.0);
            new["points"][0]["target_rate"] = json!(5000.0);
        },
        &["the load differs: mode closed loop → open loop, rate max → 5000/s", "publish, 100 topics", "not comparable"],
    ),
    (
        "a ramp",
        |new| {
            new["load"]["ramp"] = json!([5000.0, 6000.0]);
            new["points"][0]["target_rate"] = json!(5000.0);
        },
        &[
            "rate max → 5000/s 6000/s",
            "subscribe, 100",
            "Only in old: publish",
            "Only in new: publish, 100 topics, 5000/s",
        ],
    ),
    (
        "errors",
        |new| {
            new["errors"] = json!(7);
            new["interrupted"] = json!(true);
        },
        &["Errors    new: 7 requests failed, stopped before its end", "publish"],
    ),
    ("nothing", |new| new["points"][0]["requests"] = json!(0), &["rate", "-       -  nothing was measured"]),
    (
        "another point",
        |new| new["points"][1]["topics"] = json!(200),
        &["publish", "Only in old: subscribe, 100 topics", "Only in new: subscribe, 200 topics"],
    ),
    (
        "no point",
        |new| new["points"] = json!([]),
        &["no point in common", "Only in old: publish, 100 topics; subscribe"],
    ),
    (
        "two things",
        |new| {
            new["environment"]["kernel"] = json!("Linux 7.0");
            new["cluster"]["software"] = json!(["dht-node 0.2.0\u{1b}[31m"]);
        },
        &[
            "Different between the runs:\n",
            "  nodes' software dht-node 0.1.0 (a1b2c3d) → dht-node 0.2.0\\u{1b}[31m\n",
            "  kernel ",
        ],
    ),
    ("an older point without CPU", |new| new["points"][0]["server_cpu_us"] = Value::Null, &["p99", "subscribe"]),
];

/// The cases in which no point with CPU time is in both reports.
const WITHOUT_CPU: [&str; 3] = ["an older point without CPU", "no point", "a ramp"];

#[test]
fn a_comparison_says_what_differs_and_what_may_explain_it() {
    for (what, change, expected) in CASES {
        let (old, mut new) = (clean(), clean());
        change(&mut new);
        let printed = compare(&old, &new, &[]);
        stand_in_order(&printed, expected);
        assert_eq!(printed.contains("cpu"), !WITHOUT_CPU.contains(&what), "{what}: {printed}");
    }
    stand_in_order(&compare(&stored(), &clean(), &[]), &["Errors    old: 3 requests failed", "publish, 100 topics"]);
}

#[test]
fn a_comparison_is_available_as_json_and_as_a_picture() {
    let (old, mut new) = (stored(), clean());
    scale(&mut new, 1.5);
    let printed: Value = serde_json::from_str(&compare(&old, &new, &["--json"])).unwrap();
    assert_eq!((&printed["comparable"], &printed["old"]["errors"]), (&json!(true), &json!(3)));
    let row = &printed["rows"][0];
    assert_eq!([&row["point"], &row["figure"], &row["verdict"]], ["publish, 100 topics", "rate", "faster"]);
    assert!((row["change"].as_f64().unwrap() - 0.5).abs() < 1e-9);
    assert_eq!((row["old"]["runs"].as_u64(), printed["rows"].as_array().unwrap().len()), (Some(2), 5 + 4));

    let folder = tempfile::tempdir().unwrap();
    save(folder.path(), "a", &old);
    save(folder.path(), "b", &new);
    let output = cli(folder.path(), &["bench", "compare", "a/report.json", "b", "--out", "both"]);
    let printed = String::from_utf8(output.stdout).unwrap();
    assert!(printed.contains("Saved     both/   compare.svg, compare.png"), "{printed}");
    let picture = fs::read_to_string(folder.path().join("both/compare.svg")).unwrap();
    stand_in_order(&picture, &["a: 3 requests failed", "publish: average latency", "subscribe: throughput"]);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 3, "no other files are written");
}

#[test]
fn a_report_and_its_pictures_can_be_made_from_a_stored_file() {
    let folder = tempfile::tempdir().unwrap();
    save(folder.path(), "stored", &stored());
    let names = |what: &str| {
        let output = cli(folder.path(), &["bench", what, "stored"]);
        assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let pictures = "latency.svg, latency.png, throughput.svg, throughput.png, percentiles.svg, percentiles.png, \
                    hops.svg, hops.png, timeline.svg, timeline.png, cube.svg, cube.png, placement.svg, placement.png\n";
    assert_eq!(names("plot"), format!("Saved     stored/   {pictures}"));
    assert!(!folder.path().join("stored/report.html").exists());
    assert_eq!(names("report"), format!("Saved     stored/   report.html, {pictures}"));
    let page = fs::read_to_string(folder.path().join("stored/report.html")).unwrap();
    let printed = cli(folder.path(), &["bench", "plot", "stored", "--json"]).stdout;
    let printed: Value = serde_json::from_slice(&printed).unwrap();
    assert_eq!((&printed["folder"], &printed["files"][1]), (&json!("stored"), &json!("latency.png")));
    stand_in_order(&page, &["<!DOCTYPE html>", "3 requests failed", "p99&lt;5ms", "<svg", "52 310", "id=\"report\">{"]);
}

#[test]
fn files_that_are_not_reports_and_wrong_arguments_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let mut newer = stored();
    newer["schema"] = json!(2);
    save(folder.path(), "newer", &newer);
    save(folder.path(), "stored", &stored());
    fs::write(folder.path().join("text"), "no JSON").unwrap();
    for (words, expected) in [
        (&["compare", "stored"][..], "missing: new\n  see: dht-cli bench compare --help"),
        (&["compare", "stored", "newer"], "newer/report.json: its schema is 2, this dht-cli reads 1"),
        (&["compare", "text", "stored"], "text: not a report"),
        (&["compare", "stored", "nowhere"], "nowhere"),
        (&["report"], "missing: report"),
        (&["plot", "stored", "newer"], "unexpected argument `newer`"),
        (&["run", "stored"], "unexpected argument `stored`\n  see: dht-cli bench run --help"),
        (&["swep"], "did you mean \"sweep\"?"),
        (&["compare", "a", "b", "-c", "5"], "unknown option -c\n  see: dht-cli bench compare --help"),
        (&["report", "nowhere"], "nowhere"),
    ] {
        let output = cli(folder.path(), &[&["bench"], words].concat());
        let printed = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.code() == Some(2) && printed.contains(expected), "{words:?}: {printed}");
    }
}
