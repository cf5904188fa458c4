//! `-F FORMAT`: formats records as the user wants to see them.

use dht_client::Message;
use dht_console::errors::Failure;
use dht_console::text;

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
    Headers,
    Time,
    TimestampUs,
    AppendUs,
    PayloadBytes,
    KeyBytes,
}

/// The letters that may follow `%`.
const PARTS: [(char, Part); 10] = [
    ('t', Part::Topic),
    ('i', Part::Offset),
    ('p', Part::Payload),
    ('k', Part::Key),
    ('h', Part::Headers),
    ('T', Part::Time),
    ('u', Part::TimestampUs),
    ('a', Part::AppendUs),
    ('S', Part::PayloadBytes),
    ('K', Part::KeyBytes),
];

impl Format {
    /// # Errors
    /// Returns an error for a letter after `%` or `\` that has no meaning.
    pub(crate) fn parse(text: &str) -> Result<Self, Failure> {
        let mut parts = Vec::new();
        let mut letters = text.chars();
        while let Some(letter) = letters.next() {
            match letter {
                '%' => match letters.next() {
                    Some('%') => push(&mut parts, '%'),
                    sign => {
                        let known = PARTS.iter().find(|(letter, _)| Some(*letter) == sign);
                        parts.push(known.map(|(_, part)| part.clone()).ok_or_else(|| unknown('%', sign))?);
                    }
                },
                '\\' => {
                    let sign = letters.next();
                    push(&mut parts, sign.and_then(escaped).ok_or_else(|| unknown('\\', sign))?);
                }
                other => push(&mut parts, other),
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
                Part::Headers => headers(message, out),
                Part::Time => out.extend_from_slice(text::time(time_us(message)).as_bytes()),
                Part::TimestampUs => {
                    let given = message.timestamp_us.map(|micros| micros.to_string()).unwrap_or_default();
                    out.extend_from_slice(given.as_bytes());
                }
                Part::AppendUs => out.extend_from_slice(message.append_us.to_string().as_bytes()),
                Part::PayloadBytes => out.extend_from_slice(message.value.len().to_string().as_bytes()),
                Part::KeyBytes => {
                    let bytes = message.key.as_ref().map_or_else(|| "-1".to_owned(), |key| key.len().to_string());
                    out.extend_from_slice(bytes.as_bytes());
                }
            }
        }
    }
}

/// Formats headers as `name=value,name=value`.
fn headers(message: &Message, out: &mut Vec<u8>) {
    for (index, (name, value)) in message.headers.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        out.extend_from_slice(name.as_bytes());
        out.push(b'=');
        out.extend_from_slice(value);
    }
}

/// Returns the character that a letter after a backslash stands for.
const fn escaped(letter: char) -> Option<char> {
    Some(match letter {
        'n' => '\n',
        'r' => '\r',
        't' => '\t',
        '0' => '\0',
        '\\' => '\\',
        _ => return None,
    })
}

/// Decodes escapes such as `\t`, as in the argument of `-K`.
///
/// # Errors
/// Returns an error for a backslash before any other character.
pub(crate) fn unescape(option: &str, text: &str) -> Result<Vec<u8>, Failure> {
    let mut letters = text.chars();
    let mut plain = String::new();
    while let Some(letter) = letters.next() {
        plain.push(match letter {
            '\\' => letters.next().and_then(escaped).ok_or_else(|| {
                Failure::usage_with(
                    format!("{option} {text:?}: an unknown or incomplete escape"),
                    "write \\t \\n \\r \\0 or \\\\".to_owned(),
                )
            })?,
            other => other,
        });
    }
    Ok(plain.into_bytes())
}

/// Returns the publisher's timestamp, or else the append time, in microseconds since 1970.
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
    let advice = "write %t topic, %i offset, %p payload, %k key, %h headers, %T time, %u and %a microseconds, %S and %K \
                  sizes, %% for a percent sign; \\n \\r \\t \\0 \\\\";
    Failure::usage_with(what, advice.to_owned())
}

#[cfg(test)]
mod tests {
    use dht_client::Offset;

    use super::*;

    #[test]
    fn records_are_written_as_the_pattern_says() {
        let header = |name: &str, value: &'static [u8]| (name.to_owned(), value.into());
        let message = Message {
            offset: Offset(17),
            append_us: 1_000_000,
            timestamp_us: None,
            key: Some(b"k\xff".as_slice().into()),
            headers: vec![header("n", b"v\xfe"), header("", b"")],
            value: b"hello".as_slice().into(),
        };
        let cases: [(&str, Option<&[u8]>); 12] = [
            ("", Some(b"")),
            ("%t %i: %p\\n", Some(b"news 17: hello\n")),
            ("%k", Some(b"k\xff")),
            ("%T", Some(b"1970-01-01T00:00:01.000Z")),
            ("100%%\\t\\\\\\0\\r", Some(b"100%\t\\\0\r")),
            ("%h", Some(b"n=v\xfe,=")),
            ("%u|%a|%S|%K", Some(b"|1000000|5|2")),
            ("\\x", None),
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
        let plain = Message { timestamp_us: Some(7), key: None, headers: Vec::new(), ..message };
        let mut out = Vec::new();
        Format::parse("%u,%K,%h,%k;%T").unwrap().write("news", &plain, &mut out);
        assert_eq!(out, b"7,-1,,;1970-01-01T00:00:00.000Z");
    }
}
