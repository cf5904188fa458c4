//! Payloads are never changed: values come back byte for byte, however they are published and read.

use std::process::Output;

use crate::common::Node;
use crate::harness::{Running, check, lone_node, run, run_words};

/// Bytes that a careless program changes: CR, NUL, spaces at the ends, a byte order mark, invalid UTF-8, escapes.
const AWKWARD: &[u8] =
    b"  a,b\r\nc\t\r\n\n\r\n\0x\0\n\xef\xbb\xbfcaf\xc3\xa9\n\xff\xfe\x80\n%p \\n \"q\" 'r'\n\x1b[31m \r";

fn read(node: &Node, words: &[&str]) -> Vec<u8> {
    let output = run_words(&node.address, words, b"");
    assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

fn write(node: &Node, words: &[&str], input: &[u8]) -> Output {
    let output = run_words(&node.address, words, input);
    assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
    output
}

#[test]
fn values_come_back_byte_for_byte() {
    let node = lone_node();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("awkward");
    std::fs::write(&file, AWKWARD).unwrap();
    let file = file.to_str().unwrap();
    let with = |end: &[u8]| [AWKWARD, end].concat();
    // Each case: the options for publishing, the options for reading, and the expected output.
    let cases: [(&[&str], &[&str], Vec<u8>); 14] = [
        (&["-l"], &[], with(b"\n")),
        (&["-l", "-f", file], &[], with(b"\n")),
        (&["-l"], &["-F", "%p\\n"], with(b"\n")),
        (&["-l"], &["-r"], AWKWARD.iter().copied().filter(|byte| *byte != b'\n').collect()),
        (&["-0"], &["-0"], with(b"\0")),
        (&["-0", "-f", file], &["-F", "%p\\0"], with(b"\0")),
        (&["-0"], &["-r"], AWKWARD.iter().copied().filter(|byte| *byte != 0).collect()),
        (&[], &["-r"], with(b"")),
        (&["-"], &["-r"], with(b"")),
        (&["-f", file], &["-r"], with(b"")),
        (&["-f", file], &["-F", "%p"], with(b"")),
        (&["-f", file], &["-0"], with(b"\0")),
        (&["-f", file], &[], with(b"\n")),
        (&["-f", "-"], &["-r"], with(b"")),
    ];
    for (number, (publish, fetch, expected)) in cases.iter().enumerate() {
        let topic = format!("t{number}");
        write(&node, &[&["publish", "--create", "-q", &topic], *publish].concat(), AWKWARD);
        assert_eq!(&read(&node, &[&["fetch", &topic], *fetch].concat()), expected, "{publish:?} {fetch:?}");
        let records = run(&node.address, &format!("info {topic} --json"), b"").stdout;
        let count = records.split("\"next_offset\":").nth(1).unwrap().split(',').next().unwrap();
        let subscribe = [&["subscribe", &topic, "--from", "earliest", "-n", count], *fetch].concat();
        assert_eq!(&read(&node, &subscribe), expected, "{publish:?} {subscribe:?}");
    }
}

#[test]
fn a_message_on_the_command_line_is_published_unchanged() {
    let node = lone_node();
    run(&node.address, "create t", b"");
    let messages = ["", " ", "a\r", "a\nb\r\n", "\\n%p", "caf\u{e9}", "\u{feff}x", "--", "\u{1b}[0m"];
    for message in messages {
        write(&node, &["publish", "-q", "t", "--", message], b"ignored");
    }
    assert_eq!(read(&node, &["fetch", "t", "-0"]), [messages.join("\0").as_bytes(), b"\0"].concat());
}

#[test]
fn nc_publishes_quoted_messages_and_refuses_invalid_utf_8() {
    let node = lone_node();
    let lines = b"create t -q\npublish t ' a\r' -q\r\npublish t \"\\\"x\\\\ \\n\" -q\npublish t '' -q\npublish t caf\xe9 -q\npublish t '\xc3\xa9\x7f' -q\n";
    let output = run_words(&node.address, &["nc"], lines);
    assert_eq!(output.status.code(), Some(2));
    let printed = String::from_utf8(output.stderr).unwrap();
    assert!(
        printed.contains("line 5 is not UTF-8\n  publish such a message from a file: publish TOPIC -f FILE"),
        "{printed}"
    );
    assert_eq!(read(&node, &["fetch", "t", "-0"]), b" a\r\0\"x\\ \\n\0\0\xc3\xa9\x7f\0");
}

#[test]
fn a_too_large_message_ends_a_stream_after_everything_before_it_is_stored() {
    let node = lone_node();
    run(&node.address, "create t u", b"");
    let good: String = (1..=20_000).map(|number| format!("{number}\n")).collect();
    let input = format!("{good}{}\nnever\n", "x".repeat(1_100_000));
    check(
        &node.address,
        &[
            (
                "publish -l t",
                &input,
                1,
                "published 20000 messages to t at offsets 0 to 19999 (memory)\n",
                "dht-cli: line 20001 is too large: a record of 1100005 bytes, and 1044480 is the most\n  \
                 lines 1 to 20000 are stored, and none after them\n",
            ),
            ("fetch t", "", 0, &good, ""),
            (
                "publish -l u --json",
                &input,
                1,
                "{\"topic\":\"u\",\"offset\":0,\"count\":20000,\"last_offset\":19999,*\"complete\":false,\
                 \"exact\":true,\"failed_at\":20001}\n",
                "\"message\":\"line 20001 is too large: *\"hint\":\"lines 1 to 20000 are stored, and none after them\"",
            ),
            ("publish -0 u -q", "x\0y\0", 0, "", ""),
            (
                "publish -l u --json",
                &"x".repeat(9_000_000),
                1,
                "{\"topic\":\"u\",\"offset\":null,\"count\":0,*\"failed_at\":1}\n",
                "line 1: this line has more than 8388608 bytes",
            ),
            ("publish -l u -f /proc/self/mem", "", 2, "", "nothing was stored"),
            (
                "publish -l u --json",
                "a\nb\n",
                0,
                "{\"topic\":\"u\",\"offset\":20002,\"count\":2,*\"complete\":true}\n",
                "",
            ),
        ],
    );
}

#[test]
fn a_stream_to_a_full_node_ends_and_reports_exactly_what_is_stored() {
    let node = Node::start_with(0, 0, "0 127.0.0.1:0\n", &["--memory", "2MiB"]);
    run(&node.address, "create t", b"");
    let line = "x".repeat(100);
    let input: String = (0..100_000).map(|number| format!("{number:06}{line}\n")).collect();
    let outcome = run(&node.address, "publish -l t --json", input.as_bytes());
    assert_eq!(outcome.code, 1, "{}", outcome.stderr);
    let stored = run(&node.address, "fetch t", b"").stdout;
    let count = stored.lines().count();
    assert!(count > 1000 && input.starts_with(&stored), "{count} lines, the first ones");
    let expected = format!("\"count\":{count},\"last_offset\":{},", count - 1);
    assert!(
        outcome.stdout.contains(&expected) && outcome.stdout.contains("\"exact\":true"),
        "{count} {}",
        outcome.stdout
    );
    assert!(
        outcome.stderr.contains(&format!("lines 1 to {count} are stored, and none after them")),
        "{}",
        outcome.stderr
    );
    assert!(outcome.stderr.contains("\"name\":\"QUOTA\""), "{}", outcome.stderr);
}

#[test]
fn ctrl_c_ends_a_stream_after_all_complete_lines_are_stored() {
    let node = lone_node();
    run(&node.address, "create t", b"");
    for (json, stdout, stderr) in [
        (
            "",
            "published 2 messages to t at offsets 0 to 1 (memory)\n",
            "dht-cli: interrupted\n  lines 1 to 2 are stored, and none after them\n",
        ),
        ("--json", "\"complete\":false,\"exact\":true,\"failed_at\":null}\n", "\"name\":\"INTERRUPTED\""),
    ] {
        let from = run(&node.address, "fetch t --json", b"").stdout.lines().count();
        let mut publish = Running::start(&node.address, &format!("publish -l t {json}"));
        publish.write(b"a\nb\nnot whole");
        run(&node.address, &format!("subscribe t --from {from} -n 2"), b"");
        publish.interrupt();
        let outcome = publish.end();
        assert_eq!(outcome.code, 130, "{}", outcome.stderr);
        assert!(outcome.stdout.ends_with(stdout), "{}", outcome.stdout);
        assert!(outcome.stderr.contains(stderr), "{}", outcome.stderr);
    }
    check(&node.address, &[("fetch t", "", 0, "a\nb\na\nb\n", "")]);
}
