//! The orderly shutdown of this node and of its neighbour: when peers are notified, and that nothing accepted is lost.

use super::harness::{Harness, fetch, names, records, subscribe, subscribed};
use super::sent::{Sent, only};
use crate::entry::Unreadable;
use crate::limits::{DRAIN_CLIENTS_US, DRAIN_LINKS_US, DRAIN_US};
use crate::node::Event;
use crate::types::{ConnId, Retention};
use crate::wire::request::Publish;
use crate::wire::{Opcode, Request, Response, Status};

const fn ping(node: u16) -> Request<'static> {
    Request::Ping { node, token: 7 }
}

fn sent_frames(sent: &[Sent]) -> Vec<(ConnId, Opcode, Status)> {
    sent.iter().map(|sent| (sent.conn, sent.opcode(), sent.status())).collect()
}

#[test]
fn a_node_that_ends_tells_its_clients_then_its_neighbours_and_serves_these_until_they_confirm() {
    let mut node = Harness::linked(1);
    let (stays, leaves, link) = (node.client(), node.client(), node.link());
    let sent = node.handle(Event::Drain);
    let goaway = |conn| (conn, Opcode::Goaway, Status::Closing);
    assert_eq!(sent_frames(&sent), [goaway(stays), goaway(leaves)]);
    // Further requests of the client are refused, while the cube is still served.
    assert_eq!(node.answer_to(stays, 5, &ping(0)).status(), Status::ShuttingDown.number());
    assert_eq!(node.node_asks(1, 6, &ping(0), &[]).iter().map(Sent::status).collect::<Vec<_>>(), [Status::Ok]);
    assert_eq!(node.lose(leaves).len(), 0);
    // The other client does not disconnect by itself.
    assert_eq!(node.pass(DRAIN_CLIENTS_US - 1).len(), 0);
    let sent = node.pass(1);
    assert_eq!(sent_frames(&sent), [goaway(link)]);
    assert!(!node.is_open(stays) && node.is_open(link) && !node.node.is_drained());
    assert_eq!(node.node_asks(1, 7, &ping(0), &[]).iter().map(Sent::status).collect::<Vec<_>>(), [Status::Ok]);
    assert_eq!(node.send_goaway(link, Status::Closing).len(), 0);
    assert!(node.node.is_drained() && !node.is_open(link));
}

#[test]
fn a_node_that_ends_waits_neither_for_clients_that_have_gone_nor_long_for_a_neighbour_that_is_silent() {
    let mut node = Harness::linked(1);
    let (client, link) = (node.client(), node.link());
    node.handle(Event::Drain);
    let sent = node.lose(client);
    assert_eq!(sent_frames(&sent), [(link, Opcode::Goaway, Status::Closing)], "at once");
    node.pass_silently(DRAIN_LINKS_US - 1);
    assert!(!node.node.is_drained());
    node.pass_silently(1);
    assert!(node.node.is_drained());
    // Without peers to notify, the shutdown is over at once.
    let mut alone = Harness::alone();
    alone.handle(Event::Drain);
    assert!(alone.node.is_drained());
}

#[test]
fn what_was_taken_is_done_and_answered_before_a_node_ends() {
    let (name, there) = (names(0, 1).next().unwrap(), names(1, 1).next().unwrap());
    let mut node = Harness::linked(1);
    let client = node.client();
    node.create(client, &name, Retention::default());
    node.hold();
    let publish = Request::Publish(Publish { topic: super::harness::topic(&name), producer: None, count: 1 });
    let payload = records(1, 10);
    node.node_asks(1, 6, &publish, &payload);
    let asked = node.ask(
        client,
        7,
        &Request::Create { topic: super::harness::topic(&there).name, retention: Retention::default() },
    );
    node.handle(Event::Drain);
    assert_eq!(node.pass(2 * DRAIN_CLIENTS_US).len(), 0, "the other node has not answered yet");
    let sent = node.answer(&asked[0], &super::harness::refusal(Status::Quota));
    assert_eq!(only(&sent, Opcode::Create)[0].status(), Status::Quota);
    assert_eq!(only(&sent, Opcode::Goaway).len(), 1, "the link is told now");
    let link = node.link();
    node.send_goaway(link, Status::Closing);
    node.pass(2 * DRAIN_LINKS_US);
    assert!(!node.node.is_drained(), "the disk has not answered yet");
    let sent = node.commit();
    assert_eq!(
        sent_frames(&only(&sent, Opcode::Publish).into_iter().map(clone).collect::<Vec<_>>()),
        [(link, Opcode::Publish, Status::Ok)]
    );
    assert!(node.node.is_drained());
}

fn clone(sent: &Sent) -> Sent {
    Sent { conn: sent.conn, frame: sent.frame.clone(), is_droppable: sent.is_droppable }
}

#[test]
fn a_disk_that_hangs_and_a_node_that_does_not_answer_are_waited_for_only_so_long() {
    let name = names(0, 1).next().unwrap();
    let mut node = Harness::linked(1);
    let client = node.client();
    node.create(client, &name, Retention::default());
    node.hold();
    let publish = Request::Publish(Publish { topic: super::harness::topic(&name), producer: None, count: 1 });
    node.ask_with(client, 7, &publish, &records(1, 10));
    node.handle(Event::Drain);
    node.pass(DRAIN_US / 2 - 1);
    assert!(node.is_open(client));
    node.pass(1);
    assert!(!node.is_open(client));
    node.pass(DRAIN_US / 4 - 1);
    assert!(!node.node.is_drained());
    node.pass(1);
    assert!(node.node.is_drained());
}

#[test]
fn a_read_that_the_disk_has_not_answered_in_time_is_refused_as_not_done() {
    let name = names(0, 1).next().unwrap();
    let mut node = Harness::linked_with_journal(1);
    let (client, link) = (node.client(), node.link());
    node.create(client, &name, Retention::default());
    node.publish(client, &name, 3, 1000);
    assert_eq!(node.node_asks(1, 6, &Request::Fetch(fetch(&name)), &[]).len(), 0, "the journal is asked");
    let lookup = node.asked.remove(0);
    node.handle(Event::Drain);
    node.lose(client);
    node.pass(DRAIN_US / 4 - 1);
    assert!(!node.node.is_drained());
    let sent = node.pass(1);
    assert_eq!(sent_frames(&sent), [(link, Opcode::Fetch, Status::NotLeader)]);
    assert!(node.node.is_drained());
    assert_eq!(node.handle(Event::Read { lookup, found: Err(Unreadable::NotNow) }).len(), 0, "it comes too late");
}

#[test]
fn a_neighbour_that_ends_is_routed_around_and_heard_until_it_closes() {
    let name = names(1, 1).next().unwrap();
    let mut node = Harness::linked(1);
    let (client, link) = (node.client(), node.link());
    let asked = node.ask(client, 5, &subscribe(&name));
    let sent = node.send_goaway(link, Status::Closing);
    assert_eq!(sent_frames(&sent), [(link, Opcode::Goaway, Status::Closing)], "confirmed");
    // Requests that it had accepted are answered over the old link; no new request is sent there.
    let sent = node.answer(&asked[0], &Response::Subscribed(subscribed(9, 1, 0)));
    assert_eq!(only(&sent, Opcode::Subscribe)[0].status(), Status::Ok);
    assert_eq!(node.ask(client, 6, &ping(1)).len(), 0, "it waits for another way");
    // Its next instance can connect while the old link is still open.
    node.link_up();
    let sent = node.timeout();
    assert_eq!(sent_frames(&sent), [(node.link(), Opcode::Ping, Status::Ok)], "there it is");
    assert_eq!(node.ask(client, 7, &ping(1))[0].conn, node.link());
    assert!(node.is_open(link));
    node.lose(link);
    assert_eq!(node.ask(client, 8, &ping(1))[0].conn, node.link(), "the new link is another one");
    // A link that is not closed in time is closed by this side.
    let link = node.link();
    node.send_goaway(link, Status::Closing);
    node.pass(DRAIN_US);
    assert!(!node.is_open(link));
    // Any other GOAWAY ends the link at once.
    let link = node.link_up();
    node.send_goaway(link, Status::ProtocolError);
    assert!(!node.is_open(link));
}
