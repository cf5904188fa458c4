//! The programs that tests start, and the ports that they listen on.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU16, Ordering};

/// Returns the path of the program of another package, in the same folder as `own`, the program of the tested one. It
/// is built if it is missing, as when only the tested package was built.
pub(crate) fn program(package: &str, own: &str) -> PathBuf {
    let program = Path::new(own).with_file_name(package);
    if !program.exists() {
        let mut build = Command::new(env!("CARGO"));
        build.args(["build", "--quiet", "-p", package, "--bin", package, "--target-dir"]);
        build.arg(program.parent().and_then(Path::parent).unwrap());
        assert!(build.status().unwrap().success());
    }
    program
}

/// Returns the first of `count` consecutive free ports. They are below the system's ephemeral ports, because one of
/// those could be taken by a connection before its node listens.
pub(crate) fn free_ports(count: u16) -> u16 {
    static CALLS: AtomicU16 = AtomicU16::new(0);
    loop {
        let call = CALLS.fetch_add(1, Ordering::SeqCst) + u16::try_from(std::process::id() % 250).unwrap() * 8;
        let base = 12_000 + call * 8;
        if (base..base + count).all(|port| TcpListener::bind(("127.0.0.1", port)).is_ok()) {
            return base;
        }
    }
}
