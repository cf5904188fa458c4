//! Watches what a target takes from the heap: lengths in its input must not be believed before their bytes are there.
//!
//! The only `unsafe` of the project: there is no other way to see allocations, and it is in no program that ships.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

#[global_allocator]
static HEAP: Heap = Heap;

static NOW: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

/// What any run may take: several nodes, and a disk that keeps what it once had. A length of four random bytes that is
/// believed is nearly always more.
const FREE: usize = 16 << 20;

/// What it may take for each byte that it was given. An entry of one byte is one of some hundred in memory, in a vector
/// that may just have been doubled.
const PER_BYTE: usize = 512;

/// Runs it, which says how many bytes it was given. It may take so much more.
pub fn bounded(more: usize, run: impl FnOnce() -> usize) {
    let before = NOW.load(Relaxed);
    PEAK.store(before, Relaxed);
    let given = run();
    let taken = PEAK.load(Relaxed).saturating_sub(before);
    assert!(taken <= FREE + more + PER_BYTE * given, "{taken} bytes of memory for {given} bytes of input");
}

struct Heap;

// The system's allocator with a counter beside it: what is asked of it is asked of the system as it is.
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
