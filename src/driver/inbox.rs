//! Bytes received on one socket that do not complete a frame yet, or whose frames are not handled yet.

use bytes::Bytes;

use crate::limits::OWN_BUFFER_MIN;
use crate::types::Dimension;
use crate::wire::{Frame, FrameError, Header, Raw};

/// The least number of bytes by which the buffer of a large frame grows; it otherwise doubles. A peer that announces a
/// large frame and sends little occupies little memory.
const GROWTH_MIN: usize = 64 << 10;

/// The rest of the last read: nothing, a few bytes, whole frames that are not handled yet, or a large frame being
/// received.
#[derive(Debug, Default)]
pub(crate) struct Inbox {
    rest: Vec<u8>,
    /// Number of bytes at the start of `rest` that are handled.
    handled: usize,
    /// Length of the large frame that `rest` is the start of, or 0 if there is none.
    large: usize,
    /// True if `rest` may start with whole frames.
    has_frames: bool,
}

/// Splits received bytes into frames.
#[derive(Debug)]
pub(crate) struct Frames<'a> {
    bytes: &'a [u8],
    dimension: Dimension,
    frame_max: u32,
}

impl<'a> Frames<'a> {
    pub(crate) const fn new(bytes: &'a [u8], dimension: Dimension, frame_max: u32) -> Self {
        Self { bytes, dimension, frame_max }
    }

    /// Returns the next whole frame, or `None` if the remaining bytes do not complete one.
    ///
    /// # Errors
    /// Returns an error if the bytes are not frames; nothing after them can be decoded.
    pub(crate) fn next(&mut self) -> Result<Option<Frame<'a>>, FrameError> {
        let Some(header) = Header::parse(self.bytes, self.frame_max)? else { return Ok(None) };
        let Some((frame, rest)) = self.bytes.split_at_checked(header.frame_len()) else { return Ok(None) };
        self.bytes = rest;
        Frame::parse(header, Raw::Borrowed(frame), self.dimension).map(Some)
    }

    /// Changes the largest accepted frame. A connection may carry larger frames after its HELLO.
    pub(crate) const fn set_frame_max(&mut self, frame_max: u32) {
        self.frame_max = frame_max;
    }

    /// Returns the remaining bytes.
    pub(crate) const fn rest(&self) -> &'a [u8] {
        self.bytes
    }
}

impl Inbox {
    /// Returns true while a large frame is being received.
    pub(crate) const fn is_large(&self) -> bool {
        self.large > 0
    }

    /// Returns the memory that it takes, in bytes.
    pub(crate) const fn size(&self) -> usize {
        self.rest.capacity()
    }

    /// Takes the kept bytes if they may start with whole frames, and returns the number of bytes at their start that
    /// are handled.
    pub(crate) fn take_frames(&mut self) -> Option<(Vec<u8>, usize)> {
        let has_frames = std::mem::take(&mut self.has_frames);
        has_frames.then(|| (std::mem::take(&mut self.rest), std::mem::take(&mut self.handled)))
    }

    /// Puts back what [`Self::take_frames`] has returned. More bytes at the start are handled now; the others may still
    /// start with whole frames.
    pub(crate) fn put_frames(&mut self, bytes: Vec<u8>, handled: usize) {
        assert!(self.rest.is_empty(), "what was kept was taken before");
        (self.rest, self.handled, self.has_frames) = (bytes, handled, true);
    }

    /// Takes the kept start of a frame, which precedes the next read.
    pub(crate) fn take_rest(&mut self) -> Vec<u8> {
        assert!(self.large == 0 && !self.has_frames, "a large frame is filled in its place, and frames come first");
        std::mem::take(&mut self.rest)
    }

    /// Keeps bytes for later: the start of a frame, or frames that are not handled yet.
    pub(crate) fn keep(&mut self, rest: &[u8], frame_max: u32, has_frames: bool) {
        assert!(self.rest.is_empty(), "what was kept was taken before");
        self.rest = rest.to_vec();
        self.has_frames = has_frames;
        if !has_frames && let Ok(Some(header)) = Header::parse(rest, frame_max) {
            self.large = if header.frame_len() >= OWN_BUFFER_MIN { header.frame_len() } else { 0 };
        }
    }

    /// Takes the buffer of a large frame, to read into it.
    pub(crate) fn take_large_buffer(&mut self) -> Vec<u8> {
        assert!(self.large > 0, "only a large frame has a buffer of its own");
        std::mem::take(&mut self.rest)
    }

    /// Returns how many bytes the next read may add to a large frame of which `length` bytes have arrived.
    pub(crate) fn large_growth(&self, length: usize) -> usize {
        (self.large - length).min(length.max(GROWTH_MIN))
    }

    /// Puts the buffer of a large frame back, or returns the frame if it is complete.
    ///
    /// # Errors
    /// Returns an error if the route section is malformed.
    pub(crate) fn put_large_buffer(
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
