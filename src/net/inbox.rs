//! What came from one socket and is not a whole frame yet.

use bytes::Bytes;

use crate::limits::OWN_BUFFER_MIN;
use crate::types::Dimension;
use crate::wire::{Frame, FrameError, Header, Raw};

/// How a large frame's buffer grows: a peer that announces much and sends little holds little.
const GROWTH_MIN: usize = 64 << 10;

/// The rest of the last read: nothing, a few bytes, frames that nobody wanted yet, or a large frame being filled.
#[derive(Debug, Default)]
pub(super) struct Inbox {
    rest: Vec<u8>,
    /// Length of the large frame that `rest` is the start of; 0 when it is not one.
    large: usize,
    /// `rest` may start with whole frames.
    has_frames: bool,
}

/// Takes frames off the front of what was read.
#[derive(Debug)]
pub(super) struct Frames<'a> {
    bytes: &'a [u8],
    dimension: Dimension,
    frame_max: u32,
}

impl<'a> Frames<'a> {
    pub(super) const fn new(bytes: &'a [u8], dimension: Dimension, frame_max: u32) -> Self {
        Self { bytes, dimension, frame_max }
    }

    /// The next whole frame; `None` when the rest is not one.
    ///
    /// # Errors
    /// The stream is not frames; nothing after it can be read.
    pub(super) fn next(&mut self) -> Result<Option<Frame<'a>>, FrameError> {
        let Some(header) = Header::parse(self.bytes, self.frame_max)? else { return Ok(None) };
        let Some((frame, rest)) = self.bytes.split_at_checked(header.frame_len()) else { return Ok(None) };
        self.bytes = rest;
        Frame::parse(header, Raw::Borrowed(frame), self.dimension).map(Some)
    }

    /// A connection may carry more after its HELLO than before.
    pub(super) const fn set_frame_max(&mut self, frame_max: u32) {
        self.frame_max = frame_max;
    }

    /// What is left.
    pub(super) const fn rest(&self) -> &'a [u8] {
        self.bytes
    }
}

impl Inbox {
    /// Is a large frame being filled?
    pub(super) const fn is_large(&self) -> bool {
        self.large > 0
    }

    /// Takes what was kept, to be put before what is read next, and whether it may start with whole frames.
    pub(super) fn take_rest(&mut self) -> (Vec<u8>, bool) {
        assert_eq!(self.large, 0, "a large frame is filled in its place");
        (std::mem::take(&mut self.rest), std::mem::take(&mut self.has_frames))
    }

    /// Keeps what was not handed in: the start of a frame, or frames that are not wanted yet.
    pub(super) fn keep(&mut self, rest: &[u8], frame_max: u32, has_frames: bool) {
        assert!(self.rest.is_empty(), "what was kept was taken before");
        self.rest = rest.to_vec();
        self.has_frames = has_frames;
        if !has_frames && let Ok(Some(header)) = Header::parse(rest, frame_max) {
            self.large = if header.frame_len() >= OWN_BUFFER_MIN { header.frame_len() } else { 0 };
        }
    }

    /// Takes the buffer of a large frame out to read into it.
    pub(super) fn take_large_buffer(&mut self) -> Vec<u8> {
        assert!(self.large > 0, "only a large frame has a buffer of its own");
        std::mem::take(&mut self.rest)
    }

    /// How much the next read of a large frame may add to so many bytes.
    pub(super) fn large_growth(&self, length: usize) -> usize {
        (self.large - length).min(length.max(GROWTH_MIN))
    }

    /// Puts the buffer back, or makes it the frame that it has become.
    ///
    /// # Errors
    /// The route section is not that of a frame.
    pub(super) fn put_large_buffer(
        &mut self,
        buffer: Vec<u8>,
        dimension: Dimension,
        frame_max: u32,
    ) -> Result<Option<Frame<'static>>, FrameError> {
        if buffer.len() < self.large {
            self.rest = buffer;
            return Ok(None);
        }
        self.large = 0;
        let bytes = Bytes::from(buffer);
        let header = Header::parse(&bytes, frame_max)?.ok_or(FrameError::Unfinished)?;
        Frame::parse(header, Raw::Shared(bytes), dimension).map(Some)
    }
}
