//! The rules of this project that the compiler does not know: layers, I/O, clocks, sizes, words that stay out.
//!
//! Which package may use which is in their manifests; this is about what is inside of them. Every rule is a table and a
//! function from one file to its faults; the tests at the end show that each one bites.
//! That every operation has its section in protocol.md and its vectors is checked beside the vectors.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

/// The packages that have layers, and their modules from the top layer down, each with those that it may import. All of
/// the daemon may import `wire` and `cube`, which are of the protocol.
const IMPORTS: &[(&str, &[(&str, &str)])] = &[
    ("protocol", &[("limits", ""), ("types", "limits"), ("wire", "limits types"), ("cube", "limits types")]),
    (
        "daemon",
        &[
            ("planted", ""),
            ("limits", ""),
            ("types", ""),
            ("entry", "limits types wire cube"),
            ("replica", "limits types wire entry"),
            ("topic", "limits types wire cube entry"),
            ("node", "limits types wire cube entry replica topic"),
            ("journal", "limits types wire cube entry"),
            ("turn", "limits types wire cube entry topic node journal"),
            ("driver", "limits types wire cube entry topic node journal turn"),
            ("net", "limits types wire cube entry topic node journal turn driver"),
            ("storage", "limits types wire cube entry topic node journal turn"),
            ("config", "limits types wire cube entry topic node journal turn net storage"),
            ("logs", "limits"),
            ("rescue", "limits types wire cube entry topic node journal turn net storage"),
            ("main", "limits types wire cube entry topic node journal turn net storage config logs rescue"),
        ],
    ),
];

/// The modules of the daemon in whose folders no circle of imports may be; see "Layers of the daemon" in
/// ARCHITECTURE.md.
const ACYCLIC: &str = "node";

/// What only some modules of the daemon and some other packages may touch, who they are, and what the others do
/// instead. Tests at a file's end are free.
const TOUCHES: &[(&str, &str, &str)] = &[
    ("std::net", "net client config main tools gateway", "name peers by NodeId and connections by ConnId"),
    ("std::fs", "journal storage net config main rescue tools", "take the bytes as an argument or an event"),
    (
        "std::thread",
        "storage net client tools",
        "a node has one thread; only storage and looking up names may have others",
    ),
    ("raft::", "replica", "consensus is in `replica`; use its inputs and outputs"),
    ("mio", "net tools", "sockets and readiness stay in net; take an Event, give an Action"),
    ("mio_signals", "net", "signals are handled in net"),
    ("Instant::now", "net storage client tokio main tools gateway", "take the time from `Now`"),
    ("SystemTime::now", "net client logs main tools gateway", "take the time from `Now`"),
    ("crate::clock", "client tokio tools", "a session has no clock; take the time as an argument"),
    ("crate::stream", "client tools gateway", "a session has no socket; its bytes are in `Buffers`"),
    (
        "tokio::",
        "tokio gateway",
        "only the asynchronous client and the gateway have a runtime, its tasks, sockets and times",
    ),
];

/// What stands in no file but those of some packages, and what to do instead. Written in halves, so that this file may
/// pass as well.
const FORBIDDEN: &[(&str, &str, &str)] = &[
    (concat!("TO", "DO"), "", "do it now, or open an issue"),
    (concat!("FIX", "ME"), "", "fix it now, or open an issue"),
    (concat!("XX", "X"), "", "say in a sentence what is wrong"),
    (concat!("to", "do!"), "", "return an error that says what is missing"),
    (concat!("unimpl", "emented!"), "", "return an error that says what is missing"),
    (concat!("#[ign", "ore"), "", "make the test fast and certain, or remove it"),
    (concat!("thread::", "sleep"), "client tools", "wait for the event itself, with a timeout"),
    (concat!("db", "g!"), "", "use the log crate"),
];

const LINES_MAX: usize = 600;
const LINE_CHARS_MAX: usize = 120;
const TRACKED_BYTES_MAX: u64 = 600 << 10;
const GENERATED: &[&str] = &["target/", "run/", "bench-results/"];

#[test]
fn a_file_imports_only_from_layers_above_it() {
    check_sources(layer_faults);
}

#[test]
fn no_modules_of_a_folder_import_each_other_in_a_circle() {
    let is_concerned = |source: &Source| source.package() == "daemon" && lists(ACYCLIC, source.module());
    report(circle_faults(&sources().into_iter().filter(is_concerned).collect::<Vec<_>>()));
}

#[test]
fn sockets_files_threads_and_clocks_stay_in_their_places() {
    check_sources(touch_faults);
}

#[test]
fn no_file_holds_a_forbidden_word() {
    check_sources(word_faults);
}

#[test]
fn files_and_lines_are_short_enough_to_read() {
    check_sources(size_faults);
}

#[test]
fn nothing_large_or_generated_is_tracked() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let git = Command::new("git").arg("-C").arg(root).args(["ls-files", "-z"]).output();
    let Ok(listing) = git else { return };
    let tracked = String::from_utf8_lossy(&listing.stdout); // empty outside of a checkout
    let faults = tracked.split_terminator('\0').filter_map(|path| {
        let bytes = fs::metadata(root.join(path)).map_or(0, |metadata| metadata.len());
        tracked_fault(path, bytes)
    });
    report(faults.collect());
}

/// A source file; its path starts at the project's root.
struct Source {
    path: String,
    text: String,
}

impl Source {
    /// `daemon` for src/, `tests` for tests/, and the folder's name for the other packages.
    fn package(&self) -> &str {
        match self.path.split('/').next() {
            Some("src") | None => "daemon",
            Some(folder) => folder,
        }
    }

    /// `net` for src/net.rs and for every file below src/net/, `wire` for protocol/src/wire.rs.
    fn module(&self) -> &str {
        let inside = self.path.split_once("src/").map_or(self.path.as_str(), |(_, inside)| inside);
        inside.split('/').next().unwrap_or(inside).trim_end_matches(".rs")
    }

    /// The name by which the tables list this file: its module in the daemon, elsewhere its package. The session of the
    /// client is a place of its own, because it does no I/O, and so is the asynchronous client.
    fn place(&self) -> &str {
        match (self.package(), self.module()) {
            ("daemon", module) | ("client", module @ ("session" | "tokio")) => module,
            (package, _) => package,
        }
    }

    /// Everything before the test module that ends a file of src/; nothing of a file that holds only tests, or that is
    /// an example.
    fn without_tests(&self) -> &str {
        if self.path.ends_with("/tests.rs") || self.path.contains("tests/") || self.path.contains("/examples/") {
            return "";
        }
        let end = self.text.match_indices("\n#[cfg(test)]\n").find(|(at, marker)| {
            let mut lines = self.text[at + marker.len()..].lines();
            let declaration = lines.find(|line| !line.starts_with('#')).unwrap_or_default();
            declaration.starts_with("mod ") && declaration.ends_with('{')
        });
        end.map_or(&self.text, |(at, _)| &self.text[..=at])
    }

    fn fault(&self, line: usize, what: &str) -> String {
        format!("{}:{line}: {what}", self.path)
    }
}

fn layer_faults(source: &Source) -> Vec<String> {
    let module = source.module();
    let Some((_, layers)) = IMPORTS.iter().find(|(package, _)| *package == source.package()) else { return Vec::new() };
    if module == "lib" {
        return Vec::new();
    }
    let Some((_, allowed)) = layers.iter().find(|(name, _)| *name == module) else {
        return vec![source.fault(1, "this module has no layer; give it a row in IMPORTS")];
    };
    let code = without_comments(&source.text);
    // As many `super::` as the file is deep lead to the crate's root as well; there they may mean something else too.
    let depth = source.path.split('/').skip_while(|part| *part != "src").count() - 1;
    let up = ["super"].repeat(depth).join("::");
    let mut faults = Vec::new();
    for root in ["crate", "dht_node", &up] {
        for (line, name) in imports(&code, root) {
            let is_module = root != up || layers.iter().any(|(known, _)| *known == name);
            if is_module && name != module && !lists(allowed, &name) {
                let may = if allowed.is_empty() { "nothing" } else { allowed };
                let what = format!("`{module}` may not import `{name}`, only: {may}");
                faults.push(source.fault(line, &what));
            }
        }
    }
    faults
}

/// What a module imports from another one in the same folder. Both are named by their paths without `.rs`; what is in
/// their own folders counts as part of them.
struct Sideways {
    from: String,
    to: String,
    /// The file, and the line in it.
    place: (String, usize),
}

/// The imports that form circles. Again and again, those are removed that start at a module to which none leads, and
/// those that lead to a module at which none starts; those in a circle are left.
fn circle_faults(sources: &[Source]) -> Vec<String> {
    let modules: BTreeSet<&str> = sources.iter().map(|source| source.path.trim_end_matches(".rs")).collect();
    let mut left: Vec<Sideways> = sources.iter().flat_map(sideways).collect();
    left.retain(|import| import.from != import.to && modules.contains(import.to.as_str()));
    loop {
        let before = left.len();
        let (starts, ends): (BTreeSet<_>, BTreeSet<_>) =
            left.iter().map(|import| (import.from.clone(), import.to.clone())).unzip();
        left.retain(|import| ends.contains(&import.from) && starts.contains(&import.to));
        if left.len() == before {
            break;
        }
    }
    let fault = |Sideways { from, to, place: (path, line) }| {
        format!("{path}:{line}: `{from}` imports `{to}`, which leads back; move what both need to a module of its own")
    };
    left.into_iter().map(fault).collect()
}

/// For each folder that a file is in, what it imports from the others there, by `super::…::name` or `crate::…::name`.
fn sideways(source: &Source) -> Vec<Sideways> {
    let code = without_comments(source.without_tests());
    let parts: Vec<&str> = source.path.trim_end_matches(".rs").split('/').collect();
    let top = parts.iter().position(|part| *part == "src").map_or(0, |at| at + 1);
    let mut found = Vec::new();
    for depth in top..parts.len() {
        let up = vec!["super"; parts.len() - depth].join("::");
        let down = [&["crate"], &parts[top..depth]].concat().join("::");
        for (line, name) in [up, down].iter().flat_map(|root| imports(&code, root)) {
            let (from, to) = (parts[..=depth].join("/"), [&parts[..depth], &[name.as_str()]].concat().join("/"));
            found.push(Sideways { from, to, place: (source.path.clone(), line) });
        }
    }
    found
}

fn touch_faults(source: &Source) -> Vec<String> {
    let code = without_comments(source.without_tests());
    let forbidden = TOUCHES.iter().filter(|(_, modules, _)| !lists(modules, source.place()));
    let mut faults = Vec::new();
    for (what, modules, instead) in forbidden {
        let lines: Vec<usize> = match what.split_once("::") {
            Some(("std", part)) => {
                let of_std = imports(&code, "std").into_iter();
                of_std.filter(|(_, name)| name == part).map(|(line, _)| line).collect()
            }
            // A package, and not a module of the same name.
            Some((_, "")) => {
                let is_root = |at: &usize| code[..*at].strip_suffix("::").is_none_or(|path| !path.ends_with(is_word));
                let roots = words(&code, what).into_iter().filter(is_root);
                roots.map(|at| line_of(&code, at)).collect()
            }
            _ => words(&code, what).into_iter().map(|at| line_of(&code, at)).collect(),
        };
        let message = format!("`{what}` is only for {modules}; {instead}");
        faults.extend(lines.into_iter().map(|line| source.fault(line, &message)));
    }
    faults
}

fn word_faults(source: &Source) -> Vec<String> {
    let mut faults = Vec::new();
    for (word, _, instead) in FORBIDDEN.iter().filter(|(_, free, _)| !lists(free, source.place())) {
        for at in words(&source.text, word) {
            faults.push(source.fault(line_of(&source.text, at), &format!("`{word}`: {instead}")));
        }
    }
    faults
}

fn size_faults(source: &Source) -> Vec<String> {
    let mut faults = Vec::new();
    for (index, line) in source.text.lines().enumerate() {
        // A long text is found by what it says; breaking it would hide it.
        if line.chars().count() > LINE_CHARS_MAX && !line.contains('"') {
            let what = format!("more than {LINE_CHARS_MAX} characters; break the line");
            faults.push(source.fault(index + 1, &what));
        }
    }
    let lines = source.without_tests().lines().count();
    if lines > LINES_MAX {
        let what = format!("{lines} lines, at most {LINES_MAX}; move a subject to its own file");
        faults.push(source.fault(LINES_MAX + 1, &what));
    }
    faults
}

fn tracked_fault(path: &str, bytes: u64) -> Option<String> {
    if GENERATED.iter().any(|folder| path.starts_with(folder)) {
        Some(format!("{path}:1: generated; take it out of git and leave its folder ignored"))
    } else if bytes > TRACKED_BYTES_MAX {
        Some(format!("{path}:1: {bytes} bytes, at most {TRACKED_BYTES_MAX}; generate it when needed"))
    } else {
        None
    }
}

/// The first name after every `root::`, with its line; `root::{a, b::{c}}` gives `a` and `b`.
fn imports(code: &str, root: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for at in words(code, root).into_iter().filter(|at| !code[..*at].ends_with("::")) {
        let Some(rest) = code[at + root.len()..].strip_prefix("::") else { continue };
        let mut depth = 0;
        let mut outer = String::new(); // the text with what stands in inner braces left out
        for character in rest.chars() {
            match character {
                '{' => depth += 1,
                '}' => depth -= 1,
                _ if depth <= 1 => outer.push(character),
                _ => {}
            }
            if depth <= 0 && !(character.is_alphanumeric() || character == '_') {
                break;
            }
        }
        for item in outer.split(',').map(str::trim).filter(|item| !item.is_empty()) {
            let name = item.split(|character: char| !is_word(character)).next().unwrap_or_default();
            found.push((line_of(code, at), name.to_owned()));
        }
    }
    found
}

/// Where `word` stands in the text as a word of its own.
fn words(text: &str, word: &str) -> Vec<usize> {
    let stands_alone = |at: usize| {
        let continues = word.ends_with(is_word) && text[at + word.len()..].starts_with(is_word);
        let continued = word.starts_with(is_word) && text[..at].ends_with(is_word);
        !continues && !continued
    };
    text.match_indices(word).map(|(at, _)| at).filter(|at| stands_alone(*at)).collect()
}

fn is_word(character: char) -> bool {
    character.is_alphanumeric() || character == '_'
}

fn line_of(text: &str, at: usize) -> usize {
    text[..at].matches('\n').count() + 1
}

fn without_comments(text: &str) -> String {
    let code = text.lines().map(|line| line.split("//").next().unwrap_or_default());
    code.collect::<Vec<_>>().join("\n")
}

fn lists(names: &str, name: &str) -> bool {
    names.split(' ').any(|listed| listed == name)
}

fn check_sources(faults_of: fn(&Source) -> Vec<String>) {
    report(sources().iter().flat_map(faults_of).collect());
}

fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut sources = Vec::new();
    for folder in ["src", "protocol", "client", "tools", "tests", "gateway"] {
        read_sources(root, &root.join(folder), &mut sources);
    }
    assert!(sources.len() > 10, "the sources were not found under {}", root.display());
    sources
}

fn read_sources(root: &Path, folder: &Path, sources: &mut Vec<Source>) {
    for entry in fs::read_dir(folder).expect("the folder is part of the project") {
        let path = entry.expect("the folder can be read").path();
        if path.is_dir() {
            read_sources(root, &path, sources);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).expect("a source file is text");
            let inside = path.strip_prefix(root).expect("the walk began at the root");
            sources.push(Source { path: inside.to_string_lossy().into_owned(), text });
        }
    }
}

fn report(mut faults: Vec<String>) {
    faults.sort();
    assert!(faults.is_empty(), "{} faults:\n{}", faults.len(), faults.join("\n"));
}

mod the_checks_bite {
    use super::*;

    fn source(path: &str, text: &str) -> Source {
        Source { path: path.to_owned(), text: text.to_owned() }
    }

    /// Each case: path, text, and the lines that must be reported.
    fn check(faults_of: fn(&Source) -> Vec<String>, cases: &[(&str, &str, &[usize])]) {
        for (path, text, lines) in cases {
            let faults = faults_of(&source(path, text));
            let places = faults.iter().map(|fault| fault.split(": ").next().unwrap_or_default());
            let expected = lines.iter().map(|line| format!("{path}:{line}"));
            assert!(places.eq(expected), "{text}\nshould fail in lines {lines:?}, not {faults:#?}");
        }
    }

    #[test]
    fn on_imports_from_below() {
        check(
            layer_faults,
            &[
                ("protocol/src/types.rs", "use crate::limits::FRAME_MAX;", &[]),
                ("protocol/src/types.rs", "use crate::wire::Frame;", &[1]),
                ("protocol/src/types/name.rs", "use super::set;\nuse crate::types::set;", &[]),
                ("protocol/src/types/name.rs", "use super::super::wire;", &[1]),
                ("src/entry/codec.rs", "use crate::wire::Frame;\nuse dht_protocol::cube;", &[]),
                ("src/node/link.rs", "\nfn f() { crate::net::dial() }", &[2]),
                ("src/node/link.rs", "use super::super::net;", &[1]),
                ("src/node.rs", "use super::net;", &[1]),
                ("src/node.rs", "use super::*;", &[]),
                ("src/node.rs", "use crate::*;", &[1]),
                ("src/node.rs", "//! Driven by [`crate::net`].", &[]),
                ("src/topic.rs", "use crate::{\n    limits,\n    node::{A, wire},\n};", &[1]),
                ("src/net/conn.rs", "use crate::storage::Disk;", &[1]),
                ("src/net/conn.rs", "use crate::{node::A, turn::B, wire::{self, C}};", &[]),
                ("src/main.rs", "use dht_node::{net, wire};\nuse crate::config;", &[]),
                ("src/novel.rs", "", &[1]),
                ("client/src/lib.rs", "use crate::session;", &[]),
                ("tools/src/main.rs", "use dht_client::Client;\nuse crate::args;", &[]),
                ("tests/simulation.rs", "use dht_node::node::Node;", &[]),
            ],
        );
    }

    /// `a` and `b/c` form a circle; `d` only leads to it, and `e` is only led to. `b` and the files of its folder may
    /// import each other.
    #[test]
    fn on_circles() {
        let sources = [
            source("src/node.rs", "use a::A;\nuse crate::node::b::B;"),
            source("src/node/a.rs", "use super::{\n    b::{B, c},\n    e::E,\n};"),
            source("src/node/b.rs", "use c::C;\nuse super::Node;"),
            source("src/node/b/c.rs", "use super::B;\nfn f() -> super::super::a::A { super::super::e::E }"),
            source("src/node/b/d.rs", "use super::c::C;\nuse super::super::super::types;"),
            source("src/node/d.rs", "use crate::node::a;"),
            source(
                "src/node/e.rs",
                "//! Used by [`super::a`].\n#[cfg(test)]\nmod tests {\n    use super::super::a;\n}",
            ),
        ];
        let faults = circle_faults(&sources);
        let places: Vec<&str> = faults.iter().filter_map(|fault| fault.split(": ").next()).collect();
        assert_eq!(places, ["src/node/a.rs:1", "src/node/b/c.rs:2"], "{faults:#?}");
        assert_eq!(circle_faults(&sources[..3]).len(), 0, "without `c` there is none");
    }

    #[test]
    fn on_io_and_clocks_in_the_core() {
        check(
            touch_faults,
            &[
                ("src/node/link.rs", "use std::net::TcpStream;", &[1]),
                ("src/node/link.rs", "use std::{fmt, net::{IpAddr, Ipv4Addr}};", &[1]),
                ("src/net/conn.rs", "use std::net;\nuse mio::Poll;\nInstant::now()", &[]),
                ("src/turn.rs", "use mio::Poll;", &[1]),
                ("src/node/group.rs", "use raft::RawNode;\nuse crate::replica::Replica;", &[1]),
                ("src/replica/log.rs", "use raft::Storage;", &[]),
                ("src/node/group.rs", "use crate::wire::raft::RaftItem;", &[]),
                ("src/turn.rs", "use mio_signals::Signals;", &[1]),
                ("src/topic.rs", "let now = SystemTime::now();", &[1]),
                ("src/topic.rs", "// not Instant::now()\nlet premio = 1;", &[]),
                ("protocol/src/cube.rs", "fn f() {}\n#[cfg(test)]\nmod tests {\n    use std::fs;\n}", &[]),
                ("protocol/src/cube.rs", "fn f() {}\n#[cfg(test)]\nmod tests;\nuse std::fs;", &[4]),
                ("protocol/src/net.rs", "use std::net::TcpStream;", &[1]),
                ("client/src/stream.rs", "use std::net::TcpStream;\nuse crate::clock;\nuse mio::Poll;", &[3]),
                ("client/src/session.rs", "use std::net::TcpStream;\nuse crate::clock::now;", &[1, 2]),
                ("client/src/session/watch.rs", "Instant::now()", &[1]),
                ("client/src/session/watch.rs", "use ::tokio::net::TcpStream;", &[1]),
                ("client/src/tokio/driver.rs", "use ::tokio::net::TcpStream;\nuse std::net::TcpStream;", &[2]),
                ("client/src/lib.rs", "#[cfg(feature = \"tokio\")]\npub mod tokio;", &[]),
                ("tools/bench/src/lib.rs", "let now = std::time::Instant::now();", &[]),
            ],
        );
    }

    #[test]
    fn on_forbidden_words() {
        for (word, _, _) in FORBIDDEN {
            let text = format!("fn f() {{\n    {word}");
            assert_eq!(word_faults(&source("tests/a.rs", &text)).len(), 1, "{word}");
        }
        check(word_faults, &[("src/a.rs", concat!("TO", "DOS, a", "XX", "XB, db", "g (!)"), &[])]);
    }

    #[test]
    fn on_size() {
        let long_line = "é".repeat(LINE_CHARS_MAX + 1);
        let long_file = "\n".repeat(LINES_MAX + 1);
        let long_tests = format!("\n#[cfg(test)]\nmod tests {{{long_file}");
        check(
            size_faults,
            &[
                ("src/a.rs", &long_line, &[1]),
                ("src/a.rs", &long_line[2..], &[]),
                ("src/a.rs", &long_file, &[LINES_MAX + 1]),
                ("src/a.rs", &long_file[1..], &[]),
                ("src/a.rs", &long_tests, &[]),
                ("src/a/tests.rs", &long_file, &[]),
            ],
        );
        assert_eq!(tracked_fault("docs/picture.svg", TRACKED_BYTES_MAX), None);
        assert!(tracked_fault("docs/picture.svg", TRACKED_BYTES_MAX + 1).is_some());
        assert!(tracked_fault("run/node-101.log", 1).is_some());
    }
}
