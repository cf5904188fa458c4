//! `-F FORMAT`: a record as a person wants to see it.

use dht_node::client::Message;

use crate::errors::Failure;
use crate::text;

/// A pattern for records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Format(Vec<Part>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Bytes(Vec<u8>),
    Topic,
    Payload,
    Offset,
    Key,
    Time,
}

impl Format {
    /// # Errors
    /// A letter behind `%` or `\` that stands for nothing.
    pub(crate) fn parse(text: &str) -> Result<Self, Failure> {
        let mut parts = Vec::new();
        let mut letters = text.chars();
        while let Some(letter) = letters.next() {
            match (letter, if matches!(letter, '%' | '\\') { letters.next() } else { None }) {
                ('%', Some('t')) => parts.push(Part::Topic),
                ('%', Some('p')) => parts.push(Part::Payload),
                ('%', Some('i')) => parts.push(Part::Offset),
                ('%', Some('k')) => parts.push(Part::Key),
                ('%', Some('T')) => parts.push(Part::Time),
                ('\\', Some('n')) => push(&mut parts, '\n'),
                ('\\', Some('t')) => push(&mut parts, '\t'),
                ('\\', Some('0')) => push(&mut parts, '\0'),
                ('%', Some('%')) | ('\\', Some('\\')) => push(&mut parts, letter),
                ('%' | '\\', other) => return Err(unknown(letter, other)),
                (other, _) => push(&mut parts, other),
            }
        }
        Ok(Self(parts))
    }

    /// Writes a record.
    pub(crate) fn write(&self, topic: &str, message: &Message, out: &mut Vec<u8>) {
        for part in &self.0 {
            match part {
                Part::Bytes(bytes) => out.extend_from_slice(bytes),
                Part::Topic => out.extend_from_slice(topic.as_bytes()),
                Part::Payload => out.extend_from_slice(&message.value),
                Part::Offset => out.extend_from_slice(message.offset.to_string().as_bytes()),
                Part::Key => out.extend_from_slice(message.key.as_deref().unwrap_or_default()),
                Part::Time => out.extend_from_slice(text::time(time_us(message)).as_bytes()),
            }
        }
    }
}

/// The publisher's time where it gave one, else that of storing: microseconds since 1970.
pub(crate) fn time_us(message: &Message) -> u64 {
    message.timestamp_us.unwrap_or(message.append_us)
}

fn push(parts: &mut Vec<Part>, letter: char) {
    let mut encoded = [0; 4];
    let bytes = letter.encode_utf8(&mut encoded).as_bytes();
    match parts.last_mut() {
        Some(Part::Bytes(last)) => last.extend_from_slice(bytes),
        Some(_) | None => parts.push(Part::Bytes(bytes.to_vec())),
    }
}

fn unknown(sign: char, letter: Option<char>) -> Failure {
    let what = match letter {
        Some(letter) => format!("-F knows no {sign}{letter}"),
        None => format!("-F ends with a {sign} that stands for nothing"),
    };
    let advice = "write %t topic, %p payload, %i offset, %k key, %T time, %% for a percent sign; \\n \\t \\0 \\\\";
    Failure::usage_with(what, advice.to_owned())
}

#[cfg(test)]
mod tests {
    use dht_node::client::Offset;

    use super::*;

    #[test]
    fn records_are_written_as_the_pattern_says() {
        let message = Message {
            offset: Offset(17),
            append_us: 1_000_000,
            timestamp_us: None,
            key: Some(b"k\xff".as_slice().into()),
            headers: Vec::new(),
            value: b"hello".as_slice().into(),
        };
        let cases: [(&str, Option<&[u8]>); 9] = [
            ("", Some(b"")),
            ("%t %i: %p\\n", Some(b"news 17: hello\n")),
            ("%k", Some(b"k\xff")),
            ("%T", Some(b"1970-01-01T00:00:01.000Z")),
            ("100%%\\t\\\\\\0", Some(b"100%\t\\\0")),
            ("caf\u{e9}%p", Some(b"caf\xc3\xa9hello")),
            ("%x", None),
            ("50%", None),
            ("\\", None),
        ];
        for (pattern, expected) in cases {
            let written = Format::parse(pattern).ok().map(|format| {
                let mut out = Vec::new();
                format.write("news", &message, &mut out);
                out
            });
            assert_eq!(written.as_deref(), expected, "{pattern:?}");
        }
    }
}
