//! Limits the heap memory of a target: no memory may be allocated for a length in the input whose bytes are missing.
//!
//! This is the only `unsafe` code of the project. There is no other way to observe allocations, and it is not part of
//! any released program.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

#[global_allocator]
static HEAP: Heap = Heap;

static NOW: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

/// The memory that any run may use, for several nodes and a simulated disk with its history. An allocation for a length
/// of four random bytes almost always exceeds it.
const FREE: usize = 16 << 20;

/// The additional memory per byte of input. An entry of one byte takes about a hundred bytes in memory, in a vector
/// that may just have doubled its capacity.
const PER_BYTE: usize = 512;

/// Runs a target, which returns the length of its input, and checks that it uses at most `more` bytes in addition to
/// the limit for that length.
pub fn bounded(more: usize, run: impl FnOnce() -> usize) {
    let before = NOW.load(Relaxed);
    PEAK.store(before, Relaxed);
    let given = run();
    let taken = PEAK.load(Relaxed).saturating_sub(before);
    assert!(taken <= FREE + more + PER_BYTE * given, "{taken} bytes of memory for {given} bytes of input");
}

struct Heap;

// SAFETY: all calls are passed on unchanged to the system's allocator; only the sizes are counted.
unsafe impl GlobalAlloc for Heap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        NOW.fetch_sub(layout.size(), Relaxed);
        unsafe { System.dealloc(pointer, layout) }
    }
}

fn count(size: usize) {
    let now = NOW.fetch_add(size, Relaxed) + size;
    PEAK.fetch_max(now, Relaxed);
}
