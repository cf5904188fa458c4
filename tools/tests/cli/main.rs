//! The command line as a user or a script sees it: its output and exit codes, against a real node.

#![expect(clippy::unwrap_used, reason = "an unexpected result fails the test")]

#[path = "../common/mod.rs"]
mod common;
mod exits;
mod harness;
mod payloads;
mod producers;
mod readme;
mod refused;
mod transfer;
mod waiting;

use std::io::{Read, Write};
use std::process::{Command, Stdio};

use common::Node;
use harness::{Relay, Running, check, lone_node, matches, run};

#[test]
fn topics_are_created_published_to_read_and_deleted() {
    let node = lone_node();
    check(
        &node.address,
        &[
            ("create weather", "", 0, "created weather at node 0\n", ""),
            ("create weather", "", 0, "there already: weather at node 0\n", ""),
            ("create weather --retain-records 5", "", 1, "", "error 0x46 TOPIC_EXISTS"),
            ("publish weather sunny", "", 0, "published to weather at offset 0 (memory)\n", ""),
            ("publish weather", "two\nlines\n", 0, "published to weather at offset 1 (memory)\n", ""),
            ("publish -l weather -q", "a\nb\r\n\nlast", 0, "", ""),
            ("pub weather - -k key -H n=v --json", "x", 0, "{\"topic\":\"weather\",\"offset\":6,\"count\":1,*}\n", ""),
            ("publish -0 weather --json", "p\0q\n", 0, "{*\"offset\":7,\"count\":2,\"last_offset\":8,*}\n", ""),
            ("publish -l weather", "", 0, "nothing to publish\n", ""),
            ("fetch weather -n 2", "", 0, "sunny\ntwo\nlines\n\n", ""),
            ("get weather --from 2 -n4", "", 0, "a\nb\r\n\nlast\n", ""),
            ("fetch weather --from 7 -0", "", 0, "p\0q\n\0", ""),
            ("fetch weather --from 7 -r", "", 0, "pq\n", ""),
            ("fetch weather --from next", "", 0, "", ""),
            ("fetch weather --from 1h -n1", "", 0, "sunny\n", ""),
            (
                "fetch weather --from 6 -n 1 --json",
                "",
                0,
                "{\"topic\":\"weather\",\"offset\":6,\"payload\":\"x\",\"key\":\"key\",\"timestamp_us\":*,*\
                 \"headers\":[{\"name\":\"n\",\"value\":\"v\"}]}\n",
                "",
            ),
            ("fetch weather --from 99", "", 1, "", "--from next"),
            ("fetch wether", "", 1, "", "did you mean \"weather\"?"),
            ("fetch wether --json", "", 1, "", "{\"error\":{\"code\":69,\"name\":\"UNKNOWN_TOPIC\","),
            ("publish new x --create -q", "", 0, "", ""),
            ("list", "", 0, "new\nweather\n", ""),
            ("create logs/*", "", 2, "", "only list takes patterns: dht-cli list 'logs/*'"),
            ("list *e*", "", 0, "new\nweather\n", ""),
            ("list w*r", "", 0, "weather\n", ""),
            ("list ?e?", "", 0, "new\n", ""),
            ("list w*x", "", 0, "", ""),
            ("ls wea -l", "", 0, "TOPIC * OFFSETS\nweather  0 * 9 * 0 to 8\n", ""),
            ("list --json x", "", 0, "{\"topics\":[],\"unanswered\":[]}\n", ""),
            ("info weather", "", 0, "weather\n  home         node 0\n*records      9 *", ""),
            ("query nothing", "", 0, "nothing\n*no topic has that name*", ""),
            ("query weather --json", "", 0, "{*\"home\":\"0\",*\"next_offset\":9,*\"path\":[\"0\"],*}\n", ""),
            (
                "trace weather",
                "",
                0,
                "from node 0 to node 0, the home of weather\n*0 hops, at most 0 are possible\n",
                "",
            ),
            ("rm -y weather new", "", 0, "deleted weather with 9 records\ndeleted new with 1 record\n", ""),
            ("delete -y weather", "", 1, "", "no topic \"weather\""),
            ("delete -y weather --if-exists", "", 0, "not there: weather\n", ""),
        ],
    );
}

#[test]
fn a_read_reports_records_that_retention_has_removed() {
    let node = lone_node();
    let lines: String = (0..10).map(|number| format!("{number}\n")).collect();
    check(&node.address, &[("create t --retain-records 2 -q", "", 0, "", "")]);
    for line in lines.lines() {
        run(&node.address, &format!("publish t {line}"), b"");
    }
    check(
        &node.address,
        &[
            ("fetch t", "", 0, "8\n9\n", ""),
            ("fetch t --from 5", "", 0, "8\n9\n", "offsets 5 to 7 were removed by retention"),
            (
                "fetch t --from 5 --json",
                "",
                0,
                "{\"gap\":[5,8],\"topic\":\"t\"}\n{*\"offset\":8,*}\n{*\"offset\":9,*}\n",
                "",
            ),
        ],
    );
}

#[test]
fn usage_errors_say_what_to_write_instead() {
    check(
        "127.0.0.1:1",
        &[
            ("list", "", 3, "", "cannot reach 127.0.0.1:1: connection refused"),
            (
                "list --json",
                "",
                3,
                "",
                "\"name\":\"CONNECT\",\"message\":\"cannot reach 127.0.0.1:1: connection refused\"",
            ),
            ("", "", 2, "", "no command"),
            ("publis t", "", 2, "", "did you mean \"publish\"?"),
            ("fetch", "", 2, "", "missing: topic\n  see: dht-cli fetch --help"),
            ("fetch t --count", "", 2, "", "--count needs a value"),
            ("fetch t -n x", "", 2, "", "--count \"x\": not a number"),
            ("fetch t -n 99999999999999999999", "", 2, "", "the number is too large"),
            ("list a b", "", 2, "", "unexpected argument `b`\n  see: dht-cli list --help"),
            ("fetch t --from sometime", "", 2, "", "write earliest, latest, an offset, a time"),
            ("publish t a -l", "", 2, "", "a MESSAGE excludes -l, -0 and -f"),
            ("publish t -f /nonexistent", "", 2, "", "cannot read /nonexistent: no such file or directory"),
            ("publish t -H novalue x", "", 2, "", "write it like -H NAME=VALUE"),
            ("-t soon list", "", 2, "", "\"soon\" is not a duration"),
            ("-s a:b list", "", 2, "", "is not an address HOST[:PORT]"),
            ("--color maybe list", "", 2, "", "auto, always or never"),
            ("help publish", "", 0, "Usage: dht-cli publish *", ""),
            ("publish t --help", "", 0, "Usage: dht-cli publish *", ""),
            ("bench run --help", "", 0, "Usage: dht-cli bench run *[default: 100]*", ""),
            ("bench sweep --help", "", 0, "Usage: dht-cli bench sweep *[default:*1,100,200,...,1000]*", ""),
            ("bench compare --help", "", 0, "Usage: dht-cli bench compare [--out <folder>] [--] <old> <new>\n*", ""),
            ("bench intrinsic --help", "", 0, "Usage: dht-cli bench intrinsic *", ""),
            ("bench report --help", "", 0, "Usage: dht-cli bench report *", ""),
            ("bench plot --help", "", 0, "Usage: dht-cli bench plot *", ""),
            ("bench --help", "", 0, "*run *sweep *intrinsic *compare *report *plot *", ""),
            ("--version", "", 0, "dht-cli * (protocol 1)\n", ""),
        ],
    );
}

#[test]
fn commands_report_nodes_that_are_down() {
    // Nobody listens on port 1, so node 1 is down.
    let node = Node::start(0, 1, "0 127.0.0.1:0\n1 127.0.0.1:1\n");
    check(
        &node.address,
        &[
            (
                "cluster",
                "",
                5,
                "NODE *\n0 * up *\n1     127.0.0.1:1 * DOWN *\n\n1 of 2 nodes up, 0 of 1 links up\n",
                "",
            ),
            (
                "cluster --wait 100ms --json",
                "",
                5,
                "{\"dimension\":1,\"nodes\":[{\"id\":\"0\",*\"up\":true,*},{\"id\":\"1\",\"address\":\"127.0.0.1:1\",\
                 \"up\":false,*}],\"links\":[{\"a\":\"0\",\"b\":\"1\",\"up\":false}],*}\n",
                "",
            ),
            ("ping -n 1 0", "", 0, "NODE *\n0 * ms *1 of 1\n", ""),
            (
                "ping -c 1 --json",
                "",
                5,
                "{\"nodes\":[{\"id\":\"0\",\"up\":true,*},{\"id\":\"1\",\"up\":false,*}]}\n",
                "",
            ),
            ("ping 10", "", 2, "", "nodes are written as binary digits: 0 to 1"),
            ("list", "", 5, "", "the topics of node 1 are missing"),
            ("stats --json", "", 5, "{\"nodes\":[{\"id\":\"0\",\"up\":true,\"stats\":{*}},{\"id\":\"1\",*}]}\n", ""),
            ("trace 1", "", 6, "from node 0 to node 1\n*the path ends here\n", "UNREACHABLE"),
        ],
    );
}

#[test]
fn stats_with_an_interval_prints_one_line_per_interval() {
    // Nobody listens on port 1, so node 1 is down.
    let node = Node::start(0, 1, "0 127.0.0.1:0\n1 127.0.0.1:1\n");
    let heading =
        "     UTC  NODES    REQ/S    REC/S   BYTES/S  DELIV/S    FWD/S    ERR/S  CLIENTS   TOPICS    MEMORY\n";
    check(
        &node.address,
        &[
            ("stats -i 10ms -n 0", "", 0, "", "node 1 does not answer"),
            ("stats 1 -q -i 10ms -n 1", "", 0, "*   0/1        -  *\n", ""),
            ("stats 0 -i 10ms -n 21", "", 0, "*\n*:*:*   1/1*\n     UTC *\n*   1/1 *\n", ""),
            (
                "stats -q -i 10ms -n 2 --json",
                "",
                0,
                "{\"time\":\"*Z\",\"asked\":2,\"down\":[\"1\"],\"per_second\":{\"requests\":*,\"errors\":*},\
                 \"now\":{\"clients\":1,*}}\n{\"time\":*}\n",
                "",
            ),
            ("stats -n 1", "", 2, "", "-n counts lines of -i"),
            ("stats -i 0", "", 2, "", "longer than 0"),
            ("stats -i 9999999999years", "", 2, "", "at most a day"),
            ("stats -i often", "", 2, "", "is not a duration"),
            ("nc", "stats -i 1s\n", 2, "", "no command of nc"),
        ],
    );
    // Each line is flushed immediately, although stdout is not a terminal; and Ctrl-C counts as success.
    let mut rolling = Running::start(&node.address, "stats 0 -i 20ms");
    assert_eq!(rolling.line(), heading);
    assert!(matches(&rolling.line(), "*:*:*    1/1 *B\n"));
    rolling.interrupt();
    assert_eq!(rolling.end().code, 0);
    // It continues when the node that it queries is gone.
    let mut rolling = Running::start(&node.address, "stats 0 -i 20ms");
    assert_eq!(rolling.line(), heading);
    drop(node);
    rolling.wait_for_stderr("node 0 does not answer");
    while !matches(&rolling.line(), "*    0/1        -        -*\n") {}
    rolling.interrupt();
    assert_eq!(rolling.end().code, 0);
}

#[test]
fn bash_completes_commands_options_and_values() {
    let node = lone_node();
    run(&node.address, "create weather orders orders/old -q", b"");
    let complete = r#"source <("$0" completions bash); COMP_WORDS=(dht-cli "$@"); COMP_CWORD=$#
        _dht-cli; echo "${COMPREPLY[*]} ${cmd-}""#;
    for (words, expected) in [
        (vec!["pub"], "publish pub"),
        (vec!["-s", "h:1", "bench", "--du"], "--duration"),
        (vec!["fetch", "t", "--fr"], "--from"),
        (vec!["ls", "--lo"], "--long"),
        (vec!["subscribe", "--serv"], "--server"),
        (vec!["stats", "-w", ""], ""), // a value
        (vec!["completions", "xyz"], ""),
        (vec!["list", "--sort", ""], "name node records bytes"),
        (vec!["list", "--sort", "=", "na"], "name"), // bash splits words at `=`
        (vec!["bench", "s"], "sweep"),
        (vec!["bench", "run", "--tests", "p"], "publish ping"),
        (vec!["fetch", "o"], "orders orders/old"),
        (vec!["-s", "127.0.0.1", ":", "1", "fetch", "o"], ""), // no node listens there
        (vec!["subscribe", "weather", "--from", "e"], "earliest"),
        (vec!["publish", "-f", ""], ""), // files, which bash completes itself
    ] {
        let program = env!("CARGO_BIN_EXE_dht-cli");
        let mut bash = Command::new("bash");
        bash.args(["-c", complete, program]).args(&words).env("DHT_SERVER", &node.address);
        let output = bash.output().unwrap();
        assert_eq!(String::from_utf8(output.stderr).unwrap(), "");
        assert_eq!(String::from_utf8(output.stdout).unwrap().trim_end(), expected, "{words:?}");
    }
    check(
        "",
        &[
            ("completions zsh", "", 0, "#compdef dht-cli\n*", ""),
            ("completions fish --json", "", 0, "{\"script\":\"*\"}\n", ""),
            ("completions tcsh", "", 2, "", "tcsh"),
        ],
    );
}

#[test]
fn nc_runs_commands_line_by_line_over_one_connection() {
    let node = lone_node();
    check(
        &node.address,
        &[
            (
                "nc",
                "create t -q  # a topic\n\npublish t \"hello world\" -q\nfetch t\nfetch nope\nfetch t --json\nlist\n",
                1,
                "hello world\n{*\"payload\":\"hello world\",*}\nt\n",
                "no topic \"nope\"",
            ),
            ("nc", "publish t 'open\n", 2, "", "a quote is not closed"),
            ("nc", "list -s a:1\n", 2, "", "all lines use one connection"),
            ("nc", "list\nquit\nlist\n", 0, "t\n", ""),
            (
                "nc -x",
                "query t\n",
                0,
                "> sent: HELLO request 1\n*< received: HELLO response 1, OK\n*> sent: QUERY request 2\n*\
                 < received: QUERY response 2, OK\n*first_offset*\nt\n  home *",
                "",
            ),
        ],
    );
}

#[test]
fn a_fetch_exits_quietly_when_its_output_is_closed() {
    let node = lone_node();
    let lines: String = (0..200_000).map(|number| format!("{number}\n")).collect();
    run(&node.address, "create t", b"");
    assert_eq!(run(&node.address, "publish -l t", lines.as_bytes()).code, 0);
    assert_eq!(run(&node.address, "fetch t", b"").stdout, lines);
    let mut process = Command::new(env!("CARGO_BIN_EXE_dht-cli"))
        .args(["-s", &node.address, "fetch", "t"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut first = [0; 4];
    let mut stdout = process.stdout.take().unwrap();
    stdout.read_exact(&mut first).unwrap();
    drop(stdout);
    let output = process.wait_with_output().unwrap();
    assert_eq!((output.status.code(), output.stderr.as_slice(), &first), (Some(0), b"".as_slice(), b"0\n1\n"));
}

#[test]
fn decode_explains_frames() {
    // The client's HELLO of protocol.md.
    let good = "0000004fc44801010000002f000000000000000000000001fe9d223d000000001b6da6ec01010100ffff000000000000\
                00100000000000000000000000000000c11e47000000000100096578616d706c652f31";
    let bad = good.replacen("c448", "c449", 1);
    for (input, code, expected) in [
        (good, 0, "software          \"example/1\""),
        (bad.as_str(), 1, "bad: bytes 4 and 5 are not 0xc448"),
        (&good[..80], 1, "bad: the input ends after 40 of the frame's 83 bytes"),
        ("hello", 1, ""),
    ] {
        let outcome = run("", "decode", input.as_bytes());
        assert_eq!(outcome.code, code, "{}{}", outcome.stdout, outcome.stderr);
        assert!(outcome.stdout.contains(expected), "{}", outcome.stdout);
    }
}

#[test]
fn records_are_printed_as_the_options_say() {
    let node = lone_node();
    check(
        &node.address,
        &[
            ("create t u kept -q", "", 0, "", ""),
            ("publish t one -k key -q", "", 0, "", ""),
            ("publish -l t -q", "two\nthree\n", 0, "", ""),
            ("subscribe t --from earliest -n 3", "", 0, "one\ntwo\nthree\n", ""),
            ("sub t --from 1 -n1", "", 0, "two\n", ""),
            ("sub t --from 1h -n 2 -0", "", 0, "one\0two\0", ""),
            ("sub t --from earliest -n 3 -r", "", 0, "onetwothree", ""),
            ("sub t --from earliest -n 2 -F %t:%i:%k:%p%%\\n", "", 0, "t:0:key:one%\nt:1::two%\n", ""),
            ("sub t --from earliest -n 2 -F %p\\t", "", 0, "one\ttwo\t", ""),
            ("sub t -r -F %p", "", 2, "", "end it with \\n, \\0 or nothing"),
            ("fetch t -0 -F %p", "", 2, "", "-F excludes -r and -0"),
            ("fetch t -F %i=%p\\n", "", 0, "0=one\n1=two\n2=three\n", ""),
            (
                "sub t --from earliest -n 1 --json",
                "",
                0,
                "{\"topic\":\"t\",\"offset\":0,\"payload\":\"one\",\"key\":\"key\",\"timestamp_us\":*}\n",
                "",
            ),
            ("sub t -n 0", "", 0, "", ""),
            ("sub t u --from 1 -w 50ms -q", "", 1, "two\nthree\n", "--from next"),
            ("sub t -w 50ms", "", 4, "", "no record arrived for 50ms; received 0 records"),
            ("fetch u --wait 50ms", "", 4, "", "no record arrived within 50ms"),
            ("fetch t --from 2 --wait 1m", "", 0, "three\n", ""),
            ("sub nothing t --from earliest -n 1", "", 1, "one\n", "create it: dht-cli create nothing"),
            ("sub nothing none", "", 1, "", "no topic \"none\""),
            ("sub", "", 2, "", "no topic given"),
            ("sub t -F %x", "", 2, "", "-F knows no %x"),
            ("sub t -F %p --json", "", 2, "", "--json and -F exclude each other"),
            ("sub t -r -0", "", 2, "", "-r and -0 exclude each other"),
            ("sub t --from soon", "", 2, "", "is not a position in a topic"),
        ],
    );
}

#[test]
fn a_subscription_prints_records_as_they_come_until_ctrl_c() {
    let node = lone_node();
    run(&node.address, "create a b", b"");
    let mut both = Running::start(&node.address, "-v subscribe -w 30s a b --json");
    let mut none = Running::start(&node.address, "-v subscribe -w 30s a -n 9");
    both.wait_for_stderr("subscribed to b");
    none.wait_for_stderr("subscribed to a");
    for (topic, offset) in [("a", 0), ("b", 0), ("b", 1)] {
        run(&node.address, &format!("publish {topic} {topic}{offset}"), b"");
        let line = both.line();
        let expected = format!("{{\"topic\":\"{topic}\",\"offset\":{offset},\"payload\":\"{topic}{offset}\",*}}\n");
        assert!(matches(&line, &expected), "{line}");
    }
    let info = run(&node.address, "info b --json", b"").stdout;
    assert!(info.contains("\"subscribers\":1,\"feeds\":1,\"lag\":"), "{info}");
    both.interrupt();
    let outcome = both.end();
    assert_eq!((outcome.code, outcome.stdout.as_str()), (0, ""));
    assert!(outcome.stderr.contains("received 3 records in "), "{}", outcome.stderr);
    // Ctrl-C before all requested records have come is a failure, with some records or with none.
    assert_eq!(none.line(), "a0\n");
    none.interrupt();
    assert_eq!(none.end().code, 130);
    let mut none = Running::start(&node.address, "-v subscribe -w 30s a -n 9");
    none.wait_for_stderr("subscribed to a");
    none.interrupt();
    assert_eq!(none.end().code, 130);
}

#[test]
fn deleting_a_topic_ends_its_subscription_and_the_others_continue() {
    let node = lone_node();
    run(&node.address, "create a b", b"");
    let mut both = Running::start(&node.address, "-v subscribe -w 30s a b");
    both.wait_for_stderr("subscribed to b");
    run(&node.address, "publish a last", b"");
    assert_eq!(both.line(), "last\n");
    run(&node.address, "delete -y a", b"");
    both.wait_for_stderr("a: the topic was deleted (error 0x45 UNKNOWN_TOPIC)");
    run(&node.address, "publish b more", b"");
    assert_eq!(both.line(), "more\n");
    run(&node.address, "delete -y b", b"");
    let outcome = both.end();
    assert_eq!(outcome.code, 1);
    assert!(outcome.stderr.contains("b: the topic was deleted"), "{}", outcome.stderr);
}

#[test]
fn a_subscription_exits_quietly_when_its_output_is_closed() {
    let node = lone_node();
    run(&node.address, "create t", b"");
    let mut process = Running::start(&node.address, "-v subscribe -w 30s t");
    process.wait_for_stderr("subscribed to t");
    run(&node.address, "publish t first", b"");
    assert_eq!(process.line(), "first\n");
    let Running { process: mut child, stdout, mut stderr, .. } = process;
    drop(stdout);
    run(&node.address, "publish t second", b"");
    let mut rest = String::new();
    stderr.read_to_string(&mut rest).unwrap();
    assert_eq!((child.wait().unwrap().code(), rest.as_str()), (Some(0), ""));
}

#[test]
fn a_subscriber_resumes_from_its_offset_over_another_connection() {
    let node = lone_node();
    let relay = Relay::start(&node.address);
    run(&node.address, "create t", b"");
    let servers = format!("{},{}", relay.address, node.address);
    let mut process = Running::start(&servers, "-v subscribe -w 30s t -n 4");
    process.wait_for_stderr("subscribed to t");
    run(&node.address, "publish -l t", b"0\n1\n");
    assert_eq!((process.line(), process.line()), ("0\n".to_owned(), "1\n".to_owned()));
    relay.cut();
    assert_eq!(process.wait_for_stderr("lost"), "dht-cli: the connection to node 0 was lost; continuing at offset 2\n");
    run(&node.address, "publish -l t", b"2\n3\n");
    let outcome = process.end();
    assert_eq!((outcome.code, outcome.stdout.as_str(), outcome.stderr.as_str()), (0, "2\n3\n", ""));
}

#[test]
fn nc_prints_records_of_subscriptions_between_the_output_of_commands() {
    let node = lone_node();
    let mut nc = Running::start(&node.address, "nc -w 30");
    // Each case: an input line, and the next output line. Records may come at any time, but no other output is
    // outstanding then.
    for (line, said) in [
        ("create t u -q\nsubscribe t\n", "subscribed to t, next is offset 0\n"),
        ("publish t hello -q\n", "t 0 hello\n"),
        ("subscribe u --json\n", "{\"subscribed\":\"u\",\"next_offset\":0}\n"),
        ("publish u x -q\n", "{\"topic\":\"u\",\"offset\":0,*}\n"),
        ("subscribe\n", "subscribed to t, next is offset 1\n"),
        ("list t\n", "subscribed to u, next is offset 1\n"),
        ("unsubscribe t\n", "t\n"),
        ("publish t unseen -q\nfetch t --from 1\n", "unsubscribed from t, next is offset 1\n"),
        ("delete -y u -q\n", "unseen\n"),
    ] {
        nc.stdin.write_all(line.as_bytes()).unwrap();
        let seen = nc.line();
        assert!(matches(&seen, said), "{line}{seen}{said}");
    }
    nc.wait_for_stderr("u: the topic was deleted");
    nc.stdin.write_all(b"unsubscribe u\nsubscribe t -n 1\n").unwrap();
    nc.wait_for_stderr("u is not subscribed to");
    nc.wait_for_stderr("-n and -w work only outside of nc");
    assert_eq!(nc.end().code, 2);
}
