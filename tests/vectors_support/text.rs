//! The files of `tests/vectors/`: paragraphs of `key: value` lines, and hexadecimal.

use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;

/// One vector: its lines in their order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Entry(pub Vec<(String, String)>);

impl Entry {
    pub(crate) fn new(name: &str) -> Self {
        Self::default().with("name", name)
    }

    #[must_use]
    pub(crate) fn with(mut self, key: &str, value: impl Into<String>) -> Self {
        self.0.push((key.to_owned(), value.into()));
        self
    }

    pub(crate) fn name(&self) -> &str {
        self.value("name")
    }

    /// The first value of a key.
    pub(crate) fn value(&self, key: &str) -> &str {
        self.find(key).unwrap_or_else(|| panic!("a vector has no {key}: {self:?}"))
    }

    pub(crate) fn find(&self, key: &str) -> Option<&str> {
        self.0.iter().find(|(found, _)| found == key).map(|(_, value)| value.as_str())
    }

    pub(crate) fn bytes(&self, key: &str) -> Vec<u8> {
        bytes(self.value(key))
    }

    /// The lines whose keys begin so, without that beginning.
    pub(crate) fn below(&self, prefix: &str) -> Vec<(&str, &str)> {
        let lines = self.0.iter().filter_map(|(key, value)| Some((key.strip_prefix(prefix)?, value.as_str())));
        lines.collect()
    }
}

/// Where a file of this project lies.
pub(crate) fn path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(name)
}

/// Should files be written instead of compared?
pub(crate) fn is_update() -> bool {
    std::env::var_os("UPDATE_VECTORS").is_some()
}

/// The vectors of a file.
pub(crate) fn load(file: &str) -> Vec<Entry> {
    let path = path("tests/vectors").join(file);
    parse(&fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display())))
}

/// Writes a file of vectors.
pub(crate) fn write(file: &str, heading: &str, made: &[Entry]) {
    fs::write(path("tests/vectors").join(file), render(heading, made)).expect("the folder of vectors can be written");
}

/// Panics when a file is not what `write` makes of these vectors.
pub(crate) fn compare(file: &str, heading: &str, made: &[Entry]) {
    for (found, made) in load(file).iter().zip(made) {
        assert_eq!(found, made, "left: in {file}; right: what the code makes of {}", made.name());
    }
    let found = fs::read_to_string(path("tests/vectors").join(file)).expect("it was just read");
    assert!(found == render(heading, made), "{file}: its heading, order, form or number of vectors is not as made");
}

fn render(heading: &str, entries: &[Entry]) -> String {
    let mut text = String::new();
    heading.lines().for_each(|line| writeln!(text, "# {line}").expect("a string takes any text"));
    for entry in entries {
        text.push('\n');
        for (key, value) in &entry.0 {
            writeln!(text, "{}", format!("{key}: {value}").trim_end()).expect("a string takes any text");
        }
    }
    text
}

/// Reads what `render` writes: comments, then paragraphs of `key: value`.
fn parse(text: &str) -> Vec<Entry> {
    let mut entries = vec![];
    let mut entry = Entry::default();
    for line in text.lines().chain([""]).filter(|line| !line.starts_with('#')) {
        if let Some((key, value)) = line.split_once(':') {
            entry = entry.with(key, value.strip_prefix(' ').unwrap_or(value));
        } else if !entry.0.is_empty() {
            assert!(line.is_empty(), "no `key: value`: {line}");
            entries.push(std::mem::take(&mut entry));
        }
    }
    entries
}

/// The bytes of hexadecimal digits; spaces are passed over.
pub(crate) fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<u8> = hex.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
    assert_eq!(digits.len() % 2, 0, "an odd number of digits in {hex}");
    let byte = |pair: &[u8]| {
        let pair = std::str::from_utf8(pair).expect("hexadecimal is ASCII");
        u8::from_str_radix(pair, 16).unwrap_or_else(|_| panic!("not hexadecimal: {pair} in {hex}"))
    };
    digits.chunks(2).map(byte).collect()
}

/// Bytes as hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
