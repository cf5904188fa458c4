//! The log of a bare server.

use std::collections::VecDeque;

/// The payloads of the latest requests, one after the other.
#[derive(Debug, Default)]
pub(crate) struct Log {
    chunks: VecDeque<Vec<u8>>,
    records: u64,
}

impl Log {
    const CHUNK_BYTES: usize = 256 << 10;
    /// The daemon's default retention of a topic in memory: 64 MiB.
    const CHUNKS: usize = 256;

    /// The number of the next payload.
    pub(crate) const fn next(&self) -> u64 {
        self.records
    }

    /// Appends a payload, and returns its number, from 0.
    pub(crate) fn append(&mut self, payload: &[u8]) -> u64 {
        let has_room = self.chunks.back().is_some_and(|last| last.len() + payload.len() <= Self::CHUNK_BYTES);
        if !has_room {
            let oldest = if self.chunks.len() == Self::CHUNKS { self.chunks.pop_front() } else { None };
            let mut chunk = oldest.unwrap_or_else(|| Vec::with_capacity(Self::CHUNK_BYTES));
            chunk.clear();
            self.chunks.push_back(chunk);
        }
        if let Some(last) = self.chunks.back_mut() {
            last.extend_from_slice(payload);
        }
        self.records += 1;
        self.records - 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_log_reuses_its_oldest_chunk() {
        let mut log = Log::default();
        let half = vec![1; Log::CHUNK_BYTES / 2];
        for record in 0..4 * Log::CHUNKS as u64 {
            assert_eq!(log.append(&half), record);
        }
        assert_eq!(log.chunks.len(), Log::CHUNKS);
        assert!(log.chunks.iter().all(|chunk| chunk.len() == Log::CHUNK_BYTES));
    }
}
