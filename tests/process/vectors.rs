//! The bytes of `tests/vectors/bad.txt`, sent to a real node, which must react as chapter 13 of protocol.md specifies.

#[expect(dead_code, reason = "this test only reads vector files")]
#[path = "../vectors_support/text.rs"]
mod text;

use dht_node::limits::FRAME_MAX;
use dht_node::wire::{Flags, Header, Opcode, Status};

use crate::cube::Cube;
use crate::raw::{Got, Raw, Received};
use crate::requests::create;

#[test]
fn a_node_reacts_to_each_bad_frame_as_the_protocol_specifies() {
    let cube = Cube::start_with(3, &["--cluster", "demo"]);
    Raw::greet(cube.address(0)).call(&create("orders"), &[]);
    let entries = text::load("bad.txt");
    assert!(entries.len() > 80, "only {} entries were read", entries.len());
    for entry in &entries {
        let mut raw = match entry.value("when") {
            "as the first bytes" => Raw::connect(cube.address(5)),
            _ => Raw::greet(cube.address(5)),
        };
        let frames = frames(&entry.bytes("hex"));
        let asked = frames.last().and_then(|frame| Header::parse(frame, FRAME_MAX).ok().flatten());
        for (number, frame) in frames.iter().enumerate() {
            raw.send_in_vain(frame);
            let header = Header::parse(frame, FRAME_MAX).ok().flatten();
            if let Some(header) = header.filter(|_| number + 1 < frames.len())
                && !header.flags.has(Flags::ONEWAY)
            {
                raw.answer(header.request_id.0);
            }
        }
        raw.finish();
        check(entry, &received(&mut raw), asked);
    }
    Raw::greet(cube.address(5)).ping();
    cube.wait_linked();
}

/// Checks the frames that a node has sent up to the end of the connection.
fn check(entry: &text::Entry, got: &[Received], asked: Option<Header>) {
    let name = entry.name();
    let received: Vec<_> = got.iter().map(|frame| (frame.header.opcode, frame.header.status)).collect();
    let number = |name: &str| Status::ALL.iter().find(|status| status.name() == name).expect("a status").number();
    let status = entry.find("status").map(number).unwrap_or_default();
    let (goaway, hello) = (Opcode::Goaway.number(), Opcode::Hello.number());
    match entry.value("does") {
        "close" | "drop" => assert_eq!(received, [], "{name}"),
        "goaway" => assert_eq!(received, [(goaway, status)], "{name}"),
        "refuse" => assert_eq!(received, [(hello, status), (goaway, status)], "{name}"),
        does @ ("answer" | "act") => {
            let asked = asked.expect("it was a frame");
            assert_eq!(received, [(asked.opcode, status)], "{name}: {does}");
            assert_eq!(got[0].header.request_id, asked.request_id, "{name}");
        }
        does => panic!("{name}: {does}"),
    }
}

/// Returns all frames up to the end of the connection.
fn received(raw: &mut Raw) -> Vec<Received> {
    let mut frames = Vec::new();
    loop {
        match raw.next(crate::daemon::PATIENCE) {
            Got::Frame(frame) => frames.push(frame),
            Got::End => return frames,
            other => panic!("{other:?} after {frames:?}"),
        }
    }
}

/// Splits a stream into its frames; incomplete or invalid bytes at the end are the last element.
fn frames(stream: &[u8]) -> Vec<Vec<u8>> {
    let mut rest = stream;
    let mut frames = Vec::new();
    while let Ok(Some(header)) = Header::parse(rest, FRAME_MAX)
        && let Some((frame, behind)) = rest.split_at_checked(header.frame_len())
    {
        frames.push(frame.to_vec());
        rest = behind;
    }
    if !rest.is_empty() {
        frames.push(rest.to_vec());
    }
    frames
}
