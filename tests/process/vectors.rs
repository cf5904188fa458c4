//! The bytes of `tests/vectors/bad.txt`, sent to a real node: it does what chapter 13 of protocol.md says.

#[expect(dead_code, reason = "files of vectors are only read here")]
#[path = "../vectors_support/text.rs"]
mod text;

use dht_node::limits::FRAME_MAX;
use dht_node::wire::{Flags, Header, Opcode, Status};

use crate::cube::Cube;
use crate::raw::{Got, Raw, Received};
use crate::requests::create;

#[test]
fn a_node_does_with_each_bad_frame_what_the_protocol_says() {
    let cube = Cube::start_with(3, &["--cluster", "demo"]);
    Raw::greet(cube.address(0)).call(&create("orders"), &[]);
    let entries = text::load("bad.txt");
    assert!(entries.len() > 80, "the file is read whole");
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

/// What a node answers, and how it ends.
fn check(entry: &text::Entry, got: &[Received], asked: Option<Header>) {
    let name = entry.name();
    let told: Vec<_> = got.iter().map(|frame| (frame.header.opcode, frame.header.status)).collect();
    let number = |name: &str| Status::ALL.iter().find(|status| status.name() == name).expect("a status").number();
    let status = entry.find("status").map(number).unwrap_or_default();
    let (goaway, hello) = (Opcode::Goaway.number(), Opcode::Hello.number());
    match entry.value("does") {
        "close" | "drop" => assert_eq!(told, [], "{name}"),
        "goaway" => assert_eq!(told, [(goaway, status)], "{name}"),
        "refuse" => assert_eq!(told, [(hello, status), (goaway, status)], "{name}"),
        does @ ("answer" | "act") => {
            let asked = asked.expect("it was a frame");
            assert_eq!(told, [(asked.opcode, status)], "{name}: {does}");
            assert_eq!(got[0].header.request_id, asked.request_id, "{name}");
        }
        does => panic!("{name}: {does}"),
    }
}

/// All that comes up to the end of the connection.
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

/// The frames of a stream, and what is left of it.
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
