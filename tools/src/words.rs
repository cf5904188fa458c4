//! Splits a line of `nc` into words, quoted as in a shell.

/// Splits a line. `'…'` is literal; in `"…"` a backslash quotes `"` and `\`; outside quotes it quotes any character;
/// `#` at the start of a word begins a comment.
///
/// # Errors
/// Returns an error for an unclosed quote.
pub(crate) fn split(line: &str) -> Result<Vec<String>, String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut letters = line.chars();
    while let Some(letter) = letters.next() {
        match letter {
            '#' if word.is_none() => break,
            '\'' => quoted(&mut letters, '\'', word.get_or_insert_default())?,
            '"' => quoted(&mut letters, '"', word.get_or_insert_default())?,
            '\\' => {
                let next = letters.next().ok_or("a \\ stands at the end of the line")?;
                word.get_or_insert_default().push(next);
            }
            letter if letter.is_whitespace() => words.extend(word.take()),
            letter => word.get_or_insert_default().push(letter),
        }
    }
    words.extend(word);
    Ok(words)
}

/// Reads the rest of a quoted part, up to its closing quote.
fn quoted(letters: &mut std::str::Chars<'_>, quote: char, word: &mut String) -> Result<(), String> {
    while let Some(letter) = letters.next() {
        match letter {
            letter if letter == quote => return Ok(()),
            '\\' if quote == '"' => match letters.next() {
                Some(next @ ('"' | '\\')) => word.push(next),
                Some(next) => word.extend(['\\', next]),
                None => break,
            },
            letter => word.push(letter),
        }
    }
    Err(format!("a {quote} is not closed"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_taken_apart_as_a_shell_would() {
        let cases: [(&str, Option<&[&str]>); 16] = [
            ("", Some(&[])),
            ("   ", Some(&[])),
            ("# a comment", Some(&[])),
            ("list # all", Some(&["list"])),
            ("publish t a#b", Some(&["publish", "t", "a#b"])),
            ("  publish   weather hello ", Some(&["publish", "weather", "hello"])),
            (r#"publish weather "hello world""#, Some(&["publish", "weather", "hello world"])),
            (r#"publish t 'a "b" \ c'"#, Some(&["publish", "t", r#"a "b" \ c"#])),
            (r#"publish t "a \"b\" \\ \n""#, Some(&["publish", "t", r#"a "b" \ \n"#])),
            (r"publish t a\ b", Some(&["publish", "t", "a b"])),
            (r#"publish t """#, Some(&["publish", "t", ""])),
            (r#"a"b c"d'e f'"#, Some(&["ab cde f"])),
            ("t \u{e9}t\u{e9}", Some(&["t", "\u{e9}t\u{e9}"])),
            ("publish t 'open", None),
            (r#"publish t "open\""#, None),
            (r"publish t \", None),
        ];
        for (line, expected) in cases {
            let expected = expected.map(|words| words.iter().map(ToString::to_string).collect());
            assert_eq!(split(line).ok(), expected, "{line}");
        }
    }
}
