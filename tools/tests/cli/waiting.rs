//! Subscriptions whose home is unreachable: they print one notice, wait, and print another when it is back.

use std::process::Command;

use dht_client::{Dimension, TopicName};
use dht_protocol::cube::home;

use crate::common::Node;
use crate::harness::{Running, matches, run};

/// Returns a topic whose home is node 1 of a cube of two.
fn there() -> String {
    let line = Dimension::new(1).unwrap();
    let names = (0..).map(|number| format!("t{number}"));
    let mut there = names.filter(|name| home(TopicName::new(name).unwrap(), line).index() == 1);
    there.next().unwrap()
}

/// Sends a signal to a node, which stops or continues it.
fn signal(node: &Node, name: &str) {
    assert!(Command::new("kill").args([name, &node.process.id().to_string()]).status().unwrap().success());
}

#[test]
fn a_new_subscription_to_an_unreachable_home_prints_one_notice_and_waits_for_the_time_of_w() {
    let half = Node::start(0, 1, "0 127.0.0.1:0\n1 127.0.0.1:1\n"); // nobody listens on port 1
    let topic = there();
    // Two entries with the same address act like two nodes that both have no path.
    let servers = format!("{0},{0}", half.address);
    for (options, stdout, stderr) in [
        ("", "", "dht-cli: waiting for node 1: no path\ndht-cli: no record arrived for *; received 0 records in *\n"),
        ("-q", "", ""),
        (
            "--json",
            &*format!("{{\"waiting\":{{\"node\":\"1\",\"reason\":\"no path\"}},\"topic\":\"{topic}\"}}\n"),
            "dht-cli: no record arrived for *; received 0 records in *\n",
        ),
    ] {
        let outcome = run(&servers, &format!("subscribe {topic} -w 3s {options}"), b"");
        assert_eq!((outcome.code, &*outcome.stdout), (4, stdout), "{}", outcome.stderr);
        assert!(matches(&outcome.stderr, stderr), "{:?}", outcome.stderr);
    }
}

#[test]
fn a_subscription_prints_notices_when_its_home_freezes_and_when_it_is_back() {
    let near = Node::start(0, 1, "0 127.0.0.1:0\n1 127.0.0.1:1\n");
    let far = Node::start(1, 1, &format!("0 {}\n1 127.0.0.1:0\n", near.address));
    let topic = there();
    let mut created = run(&near.address, &format!("create {topic} -q"), b"");
    while created.code != 0 {
        created = run(&near.address, &format!("create {topic} -q"), b""); // the link is not up yet
    }
    let mut old = Running::start(&near.address, &format!("subscribe {topic} -n 1 -v"));
    old.wait_for_stderr("subscribed to");
    signal(&far, "-STOP");
    old.wait_for_stderr("waiting for node 1: no path");
    let mut new = Running::start(&near.address, &format!("subscribe {topic} -n 1"));
    new.wait_for_stderr("waiting for node 1: no path");
    signal(&far, "-CONT");
    for subscriber in [&mut old, &mut new] {
        subscriber.wait_for_stderr("node 1 is back, records flow again");
    }
    assert_eq!(run(&near.address, &format!("publish {topic} hello -q"), b"").code, 0);
    for subscriber in [old, new] {
        let outcome = subscriber.end();
        assert_eq!((outcome.code, &*outcome.stdout, &*outcome.stderr), (0, "hello\n", ""));
    }
}
