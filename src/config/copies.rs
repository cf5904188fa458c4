//! How many nodes keep each topic, decided from the command line, the data folder and the default.

use std::str::FromStr;

use super::{Config, ConfigError};
use crate::storage::{Options, Sync};
use crate::types::{Copies, Dimension};

/// The number of copies for a new folder when the command line gives none. It is 1 where the cube cannot have as many.
const DEFAULT: Copies = Copies::One;

/// The dimension of the smallest cube in which three nodes can keep each topic.
const DIMENSION_LEAST: u8 = 2;

/// The value of `--replicas`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Replicas(pub Copies);

impl FromStr for Replicas {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let copies = text.parse().ok().and_then(Copies::new);
        copies.map(Self).ok_or_else(|| "write 1 or 3; with 2, the loss of either node would stop the topic".to_owned())
    }
}

impl Config {
    /// Returns how many nodes keep each topic. `kept` is the number in the data folder of this node; `None` if the
    /// folder is empty or the node has none.
    ///
    /// # Errors
    /// Returns [`ConfigError`] if the number cannot be used with the other options, or if the command line gives 1 and
    /// the folder has 3: the other nodes would rely on copies that nobody keeps.
    pub fn copies(&self, kept: Option<Copies>) -> Result<Copies, ConfigError> {
        if let (Some(Copies::One), Some(Copies::Three)) = (self.replicas, kept) {
            return Err(ConfigError::FewerCopies);
        }
        let possible = check(Copies::Three, self.dimension, self.storage.as_ref()).map_or(Copies::One, |()| DEFAULT);
        let copies = self.replicas.or(kept).unwrap_or(possible);
        check(copies, self.dimension, self.storage.as_ref()).map(|()| copies)
    }
}

/// Returns an error if the cube has too few nodes for this number of copies, or if the other options would make an
/// acknowledgement by several nodes worthless: three copies need an fsync before each acknowledgement.
pub(super) fn check(copies: Copies, dimension: Dimension, storage: Option<&Options>) -> Result<(), ConfigError> {
    if copies == Copies::One {
        return Ok(());
    }
    if dimension.bits() < DIMENSION_LEAST {
        return Err(ConfigError::TooFewNodes(dimension));
    }
    match storage {
        Some(Options { sync: Sync::Always, .. }) => Ok(()),
        Some(Options { sync: Sync::Interval(_), .. }) | None => Err(ConfigError::NotSynced),
    }
}

#[cfg(test)]
mod tests {
    use argh::FromArgs;

    use super::*;
    use crate::config::Arguments;

    /// Options, the number in the data folder, and the expected number or a part of the expected error.
    type Case = (&'static [&'static str], Option<Copies>, Result<Copies, &'static str>);

    fn config(words: &[&str]) -> Result<Config, String> {
        let cube: &[&str] = if words.contains(&"--dimension") { &[] } else { &["--id", "00", "--dimension", "2"] };
        let arguments = Arguments::from_args(&["dht-node"], &[cube, words].concat()).map_err(|exit| exit.output)?;
        Config::new(&arguments).map_err(|error| error.to_string())
    }

    #[test]
    fn three_copies_need_four_nodes_and_an_fsync_before_each_acknowledgement() {
        let cases: [(&[&str], &str); 5] = [
            (&["--replicas", "2"], "write 1 or 3"),
            (&["--replicas", "none"], "write 1 or 3"),
            (&["--replicas", "3", "--dimension", "1", "--id", "0"], "--dimension 2"),
            (&["--replicas", "3", "--in-memory"], "--sync always"),
            (&["--replicas", "3", "--sync", "interval=1s"], "--sync always"),
        ];
        for (words, expected) in cases {
            let error = config(words).unwrap_err();
            assert!(error.contains(expected), "{words:?}: {error}");
        }
    }

    #[test]
    fn a_folder_keeps_its_number_of_copies() {
        let (one, three) = (Some(Copies::One), Some(Copies::Three));
        let cases: [Case; 9] = [
            (&[], None, Ok(DEFAULT)),
            (&["--in-memory"], None, Ok(Copies::One)),
            (&[], one, Ok(Copies::One)),
            (&[], three, Ok(Copies::Three)),
            (&["--replicas", "3"], None, Ok(Copies::Three)),
            (&["--replicas", "3"], three, Ok(Copies::Three)),
            (&["--replicas", "3"], one, Ok(Copies::Three)),
            (&["--replicas", "1"], three, Err("--replicas 1: this data folder")),
            (&["--sync", "interval=1s"], three, Err("--sync always")),
        ];
        for (words, kept, expected) in cases {
            match (config(words).unwrap().copies(kept), expected) {
                (Ok(copies), Ok(expected)) => assert_eq!(copies, expected, "{words:?}"),
                (Err(error), Err(expected)) => assert!(error.to_string().contains(expected), "{words:?}: {error}"),
                (result, expected) => panic!("{words:?}: {result:?}, not {expected:?}"),
            }
        }
    }
}
