//! Decoding by the tables of protocol.md alone: what they say about fields is held against the code's own bytes.
//!
//! | offset column | meaning |
//! |---|---|
//! | `12` | at that byte, checked |
//! | `12?` | there when the field `exists` is 1 |
//! | `76 or 3` | the one or the other, by `exists` |
//! | `…` | behind the field before |
//! | `each runs` | repeated as often as the field `runs` says, together with the rows beside it |

use std::ops::Range;

use super::document::Table;
use super::text;

/// The fields of a table in their order.
#[derive(Clone, Debug)]
pub(crate) struct Layout(Vec<Row>);

#[derive(Clone, Debug)]
struct Row {
    offset: String,
    kind: String,
    name: String,
}

/// A field as it was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Field {
    /// The name in the table.
    pub(crate) name: String,
    /// Which repetition.
    pub(crate) index: Option<u64>,
    /// Where it stands.
    pub(crate) range: Range<usize>,
    /// Its value as the vectors write it.
    pub(crate) value: String,
    /// Its value when it is a number.
    pub(crate) number: u64,
}

impl Field {
    /// The name with its repetition: `run_count.1`.
    pub(crate) fn key(&self) -> String {
        self.index.map_or_else(|| self.name.clone(), |index| format!("{}.{index}", self.name))
    }
}

/// Bytes end before the fields of the table do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Short;

impl Layout {
    pub(crate) fn of(table: &Table) -> Self {
        let columns = [table.column("offset"), table.column("size"), table.column("type"), table.column("field")];
        let rows = (0..table.rows.len()).map(|row| {
            let [offset, size, kind, name] = columns.each_ref().map(|column| column[row].to_owned());
            assert_eq!(size, written_size(&kind), "the size of {name}");
            Row { offset, kind, name }
        });
        Self(rows.collect())
    }

    /// The fields at the start of `bytes`, and where they end. `known` are fields that came before.
    pub(crate) fn decode(&self, bytes: &[u8], known: &[Field]) -> Result<(Vec<Field>, usize), Short> {
        let mut fields = known.to_vec();
        let mut at = 0;
        let mut rows = self.0.as_slice();
        while let [row, behind @ ..] = rows {
            let exists = number(&fields, "exists");
            if let Some(counter) = row.offset.strip_prefix("each ") {
                let group = rows.iter().take_while(|other| other.offset == row.offset).count();
                for index in 0..number(&fields, counter).expect("the counter comes first") {
                    for row in &rows[..group] {
                        fields.push(field(row, Some(index), bytes, &mut at)?);
                    }
                }
                rows = &rows[group..];
                continue;
            }
            rows = behind;
            let offset = match (row.offset.strip_suffix('?'), row.offset.split_once(" or "), exists) {
                (Some(_), _, Some(0)) => continue,
                (Some(offset), _, _) => offset,
                (None, Some((present, absent)), _) => {
                    if exists == Some(1) {
                        present
                    } else {
                        absent
                    }
                }
                (None, None, _) => &row.offset,
            };
            assert!(offset == "…" || offset == at.to_string(), "{} stands at {at}, not at {offset}", row.name);
            fields.push(field(row, None, bytes, &mut at)?);
        }
        Ok((fields.split_off(known.len()), at))
    }
}

/// The value of the field of that name.
pub(crate) fn number(fields: &[Field], name: &str) -> Option<u64> {
    fields.iter().find(|field| field.name == name).map(|field| field.number)
}

/// The TLVs of which `bytes` consist, as fields called by their tags.
pub(crate) fn tlvs(bytes: &[u8]) -> Result<Vec<Field>, Short> {
    let mut fields = vec![];
    let mut at = 0;
    while at < bytes.len() {
        let head = bytes.get(at..at + 3).ok_or(Short)?;
        let range = at + 3..at + 3 + usize::from(u16::from_be_bytes([head[1], head[2]]));
        let value = text::hex(bytes.get(range.clone()).ok_or(Short)?);
        fields.push(Field {
            name: format!("{:#04X}", head[0]).replace("0X", "0x"),
            index: None,
            range: at..range.end,
            value,
            number: 0,
        });
        at = range.end;
    }
    Ok(fields)
}

fn field(row: &Row, index: Option<u64>, bytes: &[u8], at: &mut usize) -> Result<Field, Short> {
    let start = *at;
    let mut take = |count: usize| {
        let taken = bytes.get(*at..*at + count).ok_or(Short)?;
        *at += count;
        Ok(taken)
    };
    let mut integer = |count: usize| Ok(take(count)?.iter().fold(0u64, |value, byte| value << 8 | u64::from(*byte)));
    let (number, value) = match row.kind.as_str() {
        "u8" => shown(&row.name, integer(1)?, 2),
        "u16" => shown(&row.name, integer(2)?, 4),
        "u32" => shown(&row.name, integer(4)?, 8),
        "u64" => shown(&row.name, integer(8)?, 16),
        kind @ ("str8" | "str16") => {
            let count = usize::try_from(integer(if kind == "str8" { 1 } else { 2 })?).expect("16 bits");
            (0, format!("{:?}", std::str::from_utf8(take(count)?).expect("vectors with fields are UTF-8")))
        }
        kind => panic!("the type {kind} of {}", row.name),
    };
    Ok(Field { name: row.name.clone(), index, range: start..*at, value, number })
}

/// Numbers are decimal, but for those that people compare digit by digit.
fn shown(name: &str, number: u64, digits: usize) -> (u64, String) {
    const HEX: [&str; 14] = [
        "magic",
        "opcode",
        "flags",
        "status",
        "class",
        "features",
        "digest",
        "instance",
        "token",
        "topic_id",
        "producer_id",
        "origin",
        "down",
        "targets",
    ];
    let value = if HEX.contains(&name) || name.ends_with("_crc") {
        format!("0x{number:0digits$x}")
    } else {
        number.to_string()
    };
    (number, value)
}

fn written_size(kind: &str) -> &'static str {
    match kind {
        "u8" => "1",
        "u16" => "2",
        "u32" => "4",
        "u64" => "8",
        "str8" => "1+n",
        "str16" => "2+n",
        _ => panic!("the type {kind}"),
    }
}
