//! Publishing so that nothing is stored twice, whatever becomes of connections and commands.

use crate::harness::{Relay, lone_node, run};

/// Its answer is lost, and it is sent again through another node.
#[test]
fn a_single_message_is_stored_once_whatever_becomes_of_the_connection() {
    let node = lone_node();
    run(&node.address, "create t", b"");
    let relay = Relay::losing_an_answer(&node.address);
    let published = run(&format!("{},{}", relay.address, node.address), "publish t once", b"");
    assert_eq!((published.code, published.stderr.as_str()), (0, ""));
    assert!(published.stdout.starts_with("published to t at offset 0 ("), "{}", published.stdout);
    relay.end();
    assert_eq!(run(&node.address, "fetch t", b"").stdout, "once\n");
}
