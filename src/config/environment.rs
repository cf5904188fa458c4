//! Options of the daemon as variables of its environment: `DHT_NODE_BASE_PORT=6000` is `--base-port 6000`.

use std::fmt;

/// The options that a variable may set; switches are set by 1 and left out by 0.
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
    ("--memory", Kind::Value),
    ("--disk", Kind::Value),
    ("--retain-bytes", Kind::Value),
    ("--retain-records", Kind::Value),
    ("--retain-age", Kind::Value),
];

/// Options that exclude each other: whichever is on the command line, the others of the environment do not count.
const RIVALS: &[&[&str]] =
    &[&["--base-port", "--peers"], &["--in-memory", "--data"], &["--in-memory", "--sync"], &["--in-memory", "--disk"]];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Value,
    Switch,
}

/// A variable whose value its switch cannot have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SwitchError {
    variable: String,
    value: String,
}

impl fmt::Display for SwitchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}: a switch is set with 1 and left out with 0", self.variable, self.value)
    }
}

/// The variable of an option.
fn variable(option: &str) -> String {
    format!("DHT_NODE_{}", option.trim_start_matches('-').replace('-', "_").to_uppercase())
}

/// Adds to the words of a command line what the environment says and they do not. `value` gives a variable's value;
/// an empty one counts as none.
///
/// # Errors
/// [`SwitchError`]
pub fn with_environment(words: &[&str], value: impl Fn(&str) -> Option<String>) -> Result<Vec<String>, SwitchError> {
    let mut all: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
    for (option, kind) in OPTIONS {
        let name = variable(option);
        let Some(value) = value(&name).filter(|value| !value.is_empty()) else { continue };
        let rivals = RIVALS.iter().filter(|rivals| rivals.contains(option)).copied().flatten();
        if words.contains(option) || rivals.into_iter().any(|rival| words.contains(rival)) {
            continue;
        }
        match (kind, value.as_str()) {
            (Kind::Value, _) => all.extend([(*option).to_owned(), value]),
            (Kind::Switch, "1" | "true") => all.push((*option).to_owned()),
            (Kind::Switch, "0" | "false") => {}
            (Kind::Switch, _) => return Err(SwitchError { variable: name, value }),
        }
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use argh::FromArgs;

    use super::*;
    use crate::config::Arguments;

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
        for (option, _) in OPTIONS {
            assert!(options.contains(option), "{option} is in no help");
        }
    }

    #[test]
    fn the_command_line_says_more_than_the_environment() {
        let environment = [
            ("DHT_NODE_ID", "011"),
            ("DHT_NODE_PEERS", "/etc/peers"),
            ("DHT_NODE_IN_MEMORY", "1"),
            ("DHT_NODE_INSECURE_NETWORK", "0"),
            ("DHT_NODE_CLUSTER", ""),
            ("DHT_NODE_PORT", "tcp://10.0.0.1:80"),
        ];
        let value = |name: &str| environment.iter().find(|(it, _)| *it == name).map(|(_, value)| (*value).to_owned());
        let cases: [(&[&str], &str); 4] = [
            (&[], "--id 011 --peers /etc/peers --in-memory"),
            (&["--id", "101"], "--id 101 --peers /etc/peers --in-memory"),
            (&["--base-port", "6000"], "--base-port 6000 --id 011 --in-memory"),
            (&["--sync", "always"], "--sync always --id 011 --peers /etc/peers"),
        ];
        for (words, expected) in cases {
            assert_eq!(with_environment(words, value).unwrap().join(" "), expected, "{words:?}");
        }
        let error = with_environment(&[], |name| (name == "DHT_NODE_IN_MEMORY").then(|| "maybe".to_owned()));
        assert_eq!(
            error.unwrap_err().to_string(),
            "DHT_NODE_IN_MEMORY=maybe: a switch is set with 1 and left out with 0"
        );
    }
}
