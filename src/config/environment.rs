//! The daemon's options as environment variables: `DHT_NODE_BASE_PORT=6000` is `--base-port 6000`.
//!
//! The command line takes precedence over the environment, and the environment over the defaults.

use std::fmt;

/// What the names of all variables begin with.
const PREFIX: &str = "DHT_NODE_";

/// The options that a variable can set.
const OPTIONS: &[(&str, Kind)] = &[
    ("--id", Kind::Value),
    ("--dimension", Kind::Value),
    ("--base-port", Kind::Value),
    ("--peers", Kind::Value),
    ("--listen", Kind::Value),
    ("--advertise", Kind::Value),
    ("--insecure-network", Kind::Switch),
    ("--cluster", Kind::Value),
    ("--data", Kind::Value),
    ("--sync", Kind::Value),
    ("--in-memory", Kind::Switch),
    ("--replicas", Kind::Value),
    ("--memory", Kind::Value),
    ("--disk", Kind::Value),
    ("--retain-bytes", Kind::Value),
    ("--retain-records", Kind::Value),
    ("--retain-age", Kind::Value),
    ("--clients-per-source", Kind::Value),
    ("--subscriptions-per-source", Kind::Value),
    ("--creates-per-second", Kind::Value),
    ("--creates-burst", Kind::Value),
];

/// Options that exclude each other: one that is on the command line overrides the others in the environment, too.
const RIVALS: &[[&str; 2]] =
    &[["--base-port", "--peers"], ["--in-memory", "--data"], ["--in-memory", "--sync"], ["--in-memory", "--disk"]];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// An option with a value.
    Value,
    /// An option without one: set by `1` or `true`, not set by `0` or `false`.
    Switch,
}

/// A command line with what the environment adds to it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Words {
    /// All words, those of the command line first.
    pub words: Vec<String>,
    /// The variables that added to them.
    pub used: Vec<String>,
    /// Variables with the prefix of this program that set no option. Their values may be secrets of something else.
    pub unknown: Vec<String>,
}

/// Why the environment cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EnvironmentError {
    /// A switch with another value than those that it can have.
    Switch {
        /// The name of the environment variable.
        variable: String,
        /// Its value.
        value: String,
    },
    /// A name that is nearly that of an option. Starting without that option could do harm.
    Misspelt {
        /// The name of the environment variable.
        variable: String,
        /// What was probably meant.
        meant: String,
    },
}

impl fmt::Display for EnvironmentError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Switch { variable, value } => {
                write!(f, "{variable}={value}: write 1 to set this switch, or 0 to leave it out")
            }
            Self::Misspelt { variable, meant } => {
                write!(f, "the environment variable {variable} sets no option; did you mean {meant}?")
            }
        }
    }
}

impl std::error::Error for EnvironmentError {}

impl Words {
    /// Adds to the words of a command line the options of the environment that are not among them. An empty variable
    /// counts as none.
    ///
    /// # Errors
    /// Returns [`EnvironmentError`] for a switch that is neither set nor left out, and for a misspelt name.
    pub fn new(
        words: &[&str],
        environment: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, EnvironmentError> {
        let given = given(words);
        let mut all = Self { words: words.iter().map(|word| (*word).to_owned()).collect(), ..Self::default() };
        for (variable, value) in environment {
            let Some(name) = variable.strip_prefix(PREFIX).filter(|_| !value.is_empty()) else { continue };
            let Some((option, kind)) = OPTIONS.iter().find(|(option, _)| variable_of(option) == variable) else {
                if let Some(meant) = misspelt(name) {
                    return Err(EnvironmentError::Misspelt { variable, meant });
                }
                all.unknown.push(variable);
                continue;
            };
            if !is_overridden(option, &given) {
                all.add(option, *kind, variable, value)?;
            }
        }
        Ok(all)
    }

    fn add(&mut self, option: &str, kind: Kind, variable: String, value: String) -> Result<(), EnvironmentError> {
        let option = option.to_owned();
        match (kind, value.as_str()) {
            (Kind::Value, _) => self.words.extend([option, value]),
            (Kind::Switch, "1" | "true") => self.words.push(option),
            (Kind::Switch, "0" | "false") => return Ok(()),
            (Kind::Switch, _) => return Err(EnvironmentError::Switch { variable, value }),
        }
        self.used.push(variable);
        Ok(())
    }
}

/// Returns the variable of an option.
fn variable_of(option: &str) -> String {
    format!("{PREFIX}{}", option.trim_start_matches('-').replace('-', "_").to_uppercase())
}

/// Returns the options among the words, without words that are their values.
fn given<'w>(words: &[&'w str]) -> Vec<&'w str> {
    let mut words = words.iter();
    let mut given = Vec::new();
    while let Some(word) = words.next() {
        given.push(*word);
        if OPTIONS.contains(&(*word, Kind::Value)) {
            words.next();
        }
    }
    given
}

fn is_overridden(option: &str, given: &[&str]) -> bool {
    let is_rival = |pair: &&[&str; 2]| pair.contains(&option) && pair.iter().any(|rival| given.contains(rival));
    given.contains(&option) || RIVALS.iter().find(is_rival).is_some()
}

/// Returns the variable whose name differs from this one by at most a third of its letters.
fn misspelt(name: &str) -> Option<String> {
    let variables = OPTIONS.iter().map(|(option, _)| variable_of(option));
    let distance = |variable: &String| strsim::damerau_levenshtein(name, &variable[PREFIX.len()..]);
    let nearest = variables.min_by_key(distance)?;
    (distance(&nearest) <= (name.len() / 3).min(2)).then_some(nearest)
}

#[cfg(test)]
mod tests {
    use argh::FromArgs;

    use super::*;
    use crate::config::Arguments;

    fn with(words: &[&str], environment: &[(&str, &str)]) -> Result<Words, EnvironmentError> {
        Words::new(words, environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())))
    }

    #[test]
    fn every_option_of_the_help_has_a_variable() {
        let help = Arguments::from_args(&["dht-node"], &["--help"]).unwrap_err().output;
        let options: Vec<&str> =
            help.split_whitespace().filter(|word| word.starts_with("--") && word.len() > 2).collect();
        for option in ["--help", "--version", "--print-config"] {
            assert!(options.contains(&option), "{option}");
        }
        for option in options.iter().map(|option| option.trim_end_matches([',', '.', ';', ')', ']', ':'])) {
            let is_action = matches!(option, "--help" | "--version" | "--print-config");
            assert!(is_action || OPTIONS.iter().any(|(known, _)| *known == option), "{option} has no variable");
        }
        for (option, kind) in OPTIONS {
            assert!(options.contains(option), "{option} is in no help");
            let value: &[&str] = if *kind == Kind::Value { &[option, "1"] } else { &[option] };
            let parsed = Arguments::from_args(&["dht-node"], value);
            assert!(parsed.is_ok() || *kind == Kind::Value, "{option} is no switch");
        }
    }

    #[test]
    fn the_command_line_takes_precedence_over_the_environment() {
        let environment = [
            ("DHT_NODE_ID", "011"),
            ("DHT_NODE_PEERS", "/etc/peers"),
            ("DHT_NODE_IN_MEMORY", "1"),
            ("DHT_NODE_INSECURE_NETWORK", "0"),
            ("DHT_NODE_CLUSTER", ""),
            ("PATH", "/bin"),
        ];
        let cases: [(&[&str], &str); 6] = [
            (&[], "--id 011 --peers /etc/peers --in-memory"),
            (&["--id", "101"], "--id 101 --peers /etc/peers --in-memory"),
            (&["--base-port", "6000"], "--base-port 6000 --id 011 --in-memory"),
            (&["--sync", "always"], "--sync always --id 011 --peers /etc/peers"),
            (&["--data", "/x"], "--data /x --id 011 --peers /etc/peers"),
            (&["--cluster", "--id"], "--cluster --id --id 011 --peers /etc/peers --in-memory"),
        ];
        for (words, expected) in cases {
            assert_eq!(with(words, &environment).unwrap().words.join(" "), expected, "{words:?}");
        }
        let words = with(&["--id", "101"], &environment).unwrap();
        assert_eq!((words.used, words.unknown.len()), (vec!["DHT_NODE_PEERS".into(), "DHT_NODE_IN_MEMORY".into()], 0));
        let words = with(&["--in-memory"], &[("DHT_NODE_DATA", "/x"), ("DHT_NODE_DISK", "1GiB")]).unwrap();
        assert_eq!(words.words, ["--in-memory"]);
    }

    #[test]
    fn switches_are_set_or_not() {
        for (value, expected) in [("1", 1), ("true", 1), ("0", 0), ("false", 0), ("", 0)] {
            assert_eq!(with(&[], &[("DHT_NODE_IN_MEMORY", value)]).unwrap().words.len(), expected, "{value}");
        }
        let error = with(&[], &[("DHT_NODE_IN_MEMORY", "maybe")]).unwrap_err();
        assert_eq!(error.to_string(), "DHT_NODE_IN_MEMORY=maybe: write 1 to set this switch, or 0 to leave it out");
    }

    #[test]
    fn a_misspelt_variable_is_refused_and_an_unknown_one_is_told() {
        for (name, meant) in [("MEMROY", "MEMORY"), ("BASEPORT", "BASE_PORT"), ("PEER", "PEERS"), ("DTAA", "DATA")] {
            let error = with(&[], &[(&format!("DHT_NODE_{name}"), "secret")]).unwrap_err().to_string();
            assert!(error.ends_with(&format!("did you mean DHT_NODE_{meant}?")), "{error}");
            assert!(!error.contains("secret"), "{error}");
        }
        // Among them those that Kubernetes sets for a service with the name dht-node.
        for name in ["PORT", "SERVICE_HOST", "SERVICE_PORT", "PORT_5000_TCP_ADDR", "VERSION", "FOO", "X", ""] {
            let words = with(&[], &[(&format!("DHT_NODE_{name}"), "tcp://10.0.0.1:80")]).unwrap();
            assert_eq!((words.words.len(), words.unknown), (0, vec![format!("DHT_NODE_{name}")]));
        }
    }
}
