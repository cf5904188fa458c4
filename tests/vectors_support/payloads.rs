//! The payloads of `records.txt`: records as values and as bytes, and what is none.

use dht_node::wire::records::{self, Record, encode_headers};

use super::text::{Entry, hex};

/// The good and the bad ones, in the order of the file.
pub(crate) fn all() -> Vec<Entry> {
    good().into_iter().chain(bad()).collect()
}

fn good() -> Vec<Entry> {
    let value = |value: &'static [u8]| Record { value, ..Record::default() };
    let headers = encode_headers([("trace", b"abc".as_slice()), ("", b""), ("trace", b"d")]).expect("short");
    let key = Record { key: Some(b"k1"), ..value(b"world") };
    let rich = Record { timestamp_us: Some(1_767_225_600_000_000), key: Some(b"k\0"), ..value(b"all of it") };
    let rich = rich.with_headers(&headers).expect("made so");
    let empty_key = Record { key: Some(b""), timestamp_us: Some(0), ..Record::default() };
    let cases: [(&str, &str, &[Record<'_>]); 6] = [
        ("record-plain", "A value alone.", &[value(b"hello")]),
        ("record-empty", "Nothing at all.", &[Record::default()]),
        ("record-key", "A key and a value.", std::slice::from_ref(&key)),
        ("record-all", "Timestamp, key, three headers of which two have one name, value.", std::slice::from_ref(&rich)),
        ("record-empty-key", "An empty key is a key, and 0 is a time.", std::slice::from_ref(&empty_key)),
        ("records-three", "Three records back to back.", &[value(b"hello"), key.clone(), Record::default()]),
    ];
    let entry = |(name, what, records): (&str, &str, &[Record<'_>])| {
        let mut payload = vec![];
        records.iter().for_each(|record| record.encode(&mut payload).expect("short"));
        let mut entry = Entry::new(name).with("what", what).with("count", records.len().to_string());
        entry = entry.with("hex", hex(&payload));
        for line in records.iter().enumerate().flat_map(|(index, record)| lines(index, record)) {
            entry.0.push(line);
        }
        entry
    };
    let foreign =
        Entry::new("record-empty-headers").with("what", "The attribute of headers, but none follow: allowed.");
    let foreign = foreign.with("count", "1").with("hex", "00000003040000").with("record.0.value", "");
    let reserved = [
        ("record-reserved-08", "08", "no bytes", "00000003086869"),
        ("record-reserved-10", "10", "four bytes", "000000071000000e106869"),
    ];
    let reserved = reserved.map(|(name, bit, bytes, payload)| {
        let what = format!("The attribute {bit}, which has {bytes}: a reader skips it, PUBLISH refuses it.");
        let entry = Entry::new(name).with("what", what).with("count", "1").with("hex", payload);
        entry.with("publish", "MALFORMED_RECORDS").with("record.0.value", hex(b"hi"))
    });
    cases.into_iter().map(entry).chain([foreign]).chain(reserved).collect()
}

/// The fields of a record as the vectors write them.
pub(crate) fn lines(index: usize, record: &Record<'_>) -> Vec<(String, String)> {
    let mut lines = vec![];
    let mut line = |name: &str, value: String| lines.push((format!("record.{index}.{name}"), value));
    if let Some(timestamp_us) = record.timestamp_us {
        line("timestamp_us", timestamp_us.to_string());
    }
    if let Some(key) = record.key {
        line("key", hex(key));
    }
    for (name, value) in record.headers.iter() {
        line("header", format!("{name:?} {}", hex(value)).trim_end().to_owned());
    }
    line("value", hex(record.value));
    lines
}

fn bad() -> Vec<Entry> {
    let cases: [(&str, &str, u32, &[u8]); 12] = [
        ("count-0", "A batch of no records.", 0, b""),
        ("count-too-high", "One record of two.", 2, b"\0\0\0\x01\0"),
        ("count-too-low", "Two records of one.", 1, b"\0\0\0\x01\0\0\0\0\x01\0"),
        ("rest", "A byte behind the last record.", 1, b"\0\0\0\x01\0\0"),
        ("size-cut", "Three bytes of a size.", 1, b"\0\0\0"),
        ("size-0", "No room for attrs.", 1, b"\0\0\0\0\0"),
        ("size-beyond", "A size beyond the payload.", 1, b"\0\0\0\x02\0"),
        ("size-4-gib", "A size of 4 GiB.", 1, b"\xff\xff\xff\xff\0"),
        ("attrs-unknown", "An attribute that does not exist.", 1, b"\0\0\0\x01\x20"),
        ("timestamp-cut", "A timestamp of 7 bytes.", 1, b"\0\0\0\x08\x01\0\0\0\0\0\0\0"),
        ("key-beyond", "A key beyond the record.", 1, b"\0\0\0\x04\x02\0\x02k"),
        ("headers-rest", "Headers that do not fill their length.", 1, b"\0\0\0\x04\x04\0\x01\x05"),
    ];
    let entry = |(name, what, count, payload): (&str, &str, u32, &[u8])| {
        let error = records::check_published(payload, count).expect_err("a bad payload");
        let entry = Entry::new(name).with("what", what).with("count", count.to_string()).with("hex", hex(payload));
        entry.with("error", "MALFORMED_RECORDS").with("because", error.to_string())
    };
    let not_text = Entry::new("header-name-not-utf-8").with("what", "The name of a header is not UTF-8.");
    let not_text = not_text.with("count", "1").with("hex", "0000000804000502c3280000");
    let not_text = not_text.with("error", "MALFORMED_RECORDS");
    let not_text = not_text.with("because", "a record's headers do not fill their length");
    cases.into_iter().map(entry).chain([not_text]).collect()
}
