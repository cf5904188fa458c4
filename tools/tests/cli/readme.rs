//! Runs the tour of README.md, command by command, on a real cube, and compares the output with what is shown there.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use crate::common::{free_ports, node_program};
use crate::harness::matches;

/// The first port in the text, which is replaced by a free one.
const PORT: u16 = 5000;

/// How long a read-only command is repeated until its output is as shown.
const PATIENCE: Duration = Duration::from_secs(20);

/// A command of a `console` block and the output shown below it.
#[derive(Debug)]
struct Step {
    command: String,
    shown: String,
    /// True if the numbers in the output differ each time.
    has_other_numbers: bool,
}

/// Returns the commands of all `console` blocks in order.
fn steps(text: &str) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    let (mut is_inside, mut has_other_numbers) = (false, false);
    for line in text.lines() {
        match (is_inside, line) {
            (false, "```console") => is_inside = true,
            (false, line) => has_other_numbers = line == "<!-- other numbers each time -->",
            (true, "```") => is_inside = false,
            (true, line) => match line.strip_prefix("$ ") {
                Some(command) => {
                    steps.push(Step { command: command.to_owned(), shown: String::new(), has_other_numbers });
                }
                None => {
                    let step = steps.last_mut().expect("a block begins with a command");
                    step.shown.push_str(line);
                    step.shown.push('\n');
                }
            },
        }
    }
    steps
}

/// Replaces the ports in the text by those of the running cube.
fn with_ports(text: &str, base: u16) -> String {
    (0..8).fold(text.to_owned(), |text, id| text.replace(&(PORT + id).to_string(), &(base + id).to_string()))
}

/// Returns true if the output is as shown. `…` matches anything, times are ignored, and, if the step says so, all
/// numbers.
fn is_shown(said: &str, step: &Step, base: u16) -> bool {
    let shown = with_ports(&step.shown, base);
    if step.has_other_numbers {
        return without_numbers(said) == without_numbers(&shown);
    }
    matches(&without_times(said), &without_times(&shown).replace('…', "*"))
}

/// Replaces times such as `0.06 ms` by `# ms`.
fn without_times(text: &str) -> String {
    let words: Vec<&str> = text.split(' ').collect();
    let is_time = |at: usize| words.get(at + 1).is_some_and(|next| next.trim_end() == "ms" || next.starts_with("ms\n"));
    let words = words.iter().enumerate().map(|(at, word)| if is_time(at) { "#" } else { word });
    words.collect::<Vec<_>>().join(" ")
}

fn without_numbers(text: &str) -> Vec<Vec<&str>> {
    let word = |word| if str::contains(word, |c: char| c.is_ascii_digit()) { "#" } else { word };
    text.lines().map(|line| line.split_whitespace().map(word).collect()).collect()
}

/// A shell in a folder of its own, with the programs in its PATH and the first node as the default server.
struct Shell {
    process: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
}

impl Shell {
    fn start(folder: &Path, base: u16) -> Self {
        let programs = node_program().parent().unwrap().to_owned();
        let path = format!("{}:{}", programs.display(), std::env::var("PATH").unwrap());
        let mut process = Command::new("bash")
            .current_dir(folder)
            .env("PATH", path)
            .env("DHT_BIN_DIR", programs)
            .env("DHT_SERVER", format!("127.0.0.1:{base}"))
            .env_remove("DHT_TIMEOUT")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (stdin, stdout) = (process.stdin.take().unwrap(), BufReader::new(process.stdout.take().unwrap()));
        let mut shell = Self { process, stdin, stdout };
        shell.run("exec 2>&1");
        shell
    }

    /// Runs a command, and returns its output.
    fn run(&mut self, command: &str) -> String {
        // Background jobs keep the output open, so its end is marked by the shell itself.
        writeln!(self.stdin, "{command}\necho; echo end-of-step").unwrap();
        let mut said = String::new();
        loop {
            let mut line = String::new();
            assert_ne!(self.stdout.read_line(&mut line).unwrap(), 0, "the shell ended: {command}: {said}");
            if line == "end-of-step\n" {
                said.pop(); // the line feed before the mark
                return said;
            }
            said.push_str(&line);
        }
    }
}

/// The cube of the tour. Dropping it stops its nodes, also if the test fails.
struct Cube(String);

impl Drop for Cube {
    fn drop(&mut self) {
        let mut clean = Command::new("bash");
        clean.args(["-c", &format!("{} clean", self.0)]).stdout(Stdio::null());
        assert!(clean.status().unwrap().success() || std::thread::panicking());
    }
}

/// Returns true if the command is read-only, so that it may be repeated.
fn only_looks(command: &str) -> bool {
    ["dht-cli info", "dht-cli cluster", "dht-cli trace", "dht-cli fetch", "cat "]
        .iter()
        .any(|it| command.starts_with(it))
}

#[test]
fn the_tour_shows_what_the_readme_says() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let steps = steps(&std::fs::read_to_string(root.join("README.md")).unwrap());
    assert!(steps.len() > 15, "{steps:?}");
    let folder = tempfile::tempdir().unwrap();
    let base = free_ports(8);
    let data = folder.path().join("run");
    let deploy =
        format!("{}/scripts/deploy.sh --replicas 1 --base-port {base} --data {}", root.display(), data.display());
    let _cube = Cube(deploy.clone());
    let mut shell = Shell::start(folder.path(), base);
    let started = shell.run(&deploy);
    assert!(started.contains("8 of 8 nodes up, 12 of 12 links up"), "{started}");
    for step in &steps {
        let command = with_ports(&step.command, base).replace("scripts/deploy.sh", &deploy);
        let began = now();
        let mut said = shell.run(&command);
        while !is_shown(&said, step, base) {
            let may_repeat = only_looks(&step.command) && now().duration_since(began) < PATIENCE;
            assert!(may_repeat, "$ {}\n{}\nactual output:\n{said}", step.command, step.shown);
            said = shell.run(&command);
        }
    }
    shell.run("kill $(jobs -p); wait");
    let Shell { mut process, stdin, .. } = shell;
    drop(stdin);
    process.wait().unwrap();
}

#[expect(clippy::disallowed_methods, reason = "real nodes need real time")]
fn now() -> Instant {
    Instant::now()
}

#[test]
fn shown_output_may_only_differ_in_ellipses_ports_times_and_marked_numbers() {
    let step =
        |shown: &str, has_other_numbers| Step { command: String::new(), shown: shown.to_owned(), has_other_numbers };
    for (shown, has_other_numbers, said, expected) in [
        ("a\n", false, "a\n", true),
        ("a\n", false, "a\nb\n", false),
        ("a\n…\nz\n", false, "a\nb\nc\nz\n", true),
        ("a…z\n", false, "abcz\n", true),
        ("at 127.0.0.1:5003\n", false, "at 127.0.0.1:23003\n", true),
        ("  1  100  0.62 ms\n2 hops\n", false, "  1  100  7.00 ms\n2 hops\n", true),
        ("  1  100  0.62 ms\n2 hops\n", false, "  1  110  7.00 ms\n2 hops\n", false),
        ("N/S  B\n 12  3KiB\n", true, "N/S  B\n  7  40.1MiB\n", true),
        ("N/S  B\n 12  3KiB\n", true, "N/S  C\n  7  40.1MiB\n", false),
    ] {
        assert_eq!(is_shown(said, &step(shown, has_other_numbers), 23_000), expected, "{shown:?} {said:?}");
    }
    let found = steps("x\n```console\n$ a\n1\n$ b &\n```\ny\n<!-- other numbers each time -->\n```console\n$ c\n```\n");
    let found: Vec<_> = found.iter().map(|step| (step.command.as_str(), step.shown.as_str())).collect();
    assert_eq!(found, [("a", "1\n"), ("b &", ""), ("c", "")]);
}
