//! Splits bytes into frames, for clients and checks.

use bytes::Bytes;
use dht_node::limits::OWN_BUFFER_MIN;
use dht_node::types::Dimension;
use dht_node::wire::{Frame, FrameError, Header, Raw};

/// Returns the frame at the start of `bytes`; a large one has a buffer of its own, as in `driver/inbox.rs`.
pub(crate) fn next_frame(bytes: &[u8], frame_max: u32, dimension: Dimension) -> Result<Option<Frame<'_>>, FrameError> {
    let Some(header) = Header::parse(bytes, frame_max)? else { return Ok(None) };
    let Some(raw) = bytes.get(..header.frame_len()) else { return Ok(None) };
    let is_large = raw.len() >= OWN_BUFFER_MIN;
    let raw = if is_large { Raw::Shared(Bytes::copy_from_slice(raw)) } else { Raw::Borrowed(raw) };
    Frame::parse(header, raw, dimension).map(Some)
}
