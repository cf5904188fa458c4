//! Records that are written out and read in again: JSON, keyed lines, whole topics.

use crate::harness::{check, lone_node, matches, run, run_words};

/// Lines for `publish --input json`, with every field that a record can have.
const RECORDS: &str = concat!(
    "{\"payload\":\"sunny, 21 degrees\"}\n",
    "{\"payload_b64\":\"/wAK\",\"key_b64\":\"/w==\",\"timestamp_us\":7,",
    "\"headers\":[{\"name\":\"a\",\"value\":\"1\"},{\"name\":\"a\",\"value_b64\":\"/g==\"},{\"name\":\"\",\"value\":\"\"}]}\n",
    "\n",
    "{\"topic\":\"other\",\"offset\":9,\"payload\":\"\\u0000\\r\\n\\u001b \\\"caf\\u00e9\\\"\",\"key\":\"\",\"append_us\":1}\n",
    "{\"gap\":[5,8],\"topic\":\"t\"}\n",
    "{\"payload\":\"\",\"key\":null,\"timestamp_us\":0,\"headers\":[]}\n",
);

/// Returns the output of `fetch --json`, without topics, offsets and append times.
fn content(server: &str, topic: &str) -> Vec<String> {
    let output = run(server, &format!("fetch {topic} --json"), b"");
    assert_eq!(output.code, 0, "{}", output.stderr);
    let strip = |line: &str| {
        let (head, tail) = line.split_once("\"append_us\":").unwrap();
        let rest = tail.trim_start_matches(|c: char| c.is_ascii_digit());
        format!("{}{rest}", head.split_once("\"payload").unwrap().1)
    };
    output.stdout.lines().map(strip).collect()
}

#[test]
fn records_are_unchanged_by_a_round_trip_through_json() {
    let node = lone_node();
    check(
        &node.address,
        &[
            (
                "publish t --input json --create",
                RECORDS,
                0,
                "published 4 messages to t at offsets 0 to 3 (memory), 2 lines skipped\n",
                "",
            ),
            (
                "fetch t --json -n 1",
                "",
                0,
                "{*\"payload\":\"sunny, 21 degrees\",\"key\":null,\"timestamp_us\":null,*}\n",
                "",
            ),
        ],
    );
    let (first, json) = (content(&node.address, "t"), run(&node.address, "fetch t --json", b"").stdout);
    assert_eq!(first.len(), 4);
    assert!(matches(&first[1], "_b64\":\"/wAK\",\"key_b64\":\"/w==\",\"timestamp_us\":7,*\"value_b64\":\"/g==\"*"));
    let again = run(&node.address, "publish u --input json --create --json", json.as_bytes());
    assert!(
        matches(&again.stdout, "{\"topic\":\"u\",\"offset\":0,\"count\":4,*\"complete\":true}\n"),
        "{}",
        again.stdout
    );
    assert_eq!(content(&node.address, "u"), first);
}

#[test]
fn errors_in_the_input_name_the_line() {
    let node = lone_node();
    run(&node.address, "create t -q", b"");
    let good = "{\"payload\":\"x\"}\n";
    check(
        &node.address,
        &[
            (
                "publish t --input json",
                &format!("{good}{good}{{\"paylod\":\"x\"}}\n{good}"),
                2,
                "published 2 messages to t at offsets 0 to 1 (memory)\n",
                "line 3: unknown field `paylod`*lines 1 to 2 are stored, and none after them",
            ),
            ("publish t --input json -q", "hello\n", 2, "", "line 1: not an object of JSON*nothing was stored"),
            ("publish t x --input json", "", 2, "", "--input json excludes MESSAGE"),
            ("publish t --input xml", "", 2, "", "--input"),
            ("publish t -K : -q", "k:v\n:w\na:b:c\r\nk:\n", 0, "", ""),
            ("fetch t --from 2 -F [%k]%p;", "", 0, "[k]v;[]w;[a]b:c\r;[k];", ""),
            ("publish t -K : -q", "x:y\nno separator\n", 2, "", "line 2: \":\" is nowhere in it"),
            ("publish t -K \\t -0 -q -H n=v", "a\tb\n\0", 0, "", ""),
            ("fetch t --last 1 -F %i,%k,%p,%h,%S,%K", "", 0, "7,a,b\n,n=v,2,1", ""),
            ("publish t -K \\x", "", 2, "", "an unknown or incomplete escape"),
            ("publish t -K : -k x", "", 2, "", "-K needs a separator, and excludes MESSAGE and -k"),
        ],
    );
}

#[test]
fn whole_topics_are_exported_and_imported_again() {
    let (node, other) = (lone_node(), lone_node());
    run(&node.address, "create t --retain-records 100 -q", b"");
    run(&node.address, "create empty -q", b"");
    run(&node.address, "publish t --input json", RECORDS.as_bytes());
    run(&node.address, "publish -l u --create", b"1\n2\n3\n");
    let output = run(&node.address, "export t empty u", b"");
    assert_eq!((output.code, output.stdout.lines().count()), (0, 4 + 3 + 6), "{}", output.stderr);
    assert!(output.stderr.contains("exported t with 4 records\n") && output.stderr.contains("exported empty with 0 "));
    let export = output.stdout;
    let expected = "imported 0 records to empty\nimported 4 records to t\nimported 3 records to u\n";
    check(&other.address, &[("import", &export, 0, expected, "")]);
    for topic in ["t", "u"] {
        assert_eq!(content(&other.address, topic), content(&node.address, topic));
    }
    let cut: String = export.lines().take(3).map(|line| format!("{line}\n")).collect();
    let holed = export.replacen("\"exported\":\"t\",\"records\":4", "\"exported\":\"t\",\"records\":5", 1);
    let third = lone_node();
    check(
        &other.address,
        &[
            ("info t", "", 0, "t\n*keeps        at most 100 records,*", ""),
            ("info empty", "", 0, "empty\n*records      0 *", ""),
            ("import", &export, 2, "", "line 1: t has 4 records already*dht-cli import --append"),
            ("import --append --json", &export, 0, "{\"topic\":\"empty\",*\"records\":3,\"complete\":true}\n", ""),
            ("info u --json", "", 0, "{*\"next_offset\":6,*}\n", ""),
            ("export nope", "", 1, "", "no topic \"nope\""),
            ("export", "", 2, "", "no topic given"),
            ("import /nonexistent", "", 2, "", "cannot read /nonexistent"),
            ("nc", "import\n", 2, "", "standard input has the commands here: import FILE"),
        ],
    );
    check(
        &third.address,
        &[
            ("import", &cut, 2, "imported 2 records to t\n", "the export of t was cut off*lines 1 to 3 are stored"),
            ("import --append", &holed, 2, "imported 4 records to t\n", "line 6: t has 4 of its 5 records"),
            ("import", "{\"payload\":\"x\"}\n", 2, "", "line 1: no \"topic\""),
            (
                "import -q",
                "{\"topic\":\"a\",\"payload\":\"1\"}\n{\"topic\":\"b\",\"payload\":\"2\"}\n{\"topic\":\"a\",\"payload\":\"3\"}\n",
                0,
                "",
                "",
            ),
            ("fetch a", "", 0, "1\n3\n", ""),
        ],
    );
    let outcome = run_words(
        &third.address,
        &["import", "-q"],
        &[b"{\"topic\":\"z\",\"payload\":\"", [b'x'; 1_100_000].as_slice(), b"\"}\n"].concat(),
    );
    assert!(String::from_utf8_lossy(&outcome.stderr).contains("line 1 is too large"));
}

#[test]
fn a_range_of_records_starts_and_ends_where_the_options_say() {
    let node = lone_node();
    run(&node.address, "create t many -q", b"");
    run(&node.address, "publish -l t", b"0\n1\n2\n3\n4\n");
    run(&node.address, "publish -l many", "x\n".repeat(5000).as_bytes());
    let append_us = |offset: u64| {
        let line = run(&node.address, &format!("fetch t --from {offset} -n 1 -F %a"), b"").stdout;
        line.parse::<u64>().unwrap()
    };
    // A time in microseconds is written as a fraction of seconds.
    let seconds = |micros: u64| format!("@{}.{:06}", micros / 1_000_000, micros % 1_000_000);
    run(&node.address, "publish t 5", b"");
    let (first, later) = (seconds(append_us(0)), seconds(append_us(5)));
    let cases = [
        ("fetch t --last 2".to_owned(), "4\n5\n", 0),
        ("fetch t --last 99".to_owned(), "0\n1\n2\n3\n4\n5\n", 0),
        ("fetch t --last 0".to_owned(), "", 0),
        ("fetch t --last 3 -n 1".to_owned(), "3\n", 0),
        ("fetch t --last 3 --to 4".to_owned(), "3\n", 0),
        ("fetch t --to 2".to_owned(), "0\n1\n", 0),
        ("fetch t --from 1 --to 2".to_owned(), "1\n", 0),
        ("fetch t --from 2 --to 2".to_owned(), "", 0),
        ("fetch t --from latest --to latest".to_owned(), "", 0),
        ("fetch t --to latest".to_owned(), "0\n1\n2\n3\n4\n5\n", 0),
        (format!("fetch t --from {later}"), "5\n", 0),
        (format!("fetch t --to {later}"), "0\n1\n2\n3\n4\n", 0),
        (format!("fetch t --from {first} --to {later}"), "0\n1\n2\n3\n4\n", 0),
        (format!("fetch t --to {first}"), "", 0),
        ("fetch t --from 2000-01-01 --to 2001-01-01T00:00+01:00 -q".to_owned(), "", 0),
        ("fetch t --to 2999-01-01Z".to_owned(), "0\n1\n2\n3\n4\n5\n", 0),
        ("fetch t --from 5m --to 1h".to_owned(), "", 2),
        ("fetch t --from 3 --to 2".to_owned(), "", 2),
        ("fetch t --from 3 --last 2".to_owned(), "", 2),
        ("fetch nope --last 2".to_owned(), "", 1),
        ("sub t --last 2 -n 2".to_owned(), "4\n5\n", 0),
        ("sub t --from 1 --to 3".to_owned(), "1\n2\n", 0),
        ("sub t --last 3 --to latest".to_owned(), "3\n4\n5\n", 0),
        ("sub t --from latest --to latest".to_owned(), "", 0),
        (format!("sub t --from earliest --to {later}"), "0\n1\n2\n3\n4\n", 0),
        ("sub t many --from 4998 --to 5000 -q".to_owned(), "x\nx\n", 1),
        ("sub t many --last 1 --to latest".to_owned(), "*\n*\n", 0),
        ("sub nope t --last 1 --to latest".to_owned(), "5\n", 1),
    ];
    for (line, stdout, code) in cases {
        let outcome = run(&node.address, &line, b"");
        assert!(
            outcome.code == code && matches(&outcome.stdout, stdout),
            "{line}: {}{}",
            outcome.stdout,
            outcome.stderr
        );
        assert_eq!(outcome.stderr.is_empty(), code == 0, "{line}: {}", outcome.stderr);
    }
    check(
        &node.address,
        &[
            (
                "fetch t --from 2000-01-01 -n 1",
                "",
                0,
                "0\n",
                "--from names no time zone, so UTC is assumed: 2000-01-01T00:00:00.000Z",
            ),
            ("fetch t --from 2000-01-01T00:00Z -n 1", "", 0, "0\n", ""),
            ("nc", "subscribe t --last 1\n", 2, "", "--last and --to work only outside of nc"),
        ],
    );
}

#[test]
fn a_subscription_ends_at_a_time_in_the_future() {
    let node = lone_node();
    run(&node.address, "create t -q", b"");
    run(&node.address, "publish -l t", b"0\n1\n");
    let now = run(&node.address, "fetch t --last 1 -F %a", b"").stdout.parse::<u64>().unwrap();
    let soon = now / 1_000_000 + 2;
    let outcome = run(&node.address, &format!("sub t --from earliest --to @{soon} -w 1h"), b"");
    assert_eq!((outcome.code, outcome.stdout.as_str(), outcome.stderr.as_str()), (0, "0\n1\n", ""));
}
