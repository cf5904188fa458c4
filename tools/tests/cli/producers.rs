//! Publishing without duplicates, whatever happens to connections and commands; and the commands that change a topic.

use crate::harness::{Relay, Running, check, lone_node, run};

/// The answer to the first attempt is lost, and the message is sent again through another node.
#[test]
fn a_single_message_is_stored_once_even_if_the_connection_is_lost() {
    let node = lone_node();
    run(&node.address, "create t", b"");
    let relay = Relay::losing_an_answer(&node.address);
    let published = run(&format!("{},{}", relay.address, node.address), "publish t once", b"");
    assert_eq!((published.code, published.stderr.as_str()), (0, ""));
    assert!(published.stdout.starts_with("published to t at offset 0 ("), "{}", published.stdout);
    relay.end();
    assert_eq!(run(&node.address, "fetch t", b"").stdout, "once\n");
}

#[test]
fn an_interrupted_input_is_resumed_without_duplicates() {
    let node = lone_node();
    let lines = |range: std::ops::Range<u32>| range.map(|line| format!("line {line}\n")).collect::<String>();
    run(&node.address, "create t", b"");
    // The first run has published 300 of the lines.
    let first = run(&node.address, "publish -l --producer day.csv t", lines(0..300).as_bytes());
    assert_eq!((first.code, first.stderr.as_str()), (0, ""));
    let all = lines(0..1000);
    check(
        &node.address,
        &[
            (
                "publish -l --producer day.csv t",
                &all,
                1,
                "",
                "has stored 300 records here (error 0x56 PRODUCER_EXISTS)",
            ),
            ("publish -l --producer day.csv t", &all, 1, "", "continue the same input: --resume"),
            ("publish -l --resume t", &all, 2, "", "--resume needs --producer NAME"),
            (
                "publish -l --producer day.csv --resume t",
                &all,
                0,
                "published 700 messages to t at offsets 300 to 999 (*)\n",
                "dht-cli: t has 300 messages of day.csv; skipping as many lines",
            ),
            (
                "publish -l --producer day.csv --resume t",
                &all,
                0,
                "t has all of it already\n",
                "t has 1000 messages of day.csv",
            ),
            (
                "--json publish -l --producer day.csv --resume t",
                &all,
                0,
                "{*\"count\":0*\"producer\":\"day.csv\"*\"stored_before\":1000*}\n",
                "t has 1000 messages",
            ),
            (
                "publish -l --producer day.csv --resume t",
                "line 0\n",
                1,
                "",
                "this is another input: it has 1 message, and t has 1000 messages of day.csv",
            ),
            ("-q publish -l --producer other --resume t", "more\n", 0, "", ""),
            (
                "publish -l --producer third --resume t",
                "and more\n",
                0,
                "published to t at offset 1001 (*)\n",
                "t has nothing of third yet; starting with the first line",
            ),
            ("publish --producer one --resume t alone", "", 0, "published to t at offset 1002 (*)\n", "nothing of one"),
            ("publish --producer one --resume t alone", "", 0, "t has all of it already\n", "t has 1 message of one"),
        ],
    );
    assert_eq!(run(&node.address, "fetch t", b"").stdout, format!("{all}more\nand more\nalone\n"));
}

/// A command that resumes an input fences another one that still publishes under the same name, so that the number of
/// stored records that it was given stays true.
#[test]
fn a_command_that_resumes_an_input_fences_one_that_still_runs() {
    let node = lone_node();
    run(&node.address, "create t", b"");
    let mut first = Running::start(&node.address, "publish -l --producer live t");
    first.write(b"one\ntwo\n");
    while run(&node.address, "--json info t", b"").stdout.contains("\"next_offset\":0,") {}
    let second = run(&node.address, "publish -l --producer live --resume t", b"one\ntwo\nthree\n");
    assert_eq!(second.code, 0, "{}", second.stderr);
    first.write(b"a straggler\n");
    let first = first.end();
    assert_eq!(first.code, 1, "{}", first.stderr);
    assert!(first.stderr.contains("PRODUCER_FENCED"), "{}", first.stderr);
    assert!(first.stderr.contains("lines 1 to 2 are stored"), "{}", first.stderr);
    assert!(first.stderr.contains("--producer live --resume"), "{}", first.stderr);
    assert_eq!(run(&node.address, "fetch t", b"").stdout, "one\ntwo\nthree\n");
}

#[test]
fn alter_changes_the_retention_of_a_topic_and_trim_removes_its_first_records() {
    let node = lone_node();
    check(
        &node.address,
        &[
            ("-q create t --retain-records 100", "", 0, "", ""),
            ("-q publish -l t", "0\n1\n2\n3\n4\n5\n6\n7\n8\n9\n", 0, "", ""),
            ("alter t --retain-age 7d", "", 0, "t keeps at most 100 records, *, 7*d* now\n", ""),
            ("alter t --retain-records 8", "", 0, "t keeps at most 8 records, *\n", ""),
            (
                "--json alter t --retain-bytes 1MiB",
                "",
                0,
                "{*\"first_offset\":2,*\"retention\":{\"records\":8,\"bytes\":1048576,\"age_ms\":604800000}*}\n",
                "",
            ),
            ("alter t", "", 2, "", "no setting to change was given"),
            ("alter absent --retain-records 8", "", 1, "", "no topic \"absent\""),
            ("trim t --to 5", "", 0, "t has the offsets 5 to 9 now\n", ""),
            ("trim t --to 5", "", 0, "t has the offsets 5 to 9 now\n", ""),
            (
                "--json trim t --to 3",
                "",
                0,
                "{\"topic\":\"t\",\"first_offset\":5,\"next_offset\":10,\"topic_id\":*}\n",
                "",
            ),
            ("trim t --to 11", "", 1, "", "the topic ends before offset 10"),
            ("trim absent --to 0", "", 1, "", "no topic \"absent\""),
            ("trim t", "", 2, "", "--to"),
            ("fetch t", "", 0, "5\n6\n7\n8\n9\n", ""),
            ("trim t --to 10", "", 0, "t has no records now, the next offset is 10\n", ""),
            ("fetch t", "", 0, "", ""),
            ("publish t again", "", 0, "published to t at offset 10 (*)\n", ""),
        ],
    );
}
