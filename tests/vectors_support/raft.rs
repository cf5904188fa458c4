//! The payloads of `raft.txt`: messages of members of replica groups as values and as bytes, and what is none.

use bytes::Bytes;
use dht_node::types::{SlotId, Slots};
use dht_node::wire::field::Writer;
use dht_node::wire::raft::{Condition, Founding, LogEntry, MemberId, Message, Payload, Progress, RaftItem, Standing};

use super::text::{Entry, hex};

/// Returns all vectors in the order of the file: the payloads that can be decoded, then those that cannot.
pub(crate) fn all() -> Vec<Entry> {
    let good = good().into_iter().map(|(name, what, items)| {
        let mut entry = Entry::new(name).with("what", what).with("count", items.len().to_string());
        entry = entry.with("hex", hex(&encoded(&items)));
        items.iter().enumerate().for_each(|(index, item)| entry.0.extend(lines(index, item)));
        entry
    });
    good.chain([unknown()]).chain(bad()).collect()
}

/// The founding of the group.
const FOUNDING: Founding = Founding { number: 1, disks: [0x1111, 0x2222, 0x3333], last: 12 };

fn item(slot: u16, (from, to, term): (u64, u64, u64), payload: Payload) -> RaftItem {
    let slot = SlotId::new(slot, Slots::MOST).expect("below 1024");
    let member = |number| MemberId::new(number).expect("not 0");
    let founding = match payload {
        Payload::Join { .. } => 0,
        Payload::JoinAnswer { founding, .. } => founding.id(),
        Payload::Append { .. }
        | Payload::Appended { .. }
        | Payload::Rejected { .. }
        | Payload::Heartbeat { .. }
        | Payload::HeartbeatAnswer { .. }
        | Payload::RequestVote { .. }
        | Payload::Vote { .. }
        | Payload::TimeoutNow
        | Payload::Snapshot { .. } => FOUNDING.id(),
    };
    RaftItem { slot, message: Message { from: member(from), to: member(to), term, founding, payload } }
}

fn good() -> Vec<(&'static str, &'static str, Vec<RaftItem>)> {
    let down = (0xA1, 0xB2, 7);
    let up = (0xB2, 0xA1, 7);
    let entry = |index, term, body| LogEntry { index, term, body: Bytes::from_static(body) };
    let entries = vec![entry(41, 6, b"first"), entry(42, 7, b"")];
    let progress = Progress { last_index: 42, last_term: 7, commit: 40, commit_term: 6 };
    let heartbeats = vec![
        item(3, down, Payload::Heartbeat { commit: 40, context: 1_750_001 }),
        item(11, (0xA9, 0xB8, 2), Payload::Heartbeat { commit: 0, context: 0 }),
    ];
    let answers = vec![
        item(3, up, Payload::Appended { index: 42, commit: 40 }),
        item(3, up, Payload::Rejected { index: 42, hint: 40, hint_term: 6, commit: 39 }),
        item(3, up, Payload::HeartbeatAnswer { commit: 40, context: 1_750_001, condition: Condition::default() }),
    ];
    let condition = Condition { is_full: true, is_slow: false, is_leaving: true };
    let unfit = vec![item(3, up, Payload::HeartbeatAnswer { commit: 40, context: 0, condition })];
    let votes = [true, false].into_iter().flat_map(|is_pre| {
        let refused = Payload::Vote { is_pre, is_granted: false, commit: 40, commit_term: 6 };
        let granted = Payload::Vote { is_pre, is_granted: true, commit: 0, commit_term: 0 };
        let request = Payload::RequestVote { is_pre, is_hand_over: false, progress };
        [item(1023, down, request), item(1023, up, granted), item(1023, up, refused)]
    });
    let asker = 0x5e2a_c901_4d77;
    let answer = |standing, disk, last, founding| Payload::JoinAnswer {
        standing,
        is_leading: standing == Standing::Member,
        asker,
        disk,
        last,
        founding,
    };
    let joins = vec![
        item(3, (0xB2, 0xA1, 0), Payload::Join { disk: asker, last: 0 }),
        item(3, down, answer(Standing::Member, 0x1111, 42, FOUNDING)),
        item(3, (0xC3, 0xB2, 0), answer(Standing::Newcomer, 0x4444, 0, Founding::default())),
        item(3, (0xC3, 0xB2, 4), answer(Standing::Founder, 0x4444, 12, Founding::default())),
    ];
    let handed_over = Payload::RequestVote { is_pre: false, is_hand_over: true, progress };
    let hand_over = vec![item(3, down, Payload::TimeoutNow), item(3, (0xB2, 0xA1, 8), handed_over)];
    let append = Payload::Append { index: 40, log_term: 6, commit: 40, entries };
    let probe = Payload::Append { index: 40, log_term: 6, commit: 40, entries: vec![] };
    vec![
        ("raft-heartbeats", "The leader of two groups tells a node that is a member of both.", heartbeats),
        ("raft-append", "Two entries, of which a new leader's first one has no body.", vec![item(3, down, append)]),
        ("raft-probe", "Does the log of a follower match?", vec![item(3, down, probe)]),
        ("raft-answers", "A follower has the entries; it lacks the one before them; it lives.", answers),
        (
            "raft-votes",
            "A candidate asks, is granted a vote, and is refused one: pre-votes, then votes.",
            votes.collect(),
        ),
        (
            "raft-snapshot",
            "A leader has the next entry of a follower no more, and offers a copy.",
            vec![item(3, down, Payload::Snapshot { index: 42, log_term: 6 })],
        ),
        ("raft-join", "A member with an empty folder asks both others, and is answered.", joins),
        ("raft-unfit", "A follower lives, but could not lead: its disk is full, and it is shutting down.", unfit),
        (
            "raft-hand-over",
            "A leader asks a follower to take over, which asks the leader for its vote at once.",
            hand_over,
        ),
        ("raft-nothing", "No message.", vec![]),
    ]
}

fn encoded(items: &[RaftItem]) -> Vec<u8> {
    let mut out = vec![];
    items.iter().for_each(|item| item.encode(&mut Writer::new(&mut out)));
    out
}

/// The fields of a message as the vectors write them.
pub(crate) fn lines(index: usize, item: &RaftItem) -> Vec<(String, String)> {
    let Message { from, to, term, founding, payload } = &item.message;
    let kind = encoded(std::slice::from_ref(item))[6];
    let mut fields = vec![
        ("slot", item.slot.index().to_string()),
        ("kind", kind.to_string()),
        ("from", format!("0x{:016x}", from.as_u64())),
        ("to", format!("0x{:016x}", to.as_u64())),
        ("term", term.to_string()),
        ("founding", format!("0x{founding:016x}")),
    ];
    let mut of_kind = |names: &[&'static str], values: &[u64]| {
        fields.extend(names.iter().copied().zip(values.iter().map(u64::to_string)));
    };
    let mut sent = [].as_slice();
    match payload {
        Payload::Append { index, log_term, commit, entries } => {
            of_kind(&["index", "log_term", "commit"], &[*index, *log_term, *commit]);
            sent = entries;
        }
        Payload::Appended { index, commit } => of_kind(&["index", "commit"], &[*index, *commit]),
        Payload::Rejected { index, hint, hint_term, commit } => {
            of_kind(&["index", "hint", "hint_term", "commit"], &[*index, *hint, *hint_term, *commit]);
        }
        Payload::Heartbeat { commit, context } => of_kind(&["commit", "context"], &[*commit, *context]),
        Payload::HeartbeatAnswer { commit, context, condition: Condition { is_full, is_slow, is_leaving } } => {
            let condition = u64::from(*is_full) | u64::from(*is_slow) << 1 | u64::from(*is_leaving) << 2;
            of_kind(&["commit", "context", "condition"], &[*commit, *context, condition]);
        }
        Payload::RequestVote { is_pre, is_hand_over, progress } => {
            if !is_pre {
                of_kind(&["is_hand_over"], &[u64::from(*is_hand_over)]);
            }
            let Progress { last_index, last_term, commit, commit_term } = progress;
            let names = ["last_index", "last_term", "commit", "commit_term"];
            of_kind(&names, &[*last_index, *last_term, *commit, *commit_term]);
        }
        Payload::Vote { is_granted, commit, commit_term, .. } => {
            of_kind(&["is_granted", "commit", "commit_term"], &[u64::from(*is_granted), *commit, *commit_term]);
        }
        Payload::Snapshot { index, log_term } => of_kind(&["index", "log_term"], &[*index, *log_term]),
        Payload::Join { disk, last } => of_kind(&["disk", "last"], &[*disk, *last]),
        Payload::JoinAnswer {
            standing,
            is_leading,
            asker,
            disk,
            last,
            founding: Founding { number, disks, last: founded },
        } => {
            let [home, second, third] = *disks;
            let (standing, is_leading) = (u64::from(standing.number()), u64::from(*is_leading));
            of_kind(
                &["standing", "is_leading", "asker", "disk", "last"],
                &[standing, is_leading, *asker, *disk, *last],
            );
            of_kind(&["founder.0", "founder.1", "founder.2", "founded_last"], &[home, second, third, *founded]);
            of_kind(&["founded"], &[u64::from(*number)]);
        }
        Payload::TimeoutNow => {}
    }
    let fields = fields.into_iter().map(|(name, value)| (name.to_owned(), value));
    let entries = sent.iter().enumerate().flat_map(|(nth, entry)| {
        let line = |name: &str, value| (format!("entry.{nth}.{name}"), value);
        [line("term", entry.term.to_string()), line("body", hex(&entry.body))]
    });
    fields.chain(entries).map(|(name, value)| (format!("message.{index}.{name}"), value)).collect()
}

/// Two heartbeats, and between them an item of a kind that a later version may send.
fn unknown() -> Entry {
    let [first, last] = &good()[0].2[..] else { panic!("two heartbeats") };
    let mut later = encoded(std::slice::from_ref(first));
    later[6] = 77;
    let bytes = [encoded(std::slice::from_ref(first)), later, encoded(std::slice::from_ref(last))].concat();
    let what = "An item of a kind that does not exist is skipped.";
    let mut entry = Entry::new("raft-unknown").with("what", what).with("count", "3").with("hex", hex(&bytes));
    entry.0.extend([lines(0, first), lines(1, last)].concat());
    entry
}

fn bad() -> impl Iterator<Item = Entry> {
    let vote = item(3, (1, 2, 3), Payload::Vote { is_pre: false, is_granted: true, commit: 0, commit_term: 0 });
    let (standing, founding) = (Standing::Newcomer, Founding::default());
    let join = Payload::JoinAnswer { standing, is_leading: false, asker: 5, disk: 6, last: 0, founding };
    let join = item(3, (1, 2, 3), join);
    let progress = Progress::default();
    let request = item(3, (1, 2, 3), Payload::RequestVote { is_pre: false, is_hand_over: false, progress });
    let entries = vec![LogEntry { index: 41, term: 1, body: Bytes::from_static(b"body") }];
    let append = item(3, (1, 2, 3), Payload::Append { index: 40, log_term: 1, commit: 0, entries });
    let changed = |item: &RaftItem, at: usize, to: &[u8]| {
        let mut bytes = encoded(std::slice::from_ref(item));
        bytes[at..at + to.len()].copy_from_slice(to);
        bytes
    };
    let whole = || encoded(std::slice::from_ref(&vote));
    let cut = |bytes: Vec<u8>| bytes[..bytes.len() - 1].to_vec();
    let cases = [
        ("raft-count-too-high", "One item of two.", 2, whole()),
        ("raft-count-too-low", "Two items of one.", 1, [whole(), whole()].concat()),
        ("raft-too-many", "More items than a frame may have.", 1025, vec![]),
        ("raft-cut", "The last byte is missing.", 1, cut(whole())),
        ("raft-longer", "An item with a byte behind its fields.", 1, [&[0, 0, 0, 53], &whole()[4..], &[0]].concat()),
        ("raft-shorter", "An item that ends within its last field.", 1, cut(changed(&vote, 0, &[0, 0, 0, 51]))),
        ("raft-slot", "A slot that does not exist.", 1, changed(&vote, 4, &[4, 0])),
        ("raft-from-0", "A sender that is nobody.", 1, changed(&vote, 7, &[0; 8])),
        ("raft-to-0", "A receiver that is nobody.", 1, changed(&vote, 15, &[0; 8])),
        ("raft-granted-2", "Neither granted nor refused.", 1, changed(&vote, 39, &[2])),
        ("raft-standing-3", "A standing that does not exist.", 1, changed(&join, 39, &[3])),
        ("raft-hand-over-2", "Neither handed over nor not.", 1, changed(&request, 39, &[2])),
        ("raft-body-beyond", "A body that is longer than its item.", 1, changed(&append, 72, &[0, 0, 0, 5])),
        ("raft-index-wraps", "An entry behind the highest index.", 1, changed(&append, 39, &[0xFF; 8])),
    ];
    cases.into_iter().map(|(name, what, count, bytes)| {
        let entry = Entry::new(name).with("what", what).with("count", count.to_string());
        entry.with("hex", hex(&bytes)).with("error", "MALFORMED_ARGS")
    })
}
