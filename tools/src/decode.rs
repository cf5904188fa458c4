//! `decode`: shows frames from hex text or raw bytes field by field, for authors of other clients.

use std::fs::File;
use std::io::{self, Read};

use dht_client::Dimension;
use dht_console::errors::{Exit, Failure};
use dht_console::output::{BAD, BOLD, DIM, Out};
use dht_console::session::Session;
use dht_protocol::wire::frame::MAGIC;
use serde_json::{Value, json};

use crate::args;
use crate::fields::{self, Explained};

/// Bytes of a field that are shown; the others are only counted.
const SHOWN: usize = 8;

/// Runs the command `decode [FILE]`.
pub(crate) fn decode(decode: &args::Decode, session: &mut Session) -> Result<Exit, Failure> {
    let dimension = Dimension::new(decode.dimension).ok_or_else(|| {
        Failure::usage_with(format!("--dimension {}", decode.dimension), "a cube has 0 to 10 dimensions".to_owned())
    })?;
    let name = decode.file.as_deref().filter(|name| *name != "-");
    if name.is_none() && session.is_line {
        return Err(Failure::usage_with(
            "no file".to_owned(),
            "standard input has the commands here: decode FILE".to_owned(),
        ));
    }
    let input =
        read(name).map_err(|error| Failure::Input { name: name.unwrap_or("standard input").to_owned(), error })?;
    let bytes = bytes_of(&input).map_err(Failure::Found)?;
    if bytes.is_empty() {
        return Err(Failure::Found("there are no bytes to decode".to_owned()));
    }
    let out = &mut session.out;
    let (mut at, mut bad, mut frames) = (0, 0, 0);
    while at < bytes.len() {
        frames += 1;
        let explained = fields::explain(&bytes[at..], dimension);
        bad += u32::from(explained.fault.is_some());
        if out.is_json() {
            let mut value = json_of(&explained);
            value["frame"] = json!(frames);
            out.json(&value)?;
        } else {
            if frames > 1 {
                out.line("")?;
            }
            let title = out.paint(BOLD, &format!("frame {frames}: {}", explained.title));
            print(&title, " ", &explained, out)?;
        }
        match explained.length {
            Some(length) => at += length,
            None => break, // where the next frame begins is not known
        }
    }
    if bad == 0 { Ok(Exit::Done) } else { Ok(Exit::Refused) }
}

fn read(name: Option<&str>) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    match name {
        Some(name) => File::open(name)?.read_to_end(&mut bytes)?,
        None => io::stdin().read_to_end(&mut bytes)?,
    };
    Ok(bytes)
}

/// Prints a frame for `nc -x`.
pub(crate) fn print_frame(
    title: &str,
    margin: &str,
    bytes: &[u8],
    dimension: Dimension,
    out: &mut Out,
) -> io::Result<()> {
    let explained = fields::explain(bytes, dimension);
    print(&format!("{title}: {}", explained.title), margin, &explained, out)
}

/// Returns a frame as JSON, for `nc -x --json`.
pub(crate) fn frame_json(bytes: &[u8], dimension: Dimension) -> Value {
    json_of(&fields::explain(bytes, dimension))
}

fn print(title: &str, margin: &str, explained: &Explained, out: &mut Out) -> io::Result<()> {
    out.line(title)?;
    for field in &explained.fields {
        let at = out.paint(DIM, &format!("{:>5}", field.at));
        let line = format!("{margin}{at}  {:<24} {:<17} {}", hex(&field.bytes), field.name, field.value);
        out.line(line.trim_end())?;
    }
    if let Some(fault) = &explained.fault {
        out.line(&out.paint(BAD, &format!("{margin} bad: {fault}")))?;
    }
    Ok(())
}

fn hex(bytes: &[u8]) -> String {
    let shown = &bytes[..bytes.len().min(SHOWN)];
    let text = shown.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(" ");
    if bytes.len() > SHOWN { format!("{}…", &text[..text.len() - 1]) } else { text }
}

fn json_of(explained: &Explained) -> Value {
    let fields = explained.fields.iter().map(|field| {
        let hex: String = field.bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        json!({"at": field.at, "hex": hex, "name": field.name, "value": field.value})
    });
    json!({"title": explained.title, "fault": explained.fault, "fields": fields.collect::<Value>()})
}

/// Returns raw bytes unchanged, and hex text as the bytes that it denotes: plain, with spaces or `0x`, or as hexdump or
/// xxd print it.
fn bytes_of(input: &[u8]) -> Result<Vec<u8>, String> {
    let is_raw = input.get(4..6) == Some(&MAGIC.to_be_bytes()) || !input.is_ascii() || input.contains(&0);
    if is_raw {
        return Ok(input.to_vec());
    }
    let text = String::from_utf8_lossy(input);
    let mut digits = String::new();
    let mut is_dump = false;
    for (number, line) in text.lines().enumerate() {
        if is_dump && line.len() == 8 && !line.contains(' ') {
            continue; // the total at the end of a dump
        }
        let (hex, has_offset) = hex_part(line);
        is_dump |= has_offset;
        if let Some(wrong) = hex.chars().find(|c| !c.is_ascii_hexdigit()) {
            return Err(format!("line {} is not hex text: it contains {wrong:?}", number + 1));
        }
        digits.push_str(&hex);
    }
    if !digits.len().is_multiple_of(2) {
        return Err("the hex text has an odd number of digits".to_owned());
    }
    let pairs = digits.as_bytes().chunks_exact(2);
    let byte = |pair: &[u8]| std::str::from_utf8(pair).ok().and_then(|pair| u8::from_str_radix(pair, 16).ok());
    pairs.map(|pair| byte(pair).ok_or_else(|| "not hex".to_owned())).collect()
}

/// Returns the hex digits of a line, without an offset before them and text after them, and whether there was an
/// offset.
fn hex_part(line: &str) -> (String, bool) {
    let line = line.split('#').next().unwrap_or_default();
    let is_offset = |text: &str| text.len() >= 4 && text.chars().all(|c| c.is_ascii_hexdigit());
    // `xxd` writes a colon after the offset, and `hexdump -C` writes the text between bars.
    let (line, has_offset) = match (line.split_once(": "), line.split_once("  ")) {
        (Some((offset, rest)), _) if is_offset(offset) => (rest.split("  ").next().unwrap_or_default(), true),
        (_, Some((offset, rest))) if is_offset(offset) => (rest.split('|').next().unwrap_or_default(), true),
        _ => (line, false),
    };
    let words = line.split(|c: char| c.is_whitespace() || matches!(c, ',' | ':'));
    (words.map(|word| word.strip_prefix("0x").unwrap_or(word)).collect(), has_offset)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hex_is_read_as_people_and_programs_write_it() {
        for (text, expected) in [
            ("00ff10", Some(vec![0, 0xff, 0x10])),
            ("00 FF\n10 # a comment\n", Some(vec![0, 0xff, 0x10])),
            ("0x00, 0xff, 0x10", Some(vec![0, 0xff, 0x10])),
            ("00:ff:10", Some(vec![0, 0xff, 0x10])),
            ("00000000: 00ff 10                                  ...", Some(vec![0, 0xff, 0x10])),
            (
                "00000000  00 ff 10                                          |...|\n00000003\n",
                Some(vec![0, 0xff, 0x10]),
            ),
            ("00000003\n00000004", Some(vec![0, 0, 0, 3, 0, 0, 0, 4])),
            ("", Some(vec![])),
            ("abc", None),
            ("hello", None),
        ] {
            assert_eq!(bytes_of(text.as_bytes()).ok(), expected, "{text:?}");
        }
        assert_eq!(bytes_of(&[0, 0, 0, 9, 0xC4, 0x48]), Ok(vec![0, 0, 0, 9, 0xC4, 0x48]));
    }
}
