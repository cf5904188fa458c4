//! Ctrl-C as something that a loop looks at.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};

use signal_hook::consts::SIGINT;
use signal_hook::flag;

static PRESSED: AtomicBool = AtomicBool::new(false);

/// From now on the first Ctrl-C is only noted; the second one ends the program at once, whatever it does.
pub(crate) fn listen() -> io::Result<()> {
    // In this order: the first one must not find its own note.
    flag::register_conditional_default(SIGINT, &PRESSED)?;
    flag::register(SIGINT, &PRESSED)?;
    Ok(())
}

/// Was it pressed?
pub(crate) fn is_pressed() -> bool {
    PRESSED.load(Ordering::Relaxed)
}
