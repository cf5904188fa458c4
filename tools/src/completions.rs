//! `completions`: makes a shell complete commands, options, topics and other values.
//!
//! Bash, zsh and fish get a few lines that call this program: `dht-cli completions bash -- WORD…` prints the candidates
//! for the last word, one per line. The shells thus have no knowledge of their own, and the topics come from the
//! cluster. If there is no output, the shell offers files. Nushell gets the commands and options that argh knows.

use std::collections::BTreeSet;
use std::time::Duration;

use argh::{ArgsInfo, CommandInfoWithArgs, FlagInfo, FlagInfoKind, Optionality, SubCommandInfo};
use argh_complete::Generator;
use argh_complete::nushell::Nushell;
use dht_console::errors::{Exit, Failure};
use dht_console::session::{Session, addresses};
use serde_json::json;

use crate::args::{self, Shell, Top};
use crate::normalise::ALIASES;

/// Longest time to wait for the topics of the cluster, because the user has pressed a key and is waiting.
const PATIENCE: Duration = Duration::from_secs(1);

/// Runs the command `completions SHELL [WORD…]`.
pub(crate) fn completions(completions: &args::Completions, session: &mut Session) -> Result<Exit, Failure> {
    if !completions.words.is_empty() {
        for candidate in complete(completions.shell, &completions.words, session) {
            session.out.line(&candidate)?;
        }
        return Ok(Exit::Done);
    }
    let script = script(completions.shell);
    if session.out.is_json() {
        session.out.json(&json!({"script": script}))?;
    } else {
        session.out.bytes(script.as_bytes())?;
    }
    Ok(Exit::Done)
}

/// Returns the candidates for the last word.
fn complete(shell: Shell, words: &[String], session: &mut Session) -> Vec<String> {
    let words = if shell == Shell::Bash { joined(words) } else { words.to_vec() };
    let place = Place::of(&words);
    let candidates = match place.wanted {
        Wanted::Known(candidates) => candidates,
        Wanted::Topics => topics(place.server, place.current, session),
    };
    // Bash replaces only the part after the last `=` or `:`.
    let cut = if shell == Shell::Bash { place.word.rfind(['=', ':']).map_or(0, |at| at + 1) } else { 0 };
    let before = &place.word[..place.word.len() - place.current.len()];
    candidates
        .into_iter()
        .filter(|candidate| candidate.starts_with(place.current))
        .map(|candidate| format!("{before}{candidate}"))
        .filter_map(|candidate| candidate.get(cut..).map(str::to_owned))
        .collect()
}

/// Joins words that bash has split at `=` and `:`.
fn joined(words: &[String]) -> Vec<String> {
    let is_break = |word: &str| !word.is_empty() && word.chars().all(|c| matches!(c, '=' | ':'));
    let mut joined: Vec<String> = Vec::new();
    let mut continues = false;
    for word in words {
        match joined.last_mut() {
            Some(last) if continues || is_break(word) => last.push_str(word),
            Some(_) | None => joined.push(word.clone()),
        }
        continues = is_break(word) && joined.last().is_some_and(|last| last != word);
    }
    joined
}

/// The word to complete and its context.
struct Place<'w> {
    /// The whole last word.
    word: &'w str,
    /// The part to be completed: the text after `--option=`, or the whole word.
    current: &'w str,
    wanted: Wanted,
    /// The value of `-s`.
    server: Option<&'w str>,
}

/// The kind of candidates.
#[derive(Debug, PartialEq, Eq)]
enum Wanted {
    /// One of these.
    Known(Vec<String>),
    /// A topic name.
    Topics,
}

impl<'w> Place<'w> {
    fn of(words: &'w [String]) -> Self {
        let top = Top::get_args_info();
        let (word, before) = words.split_last().map_or(("", words), |(word, before)| (word.as_str(), before));
        let (mut path, mut verb, mut positionals, mut server) = (Vec::new(), &top, 0, None);
        let mut before = before.iter().map(String::as_str);
        let mut wanted = None;
        while let Some(word) = before.next() {
            if word == "--" {
                continue;
            }
            if word.len() > 1 && word.starts_with('-') {
                let Some(flag) = flag_of(word.split('=').next().unwrap_or(word), verb, &top) else { continue };
                if matches!(flag.kind, FlagInfoKind::Switch) {
                    continue;
                }
                let value = word.split_once('=').map(|(_, value)| value).or_else(|| before.next());
                if flag.long == "--server" {
                    server = value;
                }
                if value.is_none() {
                    wanted = Some(values(verb.name, flag.long));
                }
            } else if let Some(next) = command_of(word, verb) {
                path.push(next.name);
                verb = next;
            } else {
                positionals += 1;
            }
        }
        let (current, wanted) = match (wanted, word.split_once('=')) {
            (Some(wanted), _) => (word, wanted),
            (None, Some((option, value))) if option.starts_with("--") => (
                value,
                flag_of(option, verb, &top).map_or(Wanted::Known(Vec::new()), |flag| values(verb.name, flag.long)),
            ),
            (None, _) if word.starts_with('-') => (word, Wanted::Known(options(verb, &top))),
            (None, _) if !verb.commands.is_empty() => (word, Wanted::Known(commands(verb, path.is_empty()))),
            (None, _) => (word, positional(&path, positionals)),
        };
        Self { word, current, wanted, server }
    }
}

fn flag_of(word: &str, verb: &CommandInfoWithArgs, top: &CommandInfoWithArgs) -> Option<&'static FlagInfo<'static>> {
    let last = word.chars().last(); // of several letters after one dash, only the last can take a value
    let is_it = |flag: &&FlagInfo<'_>| {
        if word.starts_with("--") { flag.long == word } else { flag.short.is_some() && flag.short == last }
    };
    flags(verb, top).find(is_it)
}

/// Returns the options of the program and those of a command. A command with subcommands has the options of all its
/// subcommands until one of them is given.
fn flags(verb: &CommandInfoWithArgs, top: &CommandInfoWithArgs) -> impl Iterator<Item = &'static FlagInfo<'static>> {
    let is_top = verb.name == top.name;
    let words = verb.commands.iter().filter(move |_| !is_top).flat_map(|word| word.command.flags);
    verb.flags.iter().chain(words).chain(top.flags)
}

fn command_of<'a>(word: &str, verb: &'a CommandInfoWithArgs) -> Option<&'a CommandInfoWithArgs> {
    let name = ALIASES.iter().find(|(alias, _)| *alias == word).map_or(word, |(_, name)| name);
    verb.commands.iter().find(|command| command.name == name).map(|command| &command.command)
}

fn commands(verb: &CommandInfoWithArgs, is_top: bool) -> Vec<String> {
    let names = verb.commands.iter().map(|command| command.name);
    let aliases = ALIASES.iter().map(|(alias, _)| *alias).filter(|_| is_top);
    names.chain(aliases).map(str::to_owned).collect()
}

fn options(verb: &CommandInfoWithArgs, top: &CommandInfoWithArgs) -> Vec<String> {
    let names: BTreeSet<_> = flags(verb, top).map(|flag| flag.long.to_owned()).collect();
    names.into_iter().collect()
}

/// Returns the values of an option that has only a few. For files and free text there are none.
fn values(verb: &str, option: &str) -> Wanted {
    let values: &[&str] = match option {
        "--to" if verb == "trim" => &[],
        "--sort" => &["name", "node", "records", "bytes"],
        "--color" => &["auto", "always", "never"],
        "--input" => &["text", "json"],
        "--from" => &["earliest", "latest"],
        "--to" => &["latest"],
        "--tests" => &["create", "delete", "publish", "subscribe", "query", "fetch", "ping", "mixed:"],
        "--keys" => &["uniform", "sequential", "zipf:", "hot:"],
        "--entry" => &["one", "all", "random"],
        "--rate" => &["max"],
        _ => &[],
    };
    Wanted::Known(values.iter().map(|value| (*value).to_owned()).collect())
}

/// Returns the candidates for the positional argument after `given` earlier ones.
fn positional(path: &[&str], before: usize) -> Wanted {
    match (path, before) {
        (["delete" | "subscribe" | "export"], _)
        | (["info" | "query" | "trace" | "publish" | "fetch" | "list" | "alter" | "trim"], 0) => Wanted::Topics,
        (["completions"], 0) => Wanted::Known(["bash", "zsh", "fish", "nushell"].map(str::to_owned).to_vec()),
        _ => Wanted::Known(Vec::new()),
    }
}

/// Returns the topics whose names start with the given prefix, or none if the cluster does not answer in time.
fn topics(server: Option<&str>, prefix: &str, session: &mut Session) -> Vec<String> {
    session.settings.timeout = PATIENCE;
    session.settings.verbose = false;
    if let Some(servers) = server.and_then(|server| addresses(server).ok()) {
        session.settings.servers = servers;
    }
    let listing = session.client().ok().and_then(|client| client.list_first(prefix).ok());
    let topics = listing.map(|listing| listing.topics).unwrap_or_default();
    let mut names: Vec<_> = topics.into_iter().map(|(_, topic)| topic.name).collect();
    names.sort();
    names
}

/// Returns the path of this program, for shells that do not find it by the name that was typed.
fn program() -> String {
    let path = std::env::current_exe().map(|path| path.display().to_string());
    format!("'{}'", path.unwrap_or_else(|_| "dht-cli".to_owned()).replace('\'', r"'\''"))
}

fn script(shell: Shell) -> String {
    match shell {
        Shell::Bash => BASH.replace("PROGRAM", &program()),
        Shell::Zsh => ZSH.replace("PROGRAM", &program()),
        Shell::Fish => FISH.to_owned(),
        Shell::Nushell => nushell(),
    }
}

const BASH: &str = r#"_dht-cli() {
    local program=${COMP_WORDS[0]} word
    command -v "$program" >/dev/null || program=PROGRAM
    COMPREPLY=()
    while IFS= read -r word; do
        COMPREPLY+=("$word")
        [[ $word != *: ]] || compopt -o nospace 2>/dev/null
    done < <("$program" completions bash -- "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null)
}
complete -o default -F _dht-cli dht-cli
"#;

const ZSH: &str = r#"#compdef dht-cli
_dht-cli() {
    local program=${words[1]}
    local -a found
    (( $+commands[$program] )) || [[ -x $program ]] || program=PROGRAM
    found=(${(f)"$("$program" completions zsh -- "${(@)words[2,CURRENT]}" 2>/dev/null)"})
    if (( ${#found} )); then compadd -- "${found[@]}"; else _files; fi
}
if [[ ${funcstack[1]} == _dht-cli ]]; then _dht-cli "$@"; else compdef _dht-cli dht-cli; fi
"#;

const FISH: &str = r#"function __dht_cli_complete
    set -l words (commandline -opc) (commandline -ct)
    set -l found ($words[1] completions fish -- $words[2..-1] 2>/dev/null)
    if test (count $found) -gt 0
        printf '%s\n' $found
    else
        __fish_complete_path (commandline -ct)
    end
end
complete -c dht-cli -f -a '(__dht_cli_complete)'
"#;

fn nushell() -> String {
    let mut top = CommandInfoWithArgs { name: "dht-cli", ..Top::get_args_info() };
    let flags: Vec<_> = top.commands.iter().map(|command| all_flags(&command.command, &top)).collect();
    for (command, flags) in top.commands.iter_mut().zip(flags) {
        command.command.flags = flags.leak(); // argh requires static text, and this program ends soon
    }
    for (alias, name) in ALIASES {
        let known = top.commands.iter().find(|command| command.name == name).expect("an alias is of a command");
        let command = CommandInfoWithArgs { name: alias, ..known.command.clone() };
        top.commands.push(SubCommandInfo { name: alias, command });
    }
    Nushell::generate("dht-cli", &top)
}

/// Returns the options of the command and the program. If both have an option of the same name or letter, the command's
/// is used.
fn all_flags(command: &CommandInfoWithArgs, top: &CommandInfoWithArgs) -> Vec<FlagInfo<'static>> {
    let global = top.flags.iter().filter(|flag| command.flags.iter().all(|own| own.long != flag.long));
    let global = global.map(|flag| {
        let is_free = |letter: &char| command.flags.iter().all(|own| own.short != Some(*letter));
        FlagInfo { short: flag.short.filter(is_free), ..copied(flag) }
    });
    command.flags.iter().map(copied).chain(global).collect()
}

/// Copies argh's type, which is not `Clone`. No shell is told which options are required.
fn copied(flag: &FlagInfo<'static>) -> FlagInfo<'static> {
    let kind = match flag.kind {
        FlagInfoKind::Switch => FlagInfoKind::Switch,
        FlagInfoKind::Option { arg_name } => FlagInfoKind::Option { arg_name },
    };
    let FlagInfo { long, short, description, hidden, .. } = *flag;
    FlagInfo { kind, optionality: Optionality::Optional, long, short, description, hidden }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(line: &str) -> (String, Wanted, Option<String>) {
        let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
        let place = Place::of(&words);
        (place.current.to_owned(), place.wanted, place.server.map(str::to_owned))
    }

    #[test]
    fn what_may_stand_somewhere_is_known() {
        // Each case has the words up to the cursor and one expected candidate, or none if the shell should offer files.
        let cases = [
            ("", Some("publish")),
            ("pub", Some("pub")),
            ("-s h:1 ", Some("list")),
            ("bench ", Some("sweep")),
            ("bench s", Some("sweep")),
            ("bench run --keys ", Some("zipf:")),
            ("bench run -t ", Some("subscribe")),
            ("bench run --", Some("--warmup")),
            ("bench compare --", Some("--out")),
            ("bench compare ", None),
            ("list --sort ", Some("records")),
            ("list --sort=r", Some("records")),
            ("ls --", Some("--sort")),
            ("fetch t --", Some("--server")),
            ("--color ", Some("never")),
            ("publish t --input ", Some("json")),
            ("subscribe t --from e", Some("earliest")),
            ("completions ", Some("zsh")),
            ("publish -f ", None),
            ("publish t ", None),
            ("create ", None),
            ("stats -i ", None),
            ("trim t --to ", None),
            ("fetch t --to ", Some("latest")),
            ("fetch -n ", None),
            ("completions bash ", None),
            ("--unknown x ", Some("publish")),
        ];
        for (line, expected) in cases {
            let (_, Wanted::Known(found), _) = place(line) else { panic!("{line}: topics") };
            match expected {
                Some(expected) => assert!(found.iter().any(|found| found == expected), "{line}: {found:?}"),
                None => assert!(found.is_empty(), "{line}: {found:?}"),
            }
        }
        for line in ["info ", "rm a b", "sub a ", "publish -k x ", "get --from 5 t", "list w", "fetch -qn 5 t"] {
            assert_eq!(place(line).1, Wanted::Topics, "{line}");
        }
        assert_eq!(place("-s a:1,b:2 fetch w"), ("w".to_owned(), Wanted::Topics, Some("a:1,b:2".to_owned())));
        assert_eq!(place("fetch --server=c:3 w").2.as_deref(), Some("c:3"));
    }

    #[test]
    fn words_that_bash_took_apart_are_put_together() {
        for (words, expected) in [
            ("-s h : 1 list", "-s h:1 list"),
            ("list --sort = na", "list --sort=na"),
            ("list --sort =", "list --sort="),
            ("-s [ :: 1]", "-s [::1]"),
            ("a b", "a b"),
        ] {
            let words: Vec<String> = words.split(' ').map(str::to_owned).collect();
            assert_eq!(joined(&words).join(" "), expected);
        }
    }

    #[test]
    fn nushell_learns_every_command_and_its_options() {
        let top = Top::get_args_info();
        let script = script(Shell::Nushell);
        let words: Vec<_> = script.split(|c: char| !c.is_alphanumeric() && !"-_".contains(c)).collect();
        let has = |word: &str| words.contains(&word);
        for name in top.commands.iter().map(|command| command.name).chain(ALIASES.map(|(alias, _)| alias)) {
            assert!(has(name), "nushell does not know {name}");
        }
        let flags = top.commands.iter().flat_map(|command| command.command.flags).chain(top.flags);
        for flag in flags.filter(|flag| flag.long != "--help") {
            assert!(has(flag.long), "nushell does not know {}", flag.long);
            assert!(!flag.description.contains('\n'), "a comment in nushell ends at the line: {}", flag.long);
        }
    }
}
