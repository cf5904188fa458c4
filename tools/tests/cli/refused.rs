//! Option values that make no sense are refused before a command does anything.

use std::process::Command;

use crate::harness::{check, lone_node, run};

#[test]
fn values_that_cannot_work_are_refused() {
    let node = lone_node();
    run(&node.address, "create t -q", b"");
    run(&node.address, "publish -l t -q", b"1\n2\n3\n");
    let size = "is not a size\n  write it like 4096, 64MiB";
    check(
        &node.address,
        &[
            ("-t -1 list", "", 2, "", "\"-1\" is not a duration"),
            ("--ping-after 0 list", "", 2, "", "--ping-after 0: the time must be longer than zero"),
            ("--color mauve list", "", 2, "", "no colour \"mauve\""),
            ("-s a:0 list", "", 2, "", "not a number from 1 to 65535"),
            ("create a --retain-bytes -5", "", 2, "", size),
            ("create a --retain-bytes 99999999TiB", "", 2, "", size),
            ("alter t --retain-bytes 64parsecs", "", 2, "", size),
            ("create a --retain-records -1", "", 2, "", "not a number"),
            ("create a --retain-age 1us", "", 2, "", "--retain-age 1us: ages count in milliseconds"),
            ("alter t --retain-age 999us", "", 2, "", "write 1ms or more, or 0 for the default"),
            ("create a --retain-age old", "", 2, "", "\"old\" is not a duration"),
            ("subscribe t --from earliest -w 0", "", 2, "", "-w 0: the time must be longer than zero"),
            ("nc -w 0s", "info t\n", 2, "", "-w 0s: the time must be longer than zero"),
            ("ping -n 0", "", 2, "", "without a PING"),
            ("stats -i 0", "", 2, "", "an interval is longer than 0"),
            ("publish t x --producer=", "", 2, "", "--producer is empty"),
            ("publish t -H nameless x", "", 2, "", "is not a header"),
            ("trim t --to -1", "", 2, "", "not a number"),
            (
                "trim t --to 9",
                "",
                1,
                "",
                "the topic ends before offset 3\n  remove all its records: dht-cli trim t --to 3",
            ),
            ("create", "", 2, "", "no topic given\n  see: dht-cli create --help"),
            ("subscribe", "", 2, "", "no topic given\n  see: dht-cli subscribe --help"),
            ("export", "", 2, "", "no topic given\n  see: dht-cli export --help"),
            ("fetch t -n", "", 2, "", "-n needs a value\n  see: dht-cli fetch --help"),
            ("fetch t --json=1", "", 2, "", "--json takes no value\n  see: dht-cli fetch --help"),
            ("nc", "nc\n", 2, "", "nc within nc\n  see: dht-cli nc --help"),
            ("decode --dimension 11", "", 2, "", "--dimension 11"),
            ("list a", "", 0, "", ""), // no command has created it
        ],
    );
}

#[test]
fn values_of_zero_that_make_sense_are_accepted() {
    let node = lone_node();
    run(&node.address, "create t -q", b"");
    check(
        &node.address,
        &[
            ("-t 0 publish t one", "", 0, "published to t at offset 0 (memory)\n", ""),
            ("create a --retain-bytes 0 --retain-records 0 --retain-age 0", "", 0, "created a at node 0\n", ""),
            ("fetch t -w 0", "", 0, "one\n", ""),
            ("fetch t -n 0", "", 0, "", ""),
            ("subscribe t --last 0 -n 0", "", 0, "", ""),
            ("trim t --to 0 -q", "", 0, "", ""),
            ("nc -q 0", "fetch t\n", 0, "one\n", ""),
        ],
    );
}

/// `64M` is 64 000 000 and `64MiB` is 67 108 864, as for dht-node.
#[test]
fn sizes_have_the_same_meaning_as_for_the_node() {
    let node = lone_node();
    for (size, bytes) in [("64M", 64_000_000), ("64MB", 64_000_000), ("64MiB", 64 << 20), ("64K", 64_000)] {
        let line = format!("create t{size} --retain-bytes {size} --json");
        let made = run(&node.address, &line, b"").stdout;
        assert!(made.contains(&format!("\"bytes\":{bytes},\"age_ms\"")), "{line}: {made}");
    }
}

#[test]
fn an_error_in_an_environment_variable_names_the_variable() {
    let refused = |name: &str, value: &str| {
        let output = Command::new(env!("CARGO_BIN_EXE_dht-cli")).arg("list").env(name, value).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{name}={value}");
        String::from_utf8(output.stderr).unwrap()
    };
    for (name, value, expected) in [
        ("DHT_TIMEOUT", "soon", "\"soon\" is not a duration (in DHT_TIMEOUT)\n"),
        ("DHT_PING_AFTER", "0", "--ping-after 0: the time must be longer than zero (in DHT_PING_AFTER)\n"),
        ("DHT_SERVER", "a:0", "from 1 to 65535 (in DHT_SERVER)\n"),
    ] {
        let printed = refused(name, value);
        assert!(printed.contains(expected), "{printed}");
    }
}
