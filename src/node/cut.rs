//! Shortening answers with records, so that they fit the limits of a request or the frames of a client.

use crate::wire::response::{Detail, ErrorResponse, Fetched, Payload};
use crate::wire::{Frame, Opcode, Response, Status, records};

/// Returns a limit of a request, where 0 means no limit.
pub(super) const fn or_most(wanted: u32) -> u32 {
    if wanted == 0 { u32::MAX } else { wanted }
}

/// Shortens an answer so that it fits a client's largest frame. Only an answer with records can be too large; all
/// others fit `FRAME_MAX_LEAST`.
pub(super) fn fit(response: Response, frame_max: u32) -> Response {
    let Response::Fetched(fetched) = response else { return response };
    if fetched.frame_len(fetched.payload.len()) <= frame_max as usize {
        return Response::Fetched(fetched);
    }
    fit_records(*fetched, frame_max).map_or_else(Response::from, |fetched| Response::Fetched(Box::new(fetched)))
}

/// Shortens an answer of another node in the same way.
pub(super) fn fit_frame(frame: &Frame<'_>, frame_max: u32) -> Response {
    let decoded = frame.args().ok().zip(frame.keep_payload().ok()).and_then(|(args, payload)| {
        let response = Response::decode(Opcode::Fetch, frame.header.status, args, &payload).ok()?;
        let is_sound = matches!(&response, Response::Fetched(it) if records::check(&payload, it.count).is_ok());
        is_sound.then_some(response)
    });
    let damaged = || ErrorResponse::new(Status::CorruptFrame, "the answer was damaged on the way").into();
    decoded.map_or_else(damaged, |response| fit(response, frame_max))
}

/// Returns as many of the records as fit a client's largest frame.
///
/// # Errors
/// Returns TOO_LARGE, with the frame size needed, when not even the first record fits.
pub(super) fn fit_records(fetched: Fetched, frame_max: u32) -> Result<Fetched, ErrorResponse> {
    let room = (frame_max as usize).saturating_sub(fetched.frame_len(0));
    // There may be no room for any record beside all the runs, but for the first one beside its own run.
    let fetched = shorten(fetched, room, u32::MAX);
    let needed = fetched.frame_len(fetched.payload.len());
    if needed > frame_max as usize {
        let message = "the next record is larger than the max_frame of your HELLO allows";
        return Err(ErrorResponse::new(Status::TooLarge, message).with(Detail::Limit(needed as u64)));
    }
    Ok(fetched)
}

/// Returns the first records that fit both limits, but at least one.
pub(super) fn shorten(mut fetched: Fetched, max_bytes: usize, max_records: u32) -> Fetched {
    if fetched.payload.len() <= max_bytes && fetched.count <= max_records {
        return fetched;
    }
    let whole = std::mem::take(&mut fetched.payload);
    let (mut payload, mut bytes, mut count) = (Payload::default(), 0, 0);
    for part in &whole.parts {
        let (mut fitting, mut len) = records::fit(part, max_bytes.saturating_sub(bytes), max_records - count);
        if fitting == 0 && count == 0 {
            (fitting, len) = (1, records::prefix_len(part, 1));
        }
        payload.parts.push(part.slice(..len));
        (bytes, count) = (bytes + len, count + fitting);
        if len < part.len() {
            break;
        }
    }
    let mut left = count;
    for run in &mut fetched.runs {
        run.count = run.count.min(left);
        left -= run.count;
    }
    fetched.runs.retain(|run| run.count > 0);
    Fetched { payload, count, ..fetched }
}

/// Returns the records after the first `records`, which must all be in the first part, or `None` when none are left.
pub(super) fn skip(mut fetched: Fetched, records: u32) -> Option<Fetched> {
    let count = fetched.count.checked_sub(records).filter(|count| *count > 0)?;
    let mut parts = std::mem::take(&mut fetched.payload.parts);
    let first = parts.first_mut()?;
    *first = first.slice(records::prefix_len(first, records)..);
    let mut left = records;
    for run in &mut fetched.runs {
        let skipped = run.count.min(left);
        run.count -= skipped;
        left -= skipped;
    }
    fetched.runs.retain(|run| run.count > 0);
    let base = fetched.base.plus(u64::from(records));
    Some(Fetched { from: base, base, count, payload: Payload { parts, crc: None }, ..fetched })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{Epoch, Offset, TopicId};
    use crate::wire::records::Record;
    use crate::wire::response::Run;

    /// Records 10 to 14, in two parts and with two times. Their sizes in bytes are 10, 20, 30, 5 and 40.
    fn five() -> Fetched {
        let encode = |lens: &[usize]| {
            let mut part = Vec::new();
            for len in lens {
                Record { value: &vec![0; len - 5], ..Record::default() }.encode(&mut part).unwrap();
            }
            part.into()
        };
        Fetched {
            topic_id: TopicId::new(1).unwrap(),
            epoch: Epoch(1),
            from: Offset(10),
            base: Offset(10),
            count: 5,
            first: Offset(0),
            next: Offset(15),
            runs: vec![Run { count: 2, append_us: 1 }, Run { count: 3, append_us: 2 }],
            payload: Payload { parts: vec![encode(&[10, 20, 30]), encode(&[5, 40])], crc: Some(1) },
        }
    }

    fn runs(fetched: &Fetched) -> Vec<u32> {
        fetched.runs.iter().map(|run| run.count).collect()
    }

    #[test]
    fn an_answer_is_shortened_to_the_first_records_that_fit_but_never_to_none() {
        let cases = [
            (105, 5, 5, 105, vec![2, 3]),
            (104, 5, 4, 65, vec![2, 2]),
            (65, 5, 4, 65, vec![2, 2]),
            // The fourth record is small enough, but the third is not.
            (64, 5, 3, 60, vec![2, 1]),
            (59, 5, 2, 30, vec![2]),
            (10, 5, 1, 10, vec![1]),
            (1, 5, 1, 10, vec![1]),
            (105, 4, 4, 65, vec![2, 2]),
            (105, 3, 3, 60, vec![2, 1]),
            (105, 2, 2, 30, vec![2]),
        ];
        for (max_bytes, max_records, count, bytes, expected) in cases {
            let cut = shorten(five(), max_bytes, max_records);
            assert_eq!((cut.count, cut.payload.len()), (count, bytes), "{max_bytes} bytes, {max_records} records");
            assert_eq!((runs(&cut), cut.base, cut.next), (expected, Offset(10), Offset(15)));
            assert_eq!(cut.payload.crc.is_some(), count == 5, "the checksum is that of the whole");
            records::check(&cut.payload.parts.concat(), count).unwrap();
        }
    }

    #[test]
    fn records_fit_a_frame_beside_their_runs_and_the_first_one_beside_its_own_run() {
        let one_run = Fetched { runs: vec![Run { count: 1, append_us: 1 }], ..five() }.frame_len(0);
        let two_runs = five().frame_len(0);
        let cases = [
            (one_run + 9, Err(one_run + 10)),
            (one_run + 10, Ok(1)),
            (two_runs + 9, Ok(1)),
            (two_runs + 30, Ok(2)),
            (two_runs + 104, Ok(4)),
            (two_runs + 105, Ok(5)),
        ];
        for (frame_max, expected) in cases {
            let fitted = fit_records(five(), u32::try_from(frame_max).unwrap());
            let count = fitted.map(|it| it.count).map_err(|error| usize::try_from(error.limit().unwrap()).unwrap());
            assert_eq!(count, expected, "a frame of {frame_max} bytes");
        }
    }

    #[test]
    fn records_are_skipped_with_their_times() {
        for (skipped, bytes, expected) in [(0, 105, vec![2, 3]), (1, 95, vec![1, 3]), (2, 75, vec![3])] {
            let rest = skip(five(), skipped).unwrap();
            assert_eq!((rest.count, rest.payload.len(), runs(&rest)), (5 - skipped, bytes, expected));
            assert_eq!((rest.from, rest.base), (Offset(10 + u64::from(skipped)), Offset(10 + u64::from(skipped))));
        }
        assert!(skip(five(), 5).is_none() && skip(five(), 6).is_none());
    }
}
