//! Converts a command line into the only form that argh accepts, so that users may write it in the usual ways.
//!
//! | written | for argh |
//! |---|---|
//! | `publish t hello -s h:1` | `-s h:1` before the command, because it is an option of the program |
//! | `--server=h:1`, `-n5`, `-qv` | `--server h:1`, `-n 5`, `-q -v` |
//! | `pub`, `ls` … | `publish`, `list` … |
//! | `publish t -` | `publish -- t -` |
//! | `--help publish`, `publish -h t`, `help publish` | `publish --help` |
//! | `ping -c 1`, `stats -w 1s` | `ping --count 1`, `stats --interval 1s`: option letters of earlier versions |
//!
//! It asks argh for the options that exist, so there is no second table of them.

use argh::{ArgsInfo, CommandInfoWithArgs, FlagInfo, FlagInfoKind, SubCommandInfo};
use dht_console::errors::Failure;
use dht_console::text;

use crate::args::Top;

/// Aliases of commands; argh supports only one letter for that.
pub(crate) const ALIASES: [(&str, &str); 7] = [
    ("pub", "publish"),
    ("sub", "subscribe"),
    ("get", "fetch"),
    ("ls", "list"),
    ("rm", "delete"),
    ("del", "delete"),
    ("topo", "cluster"),
];

/// Options as earlier versions spelled them: command, old spelling, new spelling. A letter should mean the same in all
/// commands.
const EARLIER: [(&str, &str, &str); 3] =
    [("ping", "-c", "--count"), ("stats", "-w", "--interval"), ("stats", "--watch", "--interval")];

/// Converts the words after the program's name into argh's form.
///
/// # Errors
/// Returns [`Failure::Usage`] for an unknown option or command.
pub(crate) fn normalise(words: &[String]) -> Result<Vec<String>, Failure> {
    let top = Top::get_args_info();
    let mut line = Line {
        top: &top,
        path: Vec::new(),
        verb: None,
        global: Vec::new(),
        local: Vec::new(),
        positional: Vec::new(),
        help: false,
    };
    let mut words = words.iter();
    while let Some(word) = words.next() {
        if word == "--" {
            // Before the command, `--` ends the options of the program; after it, those of the command.
            let ended = if line.needs_verb() { 1 } else { usize::MAX };
            words.by_ref().take(ended).try_for_each(|word| line.word(word))?;
        } else if let Some(long) = word.strip_prefix("--") {
            line.long(long, &mut words)?;
        } else if word.len() > 1 && word.starts_with('-') {
            line.cluster(&word[1..], &mut words)?;
        } else {
            line.word(word)?;
        }
    }
    Ok(line.finish())
}

/// Returns the command in words of argh's form, including its subcommand if it has any: `bench run`.
pub(crate) fn verb(words: &[&str]) -> Option<String> {
    let top = Top::get_args_info();
    let find = |commands: &[SubCommandInfo], word: &str| commands.iter().position(|command| command.name == word);
    let at = words.iter().position(|word| find(&top.commands, word).is_some())?;
    let verb = &top.commands[find(&top.commands, words[at])?];
    let next = words.get(at + 1).filter(|word| find(&verb.command.commands, word).is_some());
    Some(next.map_or_else(|| verb.name.to_owned(), |next| format!("{} {next}", verb.name)))
}

struct Line<'i> {
    top: &'i CommandInfoWithArgs,
    /// The command and its subcommand.
    path: Vec<&'i str>,
    /// The last of them.
    verb: Option<&'i CommandInfoWithArgs>,
    global: Vec<String>,
    local: Vec<String>,
    positional: Vec<String>,
    help: bool,
}

type Words<'w> = std::slice::Iter<'w, String>;

impl<'i> Line<'i> {
    /// Converts the option `--name` or `--name=value`; `text` is that without the dashes.
    fn long(&mut self, text: &str, words: &mut Words<'_>) -> Result<(), Failure> {
        let (name, value) = match text.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (text, None),
        };
        let dashed = self.today(format!("--{name}"));
        if dashed == "--help" {
            self.help = true;
            return Ok(());
        }
        let (flag, is_local) = self.find(|flag| flag.long == dashed).ok_or_else(|| self.unknown(&dashed))?;
        match (&flag.kind, value) {
            (FlagInfoKind::Switch, Some(_)) => Err(Failure::usage(format!("{dashed} takes no value"))),
            (FlagInfoKind::Switch, None) => {
                self.add(flag, None, is_local);
                Ok(())
            }
            (FlagInfoKind::Option { .. }, value) => self.add_with_value(flag, &dashed, value, is_local, words),
        }
    }

    /// Converts `-abc`, given without the dash: switches, of which the last may be an option with its value.
    fn cluster(&mut self, letters: &str, words: &mut Words<'_>) -> Result<(), Failure> {
        for (at, letter) in letters.char_indices() {
            if letter == 'h' && self.find(|flag| flag.short == Some('h')).is_none_or(|(flag, _)| flag.long == "--help")
            {
                self.help = true;
                continue;
            }
            let dashed = format!("-{letter}");
            let today = self.today(dashed.clone());
            let is_it = |flag: &FlagInfo<'_>| flag.short == Some(letter) && today == dashed || flag.long == today;
            let (flag, is_local) = self.find(is_it).ok_or_else(|| self.unknown(&dashed))?;
            if let FlagInfoKind::Option { .. } = flag.kind {
                let rest = &letters[at + letter.len_utf8()..];
                let value = (!rest.is_empty()).then_some(rest);
                return self.add_with_value(flag, &dashed, value, is_local, words);
            }
            self.add(flag, None, is_local);
        }
        Ok(())
    }

    /// Converts the command, its subcommand, or an argument after them.
    fn word(&mut self, word: &str) -> Result<(), Failure> {
        if !self.needs_verb() {
            self.positional.push(word.to_owned());
            return Ok(());
        }
        if word == "help" && self.verb.is_none() {
            self.help = true;
            return Ok(());
        }
        let alias = ALIASES.iter().find(|(alias, _)| *alias == word && self.verb.is_none());
        let name = alias.map_or(word, |(_, name)| name);
        let found = self.verb.unwrap_or(self.top).commands.iter().find(|command| command.name == name);
        let command = found.ok_or_else(|| self.unknown_command(word))?;
        self.path.push(command.name);
        self.verb = Some(&command.command);
        Ok(())
    }

    /// Returns true if a command or a subcommand must follow.
    const fn needs_verb(&self) -> bool {
        match self.verb {
            None => true,
            Some(verb) => !verb.commands.is_empty(),
        }
    }

    /// Returns the current spelling of an option.
    fn today(&self, dashed: String) -> String {
        let is_it = |(verb, then, _): &&(&str, &str, &str)| self.path.first() == Some(verb) && *then == dashed;
        EARLIER.iter().find(is_it).map_or(dashed, |(_, _, now)| (*now).to_owned())
    }

    fn finish(self) -> Vec<String> {
        let path = self.path.into_iter().map(str::to_owned);
        if self.help {
            return path.chain(["--help".to_owned()]).collect();
        }
        let mut words = self.global;
        words.extend(path);
        words.extend(self.local);
        if !self.positional.is_empty() {
            words.push("--".to_owned());
            words.extend(self.positional);
        }
        words
    }

    /// Finds an option of the command, or else of the program, and returns whether it is one of the command.
    fn find(&self, is_it: impl Fn(&FlagInfo<'_>) -> bool) -> Option<(&'i FlagInfo<'i>, bool)> {
        // Before a subcommand, options of any of the command's subcommands may be written; argh gets them after it.
        let words = self.verb.iter().flat_map(|verb| &verb.commands).flat_map(|word| word.command.flags);
        let local = self.verb.iter().flat_map(|verb| verb.flags).chain(words).find(|flag| is_it(flag));
        let global = || self.top.flags.iter().find(|flag| is_it(flag));
        local.map(|flag| (flag, true)).or_else(|| global().map(|flag| (flag, false)))
    }

    fn add(&mut self, flag: &FlagInfo<'_>, value: Option<&str>, is_local: bool) {
        let words = if is_local { &mut self.local } else { &mut self.global };
        words.push(flag.long.to_owned());
        words.extend(value.map(str::to_owned));
    }

    fn add_with_value(
        &mut self,
        flag: &FlagInfo<'_>,
        dashed: &str,
        value: Option<&str>,
        is_local: bool,
        words: &mut Words<'_>,
    ) -> Result<(), Failure> {
        let value = match value {
            Some(value) => value,
            None => words.next().ok_or_else(|| Failure::usage(format!("{dashed} needs a value")))?,
        };
        self.add(flag, Some(value), is_local);
        Ok(())
    }

    fn unknown(&self, dashed: &str) -> Failure {
        let flags = || self.verb.into_iter().flat_map(|verb| verb.flags).chain(self.top.flags);
        let has_it = |command: &CommandInfoWithArgs| {
            command.flags.iter().any(|flag| flag.long == dashed || short(flag).as_deref() == Some(dashed))
        };
        let within = self.path.iter().map(|word| format!("{word} ")).collect::<String>();
        let of_verb = self.verb.unwrap_or(self.top).commands.iter().find(|command| has_it(&command.command));
        let owner = of_verb.map(|command| format!("{within}{}", command.name));
        let advice = match (text::closest(dashed, flags().map(|flag| flag.long)), owner) {
            (Some(similar), _) => format!("did you mean {similar}?"),
            (None, Some(owner)) if self.needs_verb() => {
                format!("{dashed} goes after the command: dht-cli {owner} {dashed}")
            }
            (None, Some(_) | None) => self.see_help(),
        };
        Failure::usage_with(format!("unknown option {dashed}"), advice)
    }

    fn unknown_command(&self, word: &str) -> Failure {
        let names = self.verb.unwrap_or(self.top).commands.iter().map(|command| command.name);
        let aliases = ALIASES.iter().map(|(alias, _)| *alias).filter(|_| self.verb.is_none());
        let advice = match text::closest(word, names.chain(aliases)) {
            Some(similar) => format!("did you mean {similar:?}?"),
            None => self.see_help(),
        };
        let of = self.path.first().map(|verb| format!("{verb} ")).unwrap_or_default();
        Failure::usage_with(format!("no {of}command {word:?}"), advice)
    }

    fn see_help(&self) -> String {
        let path: String = self.path.iter().map(|word| format!(" {word}")).collect();
        format!("see: dht-cli{path} --help")
    }
}

fn short(flag: &FlagInfo<'_>) -> Option<String> {
    flag.short.map(|letter| format!("-{letter}"))
}

#[cfg(test)]
mod tests {
    use argh::FromArgs;
    use proptest::prelude::*;

    use super::*;

    fn words(line: &str) -> Vec<String> {
        line.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn lines_are_put_into_argh_s_form() {
        let cases = [
            ("publish t hello -s h:1", "--server h:1 publish -- t hello"),
            ("--server=h:1 list", "--server h:1 list"),
            ("list --server=h:1", "--server h:1 list"),
            ("fetch t -n5", "fetch --count 5 -- t"),
            ("fetch -n 5 t -r", "fetch --count 5 --raw -- t"),
            ("fetch --count=5 t", "fetch --count 5 -- t"),
            ("-qv list -l", "--quiet --verbose list --long"),
            ("list -lqs h:1 a", "--quiet --server h:1 list --long -- a"),
            ("pub t -", "publish -- t -"),
            ("publish t -- -x", "publish -- t -x"),
            ("publish help hello", "publish -- help hello"),
            ("publish -H a=b=c t", "publish --header a=b=c -- t"),
            ("--help publish", "publish --help"),
            ("publish t -h", "publish --help"),
            ("help publish", "publish --help"),
            ("help", "--help"),
            ("-h", "--help"),
            ("-q nc -q 5", "--quiet nc --quit-after 5"),
            ("nc -Nx h 1", "nc --shutdown --hex -- h 1"),
            ("rm -y a b", "delete --yes -- a b"),
            ("sub a b -n5 -w 2s -F '%p'", "subscribe --count 5 --wait 2s --format '%p' -- a b"),
            ("-V", "--version"),
            ("fetch --from -1 t", "fetch --from -1 -- t"),
            ("bench run -t publish -r5 -s h:1", "--server h:1 bench run --tests publish --rate 5"),
            ("bench compare a b", "bench compare -- a b"),
            ("bench -k 5 run", "bench run --topics 5"),
            ("bench run -h", "bench run --help"),
            ("help bench sweep", "bench sweep --help"),
            ("bench --help", "bench --help"),
            ("ping -c 1 -n2", "ping --count 1 --count 2"),
            ("stats -w 1s", "stats --interval 1s"),
            ("stats --watch=1s -qi 2s", "--quiet stats --interval 1s --interval 2s"),
        ];
        for (line, expected) in cases {
            assert_eq!(normalise(&words(line)).unwrap().join(" "), expected, "{line}");
        }
    }

    #[test]
    fn what_cannot_be_meant_says_what_may_be() {
        let cases = [
            ("publis t", "no command \"publis\"", "did you mean \"publish\"?"),
            ("fetch t --count", "--count needs a value", ""),
            ("list -s", "-s needs a value", ""),
            ("list --long=yes", "--long takes no value", ""),
            ("fetch --cuont 1 t", "unknown option --cuont", "did you mean --count?"),
            ("fetch -z t", "unknown option -z", "see: dht-cli fetch --help"),
            ("-n 5 fetch t", "unknown option -n", "-n goes after the command: dht-cli fetch -n"),
            ("xyzzy", "no command \"xyzzy\"", "see: dht-cli --help"),
            ("fetch -c 1 t", "unknown option -c", "see: dht-cli fetch --help"),
            ("bench swep", "no bench command \"swep\"", "did you mean \"sweep\"?"),
            ("bench -z run", "unknown option -z", "see: dht-cli bench --help"),
            ("bench compare -k 5", "unknown option -k", "see: dht-cli bench compare --help"),
        ];
        for (line, expected_what, expected_advice) in cases {
            let Failure::Usage { what, advice } = normalise(&words(line)).unwrap_err() else { panic!("{line}") };
            assert_eq!(
                (what.as_str(), advice.unwrap_or_default().as_str()),
                (expected_what, expected_advice),
                "{line}"
            );
        }
    }

    #[test]
    fn a_letter_means_the_same_in_all_commands() {
        // The same letters as in netcat, ls and other load generators.
        let others = [("nc", 'q'), ("list", 'l')];
        let top = Top::get_args_info();
        let mut meanings: std::collections::BTreeMap<char, &str> = std::collections::BTreeMap::new();
        let commands = top.commands.iter().filter(|command| command.name != "bench");
        let flags = commands.flat_map(|command| command.command.flags.iter().map(|flag| (command.name, flag)));
        for (name, flag) in flags.chain(top.flags.iter().map(|flag| ("", flag))) {
            if let Some(letter) = flag.short.filter(|letter| !others.contains(&(name, *letter))) {
                assert_eq!(*meanings.entry(letter).or_insert(flag.long), flag.long, "{name} -{letter}");
            }
        }
    }

    /// Words that combine into many lines that argh accepts, and many more that it does not.
    fn word() -> impl Strategy<Value = String> {
        let words = [
            "-s",
            "--server",
            "-t",
            "--json",
            "--color",
            "-q",
            "-v",
            "-V",
            "--",
            "publish",
            "fetch",
            "list",
            "nc",
            "create",
            "delete",
            "trace",
            "-l",
            "-0",
            "-f",
            "-k",
            "-H",
            "--create",
            "-n",
            "-r",
            "--from",
            "--sort",
            "name",
            "-y",
            "-c",
            "5",
            "a=b",
            "h:1",
            "help",
            "t",
            "x y",
            "",
            "-x",
            "-N",
            "-w",
            "--wait",
            "cluster",
            "--retain-records",
        ];
        proptest::sample::select(words.to_vec()).prop_map(str::to_owned)
    }

    fn read(words: &[String]) -> Result<Top, argh::EarlyExit> {
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        Top::from_args(&["dht-cli"], &words)
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 4000, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn what_argh_takes_means_the_same_afterwards(
            before in prop::collection::vec(word(), 0..4),
            verb in proptest::sample::select(vec!["publish", "subscribe", "fetch", "list", "nc", "create", "ping"]),
            after in prop::collection::vec(word(), 0..6),
        ) {
            let mut line = before;
            line.push(verb.to_owned());
            line.extend(after);
            if let Ok(meant) = read(&line) {
                let normalised = normalise(&line);
                prop_assert!(normalised.is_ok(), "{:?}: {:?}", line, normalised);
                prop_assert_eq!(read(&normalised.unwrap_or_default()).ok(), Some(meant), "{:?}", line);
            }
        }

        #[test]
        fn no_line_makes_it_panic(line in prop::collection::vec("[-=a-z0 \u{e9}]{0,6}", 0..5)) {
            let _ = normalise(&line);
        }
    }
}
