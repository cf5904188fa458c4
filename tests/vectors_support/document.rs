//! protocol.md and protocol-nodes.md as a program reads them: their sections, tables, named blocks of hexadecimal and
//! rules.

use std::fs;
use std::ops::Range;

use super::text;

/// The files of the document, in the order in which they are read.
const FILES: [&str; 2] = ["protocol.md", "protocol-nodes.md"];

/// Stands before the lines of each file.
const FILE_BEGINS: &str = "\u{c}";

/// The lines of all files.
#[derive(Debug)]
pub(crate) struct Document {
    lines: Vec<String>,
}

/// A table: the cells of its head and of its rows, and where its rows stand.
#[derive(Clone, Debug)]
pub(crate) struct Table {
    pub(crate) head: Vec<String>,
    pub(crate) rows: Vec<Vec<String>>,
    lines: Range<usize>,
}

impl Table {
    /// The cells of a column.
    pub(crate) fn column(&self, name: &str) -> Vec<&str> {
        let at = self.head.iter().position(|head| head == name);
        let at = at.unwrap_or_else(|| panic!("no column {name} in the table {:?}", self.head));
        self.rows.iter().map(|row| row[at].as_str()).collect()
    }
}

/// A block of hexadecimal that is the vector of its name.
#[derive(Debug)]
pub(crate) struct Block {
    pub(crate) name: String,
    pub(crate) bytes: Vec<u8>,
    lines: Range<usize>,
}

impl Document {
    pub(crate) fn read() -> Self {
        let mut lines = vec![];
        for file in FILES {
            let text = fs::read_to_string(text::path(file)).unwrap_or_else(|error| panic!("{file}: {error}"));
            lines.push(FILE_BEGINS.to_owned());
            lines.extend(text.lines().map(str::to_owned));
        }
        Self { lines }
    }

    pub(crate) fn write(&self) {
        for (file, lines) in FILES.iter().zip(self.lines.split(|line| line == FILE_BEGINS).skip(1)) {
            fs::write(text::path(file), lines.join("\n") + "\n").expect("the document can be written");
        }
    }

    pub(crate) fn lines(&self) -> &[String] {
        &self.lines
    }

    /// All headings of chapters and sections, without their marks: "6.7 PUBLISH (0x20)".
    pub(crate) fn headings(&self) -> impl Iterator<Item = &str> {
        let mut is_fenced = false;
        self.lines.iter().filter_map(move |line| {
            is_fenced ^= line.starts_with("```");
            let heading = line.trim_start_matches('#');
            (!is_fenced && heading.len() + 1 < line.len()).then(|| heading.trim())
        })
    }

    /// The lines from the heading that begins so up to the next heading.
    pub(crate) fn section(&self, heading: &str) -> Range<usize> {
        let is_heading = |line: &String| line.starts_with("##") || line == FILE_BEGINS;
        let begins = |line: &String| is_heading(line) && line.trim_start_matches(['#', ' ']).starts_with(heading);
        let start = self.lines.iter().position(begins).unwrap_or_else(|| panic!("no section {heading}")) + 1;
        let end = self.lines[start..].iter().position(is_heading).map_or(self.lines.len(), |at| start + at);
        start..end
    }

    /// The text of a section.
    pub(crate) fn text(&self, heading: &str) -> String {
        self.lines[self.section(heading)].join("\n")
    }

    /// The tables of a section in their order.
    pub(crate) fn tables(&self, heading: &str) -> Vec<Table> {
        let range = self.section(heading);
        let mut tables: Vec<Table> = vec![];
        for at in range {
            let Some(cells) = cells(&self.lines[at]) else { continue };
            match tables.last_mut().filter(|table| table.lines.end == at) {
                Some(table) if table.head.is_empty() => unreachable!("a table begins with its head"),
                Some(table) => {
                    assert_eq!(cells.len(), table.head.len(), "line {}: cells", at + 1);
                    table.lines.end += 1;
                    if !cells[0].starts_with("---") {
                        table.rows.push(cells);
                    } else {
                        table.lines.start = at + 1;
                    }
                }
                None => tables.push(Table { head: cells, rows: vec![], lines: at..at + 1 }),
            }
        }
        tables
    }

    /// The table of a section whose head begins with these columns.
    pub(crate) fn table(&self, heading: &str, columns: &[&str]) -> Table {
        let mut tables = self.tables(heading);
        tables.retain(|table| table.head.iter().map(String::as_str).take(columns.len()).eq(columns.iter().copied()));
        assert_eq!(tables.len(), 1, "tables {columns:?} in section {heading}");
        tables.remove(0)
    }

    /// Puts other rows into a table.
    pub(crate) fn replace_rows(&mut self, table: &Table, rows: &[Vec<String>]) {
        let lines = rows.iter().map(|row| format!("| {} |", row.join(" | ")));
        self.lines.splice(table.lines.clone(), lines);
    }

    /// The blocks that are marked as ```` ```hex name=… ````.
    pub(crate) fn blocks(&self) -> Vec<Block> {
        let mut blocks = vec![];
        for (at, line) in self.lines.iter().enumerate() {
            let Some(name) = line.strip_prefix("```hex") else { continue };
            let name = name.trim().strip_prefix("name=").unwrap_or_else(|| panic!("line {}: no name=", at + 1));
            let end = at + 1 + self.lines[at + 1..].iter().position(|line| line == "```").expect("a block ends");
            let code = self.lines[at + 1..end].iter().map(|line| line.split(';').next().unwrap_or(""));
            let bytes = text::bytes(&code.collect::<String>());
            blocks.push(Block { name: name.to_owned(), bytes, lines: at + 1..end });
        }
        blocks
    }

    /// Puts other lines into a block.
    pub(crate) fn replace_block(&mut self, name: &str, lines: Vec<String>) {
        let block = self.blocks().into_iter().find(|block| block.name == name).expect("the caller has its name");
        self.lines.splice(block.lines, lines);
    }
}

/// The cells of a line of a table; code marks are taken off.
fn cells(line: &str) -> Option<Vec<String>> {
    let inner = line.strip_prefix('|')?.strip_suffix('|')?;
    Some(inner.split('|').map(|cell| cell.trim().to_owned()).collect())
}
