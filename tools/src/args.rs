//! The command line as argh reads it, after [`normalise`](crate::normalise) has put it into argh's form.
//!
//! Every struct names its help triggers: by default the bare word "help" is one at any place, and
//! `publish help hello` would print help instead of publishing.

mod bench;

use argh::{ArgsInfo, FromArgs};

pub(crate) use bench::{Bench, Load, Measure};

/// Talk to a dht-node cluster.
#[derive(FromArgs, ArgsInfo, Debug, PartialEq)]
#[argh(
    name = "dht-cli",
    help_triggers("-h", "--help"),
    note = "Options may stand before or after the command. Other names: pub = publish, sub = subscribe, get = fetch,\nls = list, rm = delete, topo = cluster. A node is written as its binary digits: 101.",
    example = "dht-cli create weather\ndht-cli subscribe weather\ndht-cli publish weather 'sunny, 21 degrees'\ndht-cli -s 127.0.0.1:5003 fetch weather\ndht-cli trace weather",
    error_code(0, "done"),
    error_code(1, "the node said no: no such topic, too large, ..."),
    error_code(2, "bad usage"),
    error_code(3, "could not connect, or the connection was lost"),
    error_code(4, "timed out waiting"),
    error_code(5, "only part of the cluster answered"),
    error_code(6, "not possible now, nothing was done: try again"),
    error_code(7, "protocol error"),
    error_code(99, "bench: a --require was not met"),
    error_code(130, "stopped by Ctrl-C before it was done")
)]
pub(crate) struct Top {
    /// nodes to talk to, tried before others of the cube: HOST:PORT,… [env: DHT_SERVER] [default: 127.0.0.1:5000]
    #[argh(option, short = 's')]
    pub(crate) server: Option<String>,
    /// limit for connecting and for each reply, 0 is none [env: DHT_TIMEOUT] [default: 5s]
    #[argh(option, short = 't')]
    pub(crate) timeout: Option<String>,
    /// ask a node that is silent for a sign of life, and leave it if none comes [env: DHT_PING_AFTER] [default: 1s]
    #[argh(option, arg_name = "duration")]
    pub(crate) ping_after: Option<String>,
    /// print JSON: one object, or one a line
    #[argh(switch)]
    pub(crate) json: bool,
    /// auto, always or never [default: auto; NO_COLOR is honoured]
    #[argh(option)]
    pub(crate) color: Option<String>,
    /// only results and errors
    #[argh(switch, short = 'q')]
    pub(crate) quiet: bool,
    /// say what is done and where
    #[argh(switch, short = 'v')]
    pub(crate) verbose: bool,
    /// print the version and exit
    #[argh(switch, short = 'V')]
    pub(crate) version: bool,
    #[argh(subcommand)]
    pub(crate) command: Option<Command>,
}

/// What to do.
#[derive(FromArgs, ArgsInfo, Debug, PartialEq)]
#[argh(subcommand)]
#[expect(clippy::large_enum_variant, reason = "there is one of it, and argh knows no box")]
pub(crate) enum Command {
    Create(Create),
    Alter(Alter),
    Trim(Trim),
    Delete(Delete),
    List(List),
    Info(Info),
    Publish(Publish),
    Fetch(Fetch),
    Subscribe(Subscribe),
    Export(Export),
    Import(Import),
    Query(Query),
    Trace(Trace),
    Cluster(Cluster),
    Ping(Ping),
    Stats(Stats),
    Nc(Nc),
    Decode(Decode),
    Bench(Bench),
    Completions(Completions),
}

/// Make topics.
#[derive(FromArgs, ArgsInfo, Debug, PartialEq)]
#[argh(subcommand, name = "create", help_triggers("-h", "--help"))]
pub(crate) struct Create {
    /// keep at most this many records of each
    #[argh(option, arg_name = "n")]
    pub(crate) retain_records: Option<u64>,
    /// keep at most this many bytes of each: 4096, 64KiB, 1GB
    #[argh(option, arg_name = "size")]
    pub(crate) retain_bytes: Option<String>,
    /// keep records at most this long: 90s, 12h, 7d
    #[argh(option, arg_name = "duration")]
    pub(crate) retain_age: Option<String>,
    /// names of the topics: A-Z a-z 0-9 . _ / -
    #[argh(positional, arg_name = "topic")]
    pub(crate) topics: Vec<String>,
}

/// Change what a topic keeps.
#[derive(FromArgs, ArgsInfo, Debug, PartialEq)]
#[argh(
    subcommand,
    name = "alter",
    help_triggers("-h", "--help"),
    note = "What is not named stays as it is. 0 is the default of the topic's node. What the topic does not keep any more is\nremoved."
)]
pub(crate) struct Alter {
    /// keep at most this many records
    #[argh(option, arg_name = "n")]
    pub(crate) retain_records: Option<u64>,
    /// keep at most this many bytes: 4096, 64KiB, 1GB
    #[argh(option, arg_name = "size")]
    pub(crate) retain_bytes: Option<String>,
    /// keep records at most this long: 90s, 12h, 7d
    #[argh(option, arg_name = "duration")]
    pub(crate) retain_age: Option<String>,
    /// its name
    #[argh(positional)]
    pub(crate) topic: String,
}

/// Remove the records of a topic before an offset.
#[derive(FromArgs, ArgsInfo, Debug, PartialEq)]
#[argh(
    subcommand,
    name = "trim",
    help_triggers("-h", "--help"),
    note = "Does not ask. Records that are gone already are no error; an offset behind the end is one."
)]
pub(crate) struct Trim {
    /// the first offset that stays
    #[argh(option, arg_name = "offset")]
    pub(crate) to: u64,
    /// its name
    #[argh(positional)]
    pub(crate) topic: String,
}

/// Remove topics and all their records.
#[derive(FromArgs, ArgsInfo, Debug, PartialEq)]
#[argh(subcommand, name = "delete", help_triggers("-h", "--help"))]
pub(crate) struct Delete {
    /// do not ask; needed where standard input is no terminal
    #[argh(switch, short = 'y')]
    pub(crate) yes: bool,
    /// a topic that is not there is no error
    #[argh(switch)]
    pub(crate) if_exists: bool,
    /// names of the topics
    #[argh(positional, arg_name = "topic")]
    pub(crate) topics: Vec<String>,
}

/// List the topics of the whole cluster.
#[derive(FromArgs, ArgsInfo, Debug, PartialEq)]
#[argh(subcommand, name = "list", help_triggers("-h", "--help"))]
pub(crate) struct List {
    /// a table with home, records and bytes
    #[argh(switch, short = 'l')]
    pub(crate) long: bool,
    /// name, node, records or bytes [default: name]
    #[argh(option, default = "SortBy::Name")]
    pub(crate) sort: SortBy,
    /// only names that start so, or that match: 'logs/*' ('*' is any text, '?' one character)
    #[argh(positional)]
    pub(crate) pattern: Option<String>,
}

/// The order of a list.
#[derive(argh::FromArgValue, Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SortBy {
    Name,
    Node,
    Records,
    Bytes,
}

/// Show what a topic is like.
#[derive(FromArgs, ArgsInfo, Debug, PartialEq)]
#[argh(subcommand, name = "info", help_triggers("-h", "--help"))]
pub(crate) struct Info {
    /// its name
    #[argh(positional)]
    pub(crate) topic: String,
}

/// Publish a message, or one per line.
#[derive(FromArgs, ArgsInfo, Debug, PartialEq)]
#[argh(
    subcommand,
    name = "publish",
    help_triggers("-h", "--help"),
    example = "dht-cli publish weather sunny\ndate | dht-cli publish weather\ntail -f access.log | dht-cli publish -l access\ndht-cli fetch orders --json | dht-cli publish copy --input json --create\ndht-cli publish -l -f day.csv --producer day.csv --resume imports"
)]
pub(crate) struct Publish {
    /// each line is a message
    #[argh(switch, short = 'l')]
    pub(crate) lines: bool,
    /// messages are separated by NUL bytes
    #[argh(switch, short = '0')]
    pub(crate) null: bool,
    /// read from this file instead of standard input
    #[argh(option, short = 'f')]
    pub(crate) file: Option<String>,
    /// each line is a key, this separator and a message: -K : or -K '\t'
    #[argh(option, short = 'K', arg_name = "separator")]
    pub(crate) separator: Option<String>,
    /// text (the default), or json: a line is what fetch --json prints, with key, headers and time
    #[argh(option, arg_name = "form")]
    pub(crate) input: Option<InputForm>,
    /// key of the message(s)
    #[argh(option, short = 'k')]
    pub(crate) key: Option<String>,
    /// header of the message(s); may be repeated
    #[argh(option, short = 'H', arg_name = "name=value")]
    pub(crate) header: Vec<String>,
    /// make the topic if it is not there
    #[argh(switch)]
    pub(crate) create: bool,
    /// name of this input, new to the topic: the topic counts what it stores of it, for --resume
    #[argh(option, arg_name = "name")]
    pub(crate) producer: Option<String>,
    /// continue the input of --producer: skip the messages that are stored already
    #[argh(switch)]
    pub(crate) resume: bool,
    /// where to
    #[argh(positional)]
    pub(crate) topic: String,
    /// what; without it or as - all of standard input is one message
    #[argh(positional)]
    pub(crate) message: Option<String>,
}

/// What lines of an input are.
#[derive(argh::FromArgValue, Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum InputForm {
    Text,
    Json,
}

/// Print what topics get, as they get it.
#[derive(FromArgs, ArgsInfo, Debug, PartialEq)]
#[argh(
    subcommand,
    name = "subscribe",
    help_triggers("-h", "--help"),
    note = "It goes on through lost connections and ended nodes, with every record once and in order, and ends with -n, -w,\nCtrl-C, or when all topics are gone. Name several servers with -s, so that there is another one to go on through.\nFORMAT is all that is printed: %t topic, %i offset, %p payload, %k key, %h headers (name=value,...), %T time,\n%u the publisher's time and %a that of storing in microseconds, %S bytes of the payload, %K of the key (-1 without\none), %% a percent sign; \\n \\r \\t \\0 \\\\ as in C.\nWHERE: earliest, latest (or next), an offset, or a time: 2026-11-22T10:00:00Z, 2026-11-22T11:00+01:00, @1763805600 or\n@1763805600123 (seconds, milliseconds), 5m for five minutes ago. A time without a zone, or a date alone, is in UTC.",
    example = "dht-cli subscribe weather\ndht-cli subscribe orders --from earliest -F '%i %k %p\\n'\ndht-cli -s 127.0.0.1:5000,127.0.0.1:5001 subscribe a b --json"
)]
pub(crate) struct Subscribe {
    /// first record: an offset, a time, earliest or latest, see below [default: latest]
    #[argh(option, arg_name = "where")]
    pub(crate) from: Option<String>,
    /// the last so many records that there are, instead of --from
    #[argh(option, arg_name = "n")]
    pub(crate) last: Option<u64>,
    /// stop before this offset or time, or at the present end: latest
    #[argh(option, arg_name = "where")]
    pub(crate) to: Option<String>,
    /// stop after this many records
    #[argh(option, short = 'n')]
    pub(crate) count: Option<u64>,
    /// stop when nothing came for so long (exit code 4)
    #[argh(option, short = 'w', arg_name = "duration")]
    pub(crate) wait: Option<String>,
    /// how a record is printed, see below [default: '%p\n']
    #[argh(option, short = 'F')]
    pub(crate) format: Option<String>,
    /// only the bytes of the messages, with nothing between them
    #[argh(switch, short = 'r')]
    pub(crate) raw: bool,
    /// only the bytes of the messages, a NUL byte behind each
    #[argh(switch, short = '0')]
    pub(crate) null: bool,
    /// names of the topics
    #[argh(positional, arg_name = "topic")]
    pub(crate) topics: Vec<String>,
}

/// Print what a topic keeps, up to its present end.
#[derive(FromArgs, ArgsInfo, Debug, PartialEq)]
#[argh(
    subcommand,
    name = "fetch",
    help_triggers("-h", "--help"),
    note = "FORMAT is all that is printed: %t topic, %i offset, %p payload, %k key, %h headers (name=value,...), %T time,\n%u the publisher's time and %a that of storing in microseconds, %S bytes of the payload, %K of the key (-1 without\none), %% a percent sign; \\n \\r \\t \\0 \\\\ as in C.\nWHERE: earliest, latest (or next), an offset, or a time: 2026-11-22T10:00:00Z, 2026-11-22T11:00+01:00, @1763805600 or\n@1763805600123 (seconds, milliseconds), 5m for five minutes ago. A time without a zone, or a date alone, is in UTC."
)]
pub(crate) struct Fetch {
    /// first record: an offset, a time, earliest or latest, see below [default: earliest]
    #[argh(option, arg_name = "where")]
    pub(crate) from: Option<String>,
    /// the last so many records that there are, instead of --from
    #[argh(option, arg_name = "n")]
    pub(crate) last: Option<u64>,
    /// stop before this offset or time, or at the present end: latest
    #[argh(option, arg_name = "where")]
    pub(crate) to: Option<String>,
    /// stop after this many records
    #[argh(option, short = 'n')]
    pub(crate) count: Option<u64>,
    /// when there is nothing yet, wait for it at most so long (exit code 4)
    #[argh(option, short = 'w', arg_name = "duration")]
    pub(crate) wait: Option<String>,
    /// how a record is printed, see below [default: '%p\n']
    #[argh(option, short = 'F')]
    pub(crate) format: Option<String>,
    /// only the bytes of the messages, with nothing between them
    #[argh(switch, short = 'r')]
    pub(crate) raw: bool,
    /// only the bytes of the messages, a NUL byte behind each
    #[argh(switch, short = '0')]
    pub(crate) null: bool,
    /// its name
    #[argh(positional)]
    pub(crate) topic: String,
}

/// Write whole topics as lines of JSON.
#[derive(FromArgs, ArgsInfo, Debug, PartialEq)]
#[argh(
    subcommand,
    name = "export",
    help_triggers("-h", "--help"),
    note = "Each topic begins with a line that has its retention and ends with one that has the number of its records, so that\nimport sees when something is missing. Offsets and times of storing are in it, but are given anew by import.",
    example = "dht-cli export weather orders > topics.json\ndht-cli export weather | dht-cli -s 127.0.0.1:6000 import"
)]
pub(crate) struct Export {
    /// names of the topics
    #[argh(positional, arg_name = "topic")]
    pub(crate) topics: Vec<String>,
}

/// Make and fill topics from what export wrote.
#[derive(FromArgs, ArgsInfo, Debug, PartialEq)]
#[argh(
    subcommand,
    name = "import",
    help_triggers("-h", "--help"),
    note = "A topic that is not there is made, with the retention that it had. Lines of fetch --json are taken too.",
    example = "dht-cli import topics.json"
)]
pub(crate) struct Import {
    /// add to topics that have records already
    #[argh(switch)]
    pub(crate) append: bool,
    /// where to read; standard input without it
    #[argh(positional)]
    pub(crate) file: Option<String>,
}

/// Show where a name lives and how a request gets there, whether or not there is such a topic.
#[derive(FromArgs, ArgsInfo, Debug, PartialEq)]
#[argh(subcommand, name = "query", help_triggers("-h", "--help"))]
pub(crate) struct Query {
    /// the name
    #[argh(positional)]
    pub(crate) topic: String,
}

/// Show the path to a topic's home or to a node, hop by hop.
#[derive(FromArgs, ArgsInfo, Debug, PartialEq)]
#[argh(subcommand, name = "trace", help_triggers("-h", "--help"))]
pub(crate) struct Trace {
    /// a node (its binary digits), else a topic
    #[argh(positional)]
    pub(crate) target: String,
}

/// Draw the cube and list its nodes and links.
#[derive(FromArgs, ArgsInfo, Debug, PartialEq)]
#[argh(subcommand, name = "cluster", help_triggers("-h", "--help"))]
pub(crate) struct Cluster {
    /// wait until all nodes answer and all links are up, at most so long
    #[argh(option, short = 'w', arg_name = "duration")]
    pub(crate) wait: Option<String>,
}

/// Measure how long nodes take to answer.
#[derive(FromArgs, ArgsInfo, Debug, PartialEq)]
#[argh(subcommand, name = "ping", help_triggers("-h", "--help"))]
pub(crate) struct Ping {
    /// times to ask each [default: 3]
    #[argh(option, short = 'n', default = "3")]
    pub(crate) count: u32,
    /// which; all without it
    #[argh(positional, arg_name = "node")]
    pub(crate) nodes: Vec<String>,
}

/// Show the counters of nodes.
#[derive(FromArgs, ArgsInfo, Debug, PartialEq)]
#[argh(
    subcommand,
    name = "stats",
    help_triggers("-h", "--help"),
    note = "With -i every line is the sum over the nodes: counters a second, then clients, topics and memory as they are.\nREQ requests of clients, REC records stored, DELIV frames to subscribers, FWD frames handed on, ERR refusals.\nIts own questions count among the requests, one a node and line."
)]
pub(crate) struct Stats {
    /// show a line every so long, until Ctrl-C
    #[argh(option, short = 'i', arg_name = "duration")]
    pub(crate) interval: Option<String>,
    /// of -i: stop after this many lines
    #[argh(option, short = 'n')]
    pub(crate) count: Option<u64>,
    /// which; all without it
    #[argh(positional, arg_name = "node")]
    pub(crate) nodes: Vec<String>,
}

/// Netcat for the cube: every line of standard input is a command, over one connection.
#[derive(FromArgs, ArgsInfo, Debug, PartialEq)]
#[argh(
    subcommand,
    name = "nc",
    help_triggers("-h", "--help"),
    note = "Empty lines and what follows a # are ignored. A command that fails says so, and the next one is read; the\nexit code is that of the last failure. After subscribe the next line is read at once, and records are shown as\nthey come, until: unsubscribe TOPIC"
)]
pub(crate) struct Nc {
    /// show every frame in hex, both ways, with the names of its fields
    #[argh(switch, short = 'x')]
    pub(crate) hex: bool,
    /// close the connection at the end of standard input (this is the default)
    #[argh(switch, short = 'N')]
    pub(crate) shutdown: bool,
    /// stay so long after the end of standard input; a bare number is seconds
    #[argh(option, short = 'q', arg_name = "duration")]
    pub(crate) quit_after: Option<String>,
    /// end when nothing came from standard input for so long; a bare number is seconds
    #[argh(option, short = 'w', arg_name = "duration")]
    pub(crate) wait: Option<String>,
    /// HOST PORT or HOST:PORT of the node to talk to, instead of -s
    #[argh(positional)]
    pub(crate) address: Vec<String>,
}

/// Explain frames: hex text or raw bytes in, fields out.
#[derive(FromArgs, ArgsInfo, Debug, PartialEq)]
#[argh(subcommand, name = "decode", help_triggers("-h", "--help"))]
pub(crate) struct Decode {
    /// dimension of the cube that routed frames are from [default: 3]
    #[argh(option, default = "3")]
    pub(crate) dimension: u8,
    /// where to read; standard input without it
    #[argh(positional)]
    pub(crate) file: Option<String>,
}

/// Print what makes a shell complete commands, options, topics and other values.
#[derive(FromArgs, ArgsInfo, Debug, PartialEq)]
#[argh(
    subcommand,
    name = "completions",
    help_triggers("-h", "--help"),
    example = "source <(dht-cli completions bash)          # ~/.bashrc; zsh alike, behind compinit in ~/.zshrc\ndht-cli completions fish | source             # ~/.config/fish/config.fish\ndht-cli completions nushell | save dht-cli.nu # then: use dht-cli.nu *"
)]
pub(crate) struct Completions {
    /// bash, zsh, fish or nushell
    #[argh(positional)]
    pub(crate) shell: Shell,
    /// words of a command line, as the shell gives them: what may stand for the last one is printed
    #[argh(positional, arg_name = "word")]
    pub(crate) words: Vec<String>,
}

/// A shell that completes.
#[derive(argh::FromArgValue, Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shell {
    /// GNU's.
    Bash,
    /// The Z shell.
    Zsh,
    /// fish.
    Fish,
    /// nu.
    Nushell,
}
