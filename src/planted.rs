//! Bugs that are planted in this program on purpose, to show that a test finds each of them.
//!
//! `scripts/planted_bugs.sh` builds with `--cfg planted_bugs`, names one bug in the environment variable `PLANTED_BUG`,
//! and runs the tests that must find it. The compiler checks the wrong code in every build, but a build without that
//! cfg contains nothing of it. CONTRIBUTING.md says when to plant a bug, and how.

/// Evaluates the correct expression, or the wrong one while the bug of that name is planted.
#[cfg(not(planted_bugs))]
macro_rules! planted {
    ($name:literal, $correct:expr, $wrong:expr) => {
        if false { $wrong } else { $correct }
    };
}

/// Evaluates the correct expression, or the wrong one while the bug of that name is planted.
#[cfg(planted_bugs)]
macro_rules! planted {
    ($name:literal, $correct:expr, $wrong:expr) => {
        if $crate::planted::is_planted($name) { $wrong } else { $correct }
    };
}

/// Returns true when the environment names this bug.
#[cfg(planted_bugs)]
pub(crate) fn is_planted(name: &str) -> bool {
    use std::sync::LazyLock;

    static PLANTED: LazyLock<String> = LazyLock::new(|| std::env::var("PLANTED_BUG").unwrap_or_default());
    *PLANTED == name
}
