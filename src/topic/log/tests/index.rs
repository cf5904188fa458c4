//! The index of a large chunk: reads through it give what a walk over all records gives.

use super::*;

/// A payload of records whose values have up to `size` bytes.
fn random_payload(count: u32, size: usize, rng: &mut fastrand::Rng) -> Bytes {
    let mut payload = Vec::new();
    for _ in 0..count {
        let value = vec![0; rng.usize(..=size)];
        Record { value: &value, ..Record::default() }.encode(&mut payload).unwrap();
    }
    payload.into()
}

#[test]
fn an_indexed_chunk_gives_the_pieces_that_a_walk_finds() {
    let mut rng = fastrand::Rng::with_seed(7);
    // The index has an entry for every 256th record.
    for count in [1, 2, 255, 256, 257, 511, 512, 513, 1024, 5000] {
        for size in [0, 3, 100] {
            let payload = random_payload(count, size, &mut rng);
            let whole = payload.len();
            for _ in 0..100 {
                // Each chunk is new, so that both the read that builds the index and the next one are compared.
                let chunk = Chunk::new(Offset(0), payload.clone(), count, 0, 1);
                for _ in 0..2 {
                    let skip = rng.u32(..=count);
                    let max_bytes = *rng.choice(&[0, 5, 1300, whole / 2, whole, usize::MAX]).unwrap();
                    let max_records = *rng.choice(&[0, 1, 255, 256, 257, count / 2, count, u32::MAX]).unwrap();
                    let start = records::prefix_len(&payload, skip);
                    let (fitting, len) = records::fit(&payload[start..], max_bytes, max_records);
                    let piece = chunk.piece(skip, max_bytes, max_records);
                    assert_eq!(
                        (piece.count, piece.bytes),
                        (fitting, start..start + len),
                        "{max_records} of {count} records, {max_bytes} of {whole} bytes from {skip}"
                    );
                    chunk.check();
                }
                assert!(chunk.cost() <= chunk_cost(whole), "{} for {count} records", chunk.cost());
            }
        }
    }
}

#[test]
fn a_read_from_deep_inside_a_batch_walks_over_few_records_once_the_batch_is_indexed() {
    const RECORDS: u32 = 200_000;
    let payload = random_payload(RECORDS, 0, &mut fastrand::Rng::with_seed(1));
    let mut log = TopicLog::default();
    log.append(payload, (RECORDS, 0), 1, &ALL);
    let all = log.read(Offset(0), usize::MAX, u32::MAX).unwrap();
    assert_eq!((all.count, all.walked), (RECORDS, 0), "a whole batch needs no index");
    let deep = u64::from(RECORDS) - 1000;
    let first = log.read(Offset(deep), usize::MAX, 1).unwrap();
    assert!(first.walked >= RECORDS, "the first read that needs the index builds it");
    let cases =
        [(deep, usize::MAX, 1), (deep, 5 * 2000, u32::MAX), (5, 5 * 150_000, u32::MAX), (5, usize::MAX, 150_000)];
    for (start, max_bytes, max_records) in cases {
        let read = log.read(Offset(start), max_bytes, max_records).unwrap();
        assert!(read.count > 0 && read.walked <= 2 * 256, "{} records walked from {start}", read.walked);
    }
}
