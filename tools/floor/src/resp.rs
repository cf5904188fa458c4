//! The part of the Redis protocol that a publisher needs: encoding XADD and WAIT, and finding the end of an answer.
//!
//! ```text
//! *5 XADD topic * f VALUE     an array of bulk strings: $LENGTH, CR LF, the bytes, CR LF
//! $15 1700000000000-0         the answer: the id of the entry as a bulk string; an error begins with -
//! *3 WAIT 1 0                 waits until a replica has acknowledged everything before it
//! :2                          the answer: how many replicas have
//! ```

use crate::error::Error;

/// The maximum length of an answer's first line, which may hold the text of an error.
const LINE_MAX: usize = 4 << 10;

/// Encodes an XADD of one entry with the single field `f`.
pub(crate) fn xadd(topic: &str, value: &[u8]) -> Vec<u8> {
    command(&[b"XADD", topic.as_bytes(), b"*", b"f", value])
}

/// Encodes a WAIT for this many replicas. Without them it is answered after `timeout_ms`; 0 is no timeout.
pub(crate) fn wait(replicas: usize, timeout_ms: usize) -> Vec<u8> {
    command(&[b"WAIT", replicas.to_string().as_bytes(), timeout_ms.to_string().as_bytes()])
}

fn command(words: &[&[u8]]) -> Vec<u8> {
    let mut out = format!("*{}\r\n", words.len()).into_bytes();
    for word in words {
        out.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
        out.extend_from_slice(word);
        out.extend_from_slice(b"\r\n");
    }
    out
}

/// Returns the number of complete answers at the start of `input` and the bytes consumed.
///
/// # Errors
///
/// If an answer is an error, or is not valid.
pub(crate) fn count_answers(input: &[u8]) -> Result<(usize, usize), Error> {
    let (mut answers, mut at) = (0, 0);
    while let Some(bytes) = answer_bytes(&input[at..])? {
        at += bytes;
        answers += 1;
    }
    Ok((answers, at))
}

/// Returns the number of complete answers to WAIT at the start of `input`, and the bytes consumed. Other answers are
/// consumed but not counted.
///
/// # Errors
///
/// If an answer is an error, is not valid, or says that no replica has what came before the WAIT.
pub(crate) fn count_waits(input: &[u8]) -> Result<(usize, usize), Error> {
    let (mut answers, mut at) = (0, 0);
    while let Some(bytes) = answer_bytes(&input[at..])? {
        if input[at..].starts_with(b":0\r") {
            return Err(Error::NoReplica);
        }
        answers += usize::from(input[at] == b':');
        at += bytes;
    }
    Ok((answers, at))
}

/// Returns the length of the answer at the start of `input`, or `None` if it is incomplete.
fn answer_bytes(input: &[u8]) -> Result<Option<usize>, Error> {
    let Some(end) = input.windows(2).take(LINE_MAX).position(|pair| pair == b"\r\n") else {
        return if input.len() > LINE_MAX { Err(Error::NotRedis) } else { Ok(None) };
    };
    let (kind, text) = input[..end].split_first().ok_or(Error::NotRedis)?;
    let line_bytes = end + 2;
    match kind {
        b'+' | b':' => Ok(Some(line_bytes)),
        b'-' => Err(Error::RedisRefused { text: String::from_utf8_lossy(text).into_owned() }),
        b'$' => {
            let length: u32 = str::from_utf8(text).ok().and_then(|text| text.parse().ok()).ok_or(Error::NotRedis)?;
            let whole = line_bytes + length as usize + 2;
            match input.get(whole - 2..whole) {
                None => Ok(None),
                Some(b"\r\n") => Ok(Some(whole)),
                Some(_) => Err(Error::NotRedis),
            }
        }
        _ => Err(Error::NotRedis),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_an_array_of_bulk_strings() {
        let expected = b"*5\r\n$4\r\nXADD\r\n$1\r\nt\r\n$1\r\n*\r\n$1\r\nf\r\n$4\r\na\r\nb\r\n";
        assert_eq!(xadd("t", b"a\r\nb"), expected);
    }

    #[test]
    fn a_wait_names_the_replicas_and_the_time() {
        assert_eq!(wait(1, 0), b"*3\r\n$4\r\nWAIT\r\n$1\r\n1\r\n$1\r\n0\r\n");
        assert_eq!(wait(2, 100), b"*3\r\n$4\r\nWAIT\r\n$1\r\n2\r\n$3\r\n100\r\n");
    }

    #[test]
    fn only_the_answers_to_wait_are_counted() {
        let cases: [(&[u8], (usize, usize)); 5] = [
            (b"", (0, 0)),
            (b"$3\r\n1-0\r\n", (0, 9)),
            (b"$3\r\n1-0\r\n:1", (0, 9)),
            (b"$3\r\n1-0\r\n:1\r\n", (1, 13)),
            (b":2\r\n$3\r\n1-1\r\n:10\r\n$3", (2, 18)),
        ];
        for (input, expected) in cases {
            assert_eq!(count_waits(input).unwrap(), expected, "{}", input.escape_ascii());
        }
        assert!(matches!(count_waits(b"$3\r\n1-0\r\n:0\r\n"), Err(Error::NoReplica)));
        assert!(matches!(count_waits(b"-ERR\r\n"), Err(Error::RedisRefused { .. })));
    }

    #[test]
    fn complete_answers_are_counted_and_an_incomplete_one_is_not_consumed() {
        let cases: [(&[u8], (usize, usize)); 10] = [
            (b"", (0, 0)),
            (b"$", (0, 0)),
            (b"$3\r", (0, 0)),
            (b"$3\r\n1-0", (0, 0)),
            (b"$3\r\n1-0\r", (0, 0)),
            (b"$3\r\n1-0\r\n", (1, 9)),
            (b"$3\r\n1-0\r\n$3\r\n1-", (1, 9)),
            (b"$0\r\n\r\n$2\r\n\r\n\r\n", (2, 14)),
            (b"+PONG\r\n:7\r\n", (2, 11)),
            (b"+PONG\r\n-ER", (1, 7)),
        ];
        for (input, expected) in cases {
            assert_eq!(count_answers(input).unwrap(), expected, "{}", input.escape_ascii());
        }
    }

    #[test]
    fn bytes_that_are_not_an_answer_are_an_error() {
        let cases: [&[u8]; 7] =
            [b"\r\n", b"*1\r\n", b"$-1\r\n", b"$x\r\n", b"$99999999999\r\n", b"$1\r\nxyz", &[b'+'; LINE_MAX + 1]];
        for input in cases {
            assert!(matches!(count_answers(input), Err(Error::NotRedis)), "{}", input.escape_ascii());
        }
    }

    #[test]
    fn an_error_answer_is_reported_with_its_text() {
        let Err(error) = count_answers(b"$3\r\n1-0\r\n-MISCONF no space\r\n") else { panic!("the error was counted") };
        assert_eq!(error.to_string(), "redis-server answered: MISCONF no space");
    }
}
