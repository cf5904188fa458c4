//! Tells the load generator which commit and which compiler it was built from, for the reports of `bench`.
//!
//! Without git, or outside of a checkout, the commit is "unknown"; nothing fails for that.

use std::path::Path;
use std::process::Command;

fn main() {
    let commit = first_line("git", &["rev-parse", "--short=10", "HEAD"]);
    // Files that git does not know are no part of the program.
    let is_changed = commit.is_some() && first_line("git", &["status", "--porcelain", "-uno"]).is_some();
    let compiler = std::env::var("RUSTC").unwrap_or_else(|_| "rustc".to_owned());
    let shown = commit.map(|commit| commit + if is_changed { "+" } else { "" });
    tell("DHT_COMMIT", shown);
    tell("DHT_RUSTC", first_line(&compiler, &["--version"]));
    let branch = first_line("git", &["symbolic-ref", "-q", "HEAD"]);
    let refs = ["HEAD".to_owned(), "packed-refs".to_owned()].into_iter().chain(branch);
    for path in refs.filter_map(|name| first_line("git", &["rev-parse", "--git-path", &name])) {
        watch(&path);
    }
    // The sources of the whole command line decide whether files were changed; this package is built anew with them.
    let own = ["build.rs", "Cargo.toml", "src", "../src", "../console/src", "../pictures/src", "../report/src"];
    own.into_iter().chain(["../../client", "../../protocol", "../../Cargo.toml"]).for_each(watch);
}

/// Returns the first line that a program prints; `None` if it fails or prints nothing.
fn first_line(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).output().ok().filter(|output| output.status.success())?;
    let text = String::from_utf8(output.stdout).ok()?;
    text.lines().next().map(str::to_owned).filter(|line| !line.is_empty())
}

fn tell(name: &str, value: Option<String>) {
    println!("cargo:rustc-env={name}={}", value.as_deref().unwrap_or("unknown"));
}

/// Rebuilds when a path changes. One that does not exist is left out: cargo would rebuild each time.
fn watch(path: &str) {
    if Path::new(path).exists() {
        println!("cargo:rerun-if-changed={path}");
    }
}
