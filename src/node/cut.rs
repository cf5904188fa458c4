//! Shortening answers with records, so that they fit the limits of a request or the frames of a client.

use crate::wire::response::{Detail, ErrorResponse, Fetched, Payload, Run};
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
    let first = fetched.payload.parts.first().map_or(0, |part| records::prefix_len(part, 1));
    if first > room {
        let message = "the next record is larger than the max_frame of your HELLO allows";
        let needed = Fetched { runs: vec![Run { count: 1, append_us: 0 }], ..fetched }.frame_len(first);
        return Err(ErrorResponse::new(Status::TooLarge, message).with(Detail::Limit(needed as u64)));
    }
    Ok(shorten(fetched, room, u32::MAX))
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
