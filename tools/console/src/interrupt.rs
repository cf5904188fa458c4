//! Ctrl-C as a flag that loops check.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};

use signal_hook::consts::SIGINT;
use signal_hook::flag;

static PRESSED: AtomicBool = AtomicBool::new(false);

/// Installs the handler: from now on the first Ctrl-C only sets the flag, and the second one ends the program at once.
pub fn listen() -> io::Result<()> {
    // The order matters: otherwise the first Ctrl-C would find the flag that it has just set.
    flag::register_conditional_default(SIGINT, &PRESSED)?;
    flag::register(SIGINT, &PRESSED)?;
    Ok(())
}

/// Returns true once Ctrl-C has been pressed.
pub fn is_pressed() -> bool {
    PRESSED.load(Ordering::Relaxed)
}
