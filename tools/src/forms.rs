//! Converts the pieces of `publish`'s input into records.

use dht_client::Error;
use dht_client::json::{self, Content, Line};
use dht_console::errors::Failure;
use dht_protocol::wire::records::encode_headers;

use crate::args;
use crate::format::unescape;
use crate::stream::Parsed;

/// How a piece becomes a record.
#[derive(Debug)]
pub(crate) enum Form {
    /// The piece is the payload; key and headers are the same for all records.
    Plain {
        /// The value of `-k`.
        key: Option<Vec<u8>>,
        /// The encoded headers of `-H`.
        headers: Vec<u8>,
    },
    /// The piece is a key and a payload with this separator between them.
    Keyed {
        /// The value of `-K`.
        separator: Vec<u8>,
        /// The encoded headers of `-H`.
        headers: Vec<u8>,
    },
    /// The piece is a line of JSON as `fetch --json` prints it.
    Json,
}

impl Form {
    /// # Errors
    /// Returns an error for options that exclude each other, and for invalid headers.
    pub(crate) fn new(publish: &args::Publish) -> Result<Self, Failure> {
        if publish.input == Some(args::InputForm::Json) {
            let others = publish.null || publish.key.is_some() || publish.separator.is_some();
            if others || !publish.header.is_empty() || publish.message.is_some() {
                return Err(Failure::usage_with(
                    "--input json excludes MESSAGE, -0, -k, -K and -H".to_owned(),
                    "each line contains everything: {\"payload\":\"x\",\"key\":\"k\",\"headers\":[…]}".to_owned(),
                ));
            }
            return Ok(Self::Json);
        }
        let headers = headers(&publish.header)?;
        let Some(separator) = &publish.separator else {
            return Ok(Self::Plain { key: publish.key.clone().map(String::into_bytes), headers });
        };
        let separator = unescape("-K", separator)?;
        if separator.is_empty() || publish.key.is_some() || publish.message.is_some() {
            return Err(Failure::usage_with(
                "-K needs a separator, and excludes MESSAGE and -k".to_owned(),
                "it reads lines of KEY SEPARATOR VALUE: dht-cli publish orders -K : <FILE".to_owned(),
            ));
        }
        Ok(Self::Keyed { separator, headers })
    }

    /// Returns true if the input is split into pieces even without `-l` and `-0`.
    pub(crate) const fn has_pieces(&self) -> bool {
        matches!(self, Self::Keyed { .. } | Self::Json)
    }

    /// Converts a piece.
    pub(crate) fn parse<T>(&self, piece: Vec<u8>) -> Result<Parsed<T>, Failure> {
        match self {
            Self::Plain { key, headers } => Ok(Parsed::Record(Content {
                timestamp_us: None,
                key: key.clone(),
                headers: headers.clone(),
                value: piece,
            })),
            Self::Keyed { separator, headers } => {
                let at = piece.windows(separator.len()).position(|part| part == separator.as_slice());
                let Some(at) = at else {
                    return Err(Failure::usage_with(
                        format!("{:?} is nowhere in it", String::from_utf8_lossy(separator)),
                        "-K reads KEY SEPARATOR VALUE; without a key: -l".to_owned(),
                    ));
                };
                let value = piece[at + separator.len()..].to_vec();
                let key = Some(piece[..at].to_vec());
                Ok(Parsed::Record(Content { timestamp_us: None, key, headers: headers.clone(), value }))
            }
            Self::Json => match json::decode(&piece) {
                Ok(Line::Record(_, content)) => Ok(Parsed::Record(content)),
                Ok(Line::Notice | Line::Blank) => Ok(Parsed::Skip),
                Err(what) => Err(no_record(&what)),
            },
        }
    }
}

/// Returns the error for a line of JSON that cannot be decoded.
pub(crate) fn no_record(what: &str) -> Failure {
    Failure::usage_with(what.to_owned(), "a line is what fetch --json prints: {\"payload\":\"x\",…}".to_owned())
}

fn headers(written: &[String]) -> Result<Vec<u8>, Failure> {
    let mut headers = Vec::new();
    for header in written {
        let Some((name, value)) = header.split_once('=') else {
            let what = format!("{header:?} is not a header");
            return Err(Failure::usage_with(what, "write it like -H NAME=VALUE".to_owned()));
        };
        headers.push((name, value.as_bytes()));
    }
    Ok(encode_headers(headers).map_err(Error::from)?)
}
