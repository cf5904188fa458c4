//! `completions`: what makes a shell complete commands and options, from what argh knows of them.
//!
//! Options of the program may stand behind the command as well, so they are completed there; other names of commands
//! are commands of their own. Values, such as topics, are not completed.

use argh::{ArgsInfo, CommandInfoWithArgs, FlagInfo, FlagInfoKind, Optionality, SubCommandInfo};
use argh_complete::Generator;
use argh_complete::bash::Bash;
use argh_complete::fish::Fish;
use argh_complete::nushell::Nushell;
use argh_complete::zsh::Zsh;
use serde_json::json;

use crate::args::{self, Shell, Top};
use crate::errors::{Exit, Failure};
use crate::normalise::ALIASES;
use crate::session::Session;

/// `completions SHELL`
pub(crate) fn completions(completions: &args::Completions, session: &mut Session) -> Result<Exit, Failure> {
    let script = script(completions.shell);
    if session.out.is_json() {
        session.out.json(&json!({"script": script}))?;
    } else {
        session.out.bytes(script.as_bytes())?;
    }
    Ok(Exit::Done)
}

fn script(shell: Shell) -> String {
    let mut top = CommandInfoWithArgs { name: "dht-cli", ..Top::get_args_info() };
    let flags: Vec<_> = top.commands.iter().map(|command| all_flags(&command.command, &top)).collect();
    for (command, flags) in top.commands.iter_mut().zip(flags) {
        command.command.flags = flags.leak(); // argh wants them for ever, and this program ends soon
    }
    for (alias, name) in ALIASES {
        let known = top.commands.iter().find(|command| command.name == name).expect("an alias is of a command");
        let command = CommandInfoWithArgs { name: alias, ..known.command.clone() };
        top.commands.push(SubCommandInfo { name: alias, command });
    }
    let name = top.name;
    match shell {
        // The variable must not stay behind in the person's shell, and a word that is being written is no command yet.
        Shell::Bash => Bash::generate(name, &top).replacen("local i cur", "local cmd i cur", 1).replacen(
            "for i in ${COMP_WORDS[@]}",
            r#"for i in "${COMP_WORDS[@]:0:COMP_CWORD}""#,
            1,
        ),
        Shell::Zsh => Zsh::generate(name, &top),
        // fish 3 knows the older letter only, fish 4 both.
        Shell::Fish => Fish::generate(name, &top).replacen("commandline -xpc", "commandline -opc", 1),
        Shell::Nushell => Nushell::generate(name, &top),
    }
}

/// The options of a command and those of the program; of two with one name or letter the command's has it.
fn all_flags(command: &CommandInfoWithArgs, top: &CommandInfoWithArgs) -> Vec<FlagInfo<'static>> {
    let global = top.flags.iter().filter(|flag| command.flags.iter().all(|own| own.long != flag.long));
    let global = global.map(|flag| {
        let is_free = |letter: &char| command.flags.iter().all(|own| own.short != Some(*letter));
        FlagInfo { short: flag.short.filter(is_free), ..copied(flag) }
    });
    command.flags.iter().map(copied).chain(global).collect()
}

/// argh's own type cannot be cloned. No shell is told what is required.
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

    #[test]
    fn every_shell_learns_every_command_and_its_options() {
        let top = Top::get_args_info();
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish, Shell::Nushell] {
            let script = script(shell);
            let words: Vec<_> = script.split(|c: char| !c.is_alphanumeric() && !"-_".contains(c)).collect();
            let has = |word: &str| words.contains(&word);
            for name in top.commands.iter().map(|command| command.name).chain(ALIASES.map(|(alias, _)| alias)) {
                assert!(has(name) || has(&format!("dht-cli_{name}")), "{shell:?} does not know {name}");
            }
            let flags = top.commands.iter().flat_map(|command| command.command.flags).chain(top.flags);
            for flag in flags.filter(|flag| flag.long != "--help") {
                let bare = flag.long.trim_start_matches('-');
                assert!(has(flag.long) || has(bare), "{shell:?} does not know {}", flag.long);
                assert!(!flag.description.contains('\n'), "a comment in nushell ends at the line: {}", flag.long);
            }
        }
    }

    #[test]
    fn a_letter_is_the_commands_own_before_the_programs() {
        let top = Top::get_args_info();
        for (name, letter, expected) in [
            ("nc", 'q', "--quit-after"),
            ("list", 'q', "--quiet"),
            ("bench", 't', "--tests"),
            ("list", 's', "--server"),
        ] {
            let command = top.commands.iter().find(|command| command.name == name).unwrap();
            let flags = all_flags(&command.command, &top);
            let owners: Vec<_> = flags.iter().filter(|flag| flag.short == Some(letter)).map(|flag| flag.long).collect();
            assert_eq!(owners, [expected], "{name} -{letter}");
        }
    }
}
