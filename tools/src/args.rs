//! The command line as argh reads it, after [`normalise`](crate::normalise) has put it into argh's form.
//!
//! Every struct names its help triggers: by default the bare word "help" is one at any place, and
//! `publish help hello` would print help instead of publishing.

use argh::{ArgsInfo, FromArgs};
use dht_bench::Bench;
use dht_console::session::Options;

/// Talk to a dht-node cluster.
#[derive(FromArgs, ArgsInfo, Debug, PartialEq)]
#[argh(
    name = "dht-cli",
    help_triggers("-h", "--help"),
    note = "Options may stand before or after the command. Other names: pub = publish, sub = subscribe, get = fetch,\nls = list, rm = delete, topo = cluster. A node is written as its binary digits: 101.",
    example = "dht-cli create weather\ndht-cli subscribe weather\ndht-cli publish weather 'sunny, 21 degrees'\ndht-cli -s 127.0.0.1:5003 fetch weather\ndht-cli trace weather",
    error_code(0, "done"),
    error_code(1, "the node refused the request: no such topic, record too large, ..."),
    error_code(2, "bad usage"),
    error_code(3, "could not connect, or the connection was lost"),
    error_code(4, "timed out waiting"),
    error_code(5, "only part of the cluster answered"),
    error_code(6, "not possible at the moment and nothing was done: try again"),
    error_code(7, "protocol error"),
    error_code(99, "bench: a --require was not met"),
    error_code(130, "stopped by Ctrl-C before it was done")
)]
pub(crate) struct Top {
    /// nodes to connect to, before any other of the cube: HOST:PORT,… [env: DHT_SERVER] [default: 127.0.0.1:5000]
    #[argh(option, short = 's')]
    pub(crate) server: Option<String>,
    /// time limit for connecting and for each reply with its retries, 0 for no limit [env: DHT_TIMEOUT] [default: 5s]
    #[argh(option, short = 't')]
    pub(crate) timeout: Option<String>,
    /// send PING to a node silent this long (in a request at most a third of -t), and leave it if it stays silent
    /// [env: DHT_PING_AFTER] [default: 1s]
    #[argh(option, arg_name = "duration")]
    pub(crate) ping_after: Option<String>,
    /// print JSON: one object, or one per line
    #[argh(switch)]
    pub(crate) json: bool,
    /// when to use colour: auto, always or never [default: auto; NO_COLOR is honoured]
    #[argh(option)]
    pub(crate) color: Option<String>,
    /// print only results and errors
    #[argh(switch, short = 'q')]
    pub(crate) quiet: bool,
    /// also print which node is used, and when another one takes over
    #[argh(switch, short = 'v')]
    pub(crate) verbose: bool,
    /// print the version and exit
    #[argh(switch, short = 'V')]
    pub(crate) version: bool,
    #[argh(subcommand)]
    pub(crate) command: Option<Command>,
}

impl Top {
    /// Returns the options that concern every command.
    pub(crate) fn options(&self) -> Options<'_> {
        Options {
            server: self.server.as_deref(),
            timeout: self.timeout.as_deref(),
            ping_after: self.ping_after.as_deref(),
            color: self.color.as_deref(),
            json: self.json,
            quiet: self.quiet,
            verbose: self.verbose,
        }
    }
}

/// The command to run.
#[derive(FromArgs, ArgsInfo, Debug, PartialEq)]
#[argh(subcommand)]
#[expect(clippy::large_enum_variant, reason = "there is only one value of it, and argh cannot box a variant")]
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

/// Create topics.
#[derive(FromArgs, ArgsInfo, Debug, PartialEq)]
#[argh(
    subcommand,
    name = "create",
    help_triggers("-h", "--help"),
    note = "A limit that is not given, or is 0, is the default of the topic's node, which has no limit for records and age unless\nit was started with one."
)]
pub(crate) struct Create {
    /// keep at most this many records per topic
    #[argh(option, arg_name = "n")]
    pub(crate) retain_records: Option<u64>,
    /// keep at most this many bytes per topic: 4096, 64MiB (powers of 1024), 64MB or 64M (powers of 1000)
    #[argh(option, arg_name = "size")]
    pub(crate) retain_bytes: Option<String>,
    /// keep records at most this long: 90s, 12h, 7d
    #[argh(option, arg_name = "duration")]
    pub(crate) retain_age: Option<String>,
    /// names of the topics, made of A-Z a-z 0-9 . _ / -
    #[argh(positional, arg_name = "topic")]
    pub(crate) topics: Vec<String>,
}

/// Change the retention of a topic.
#[derive(FromArgs, ArgsInfo, Debug, PartialEq)]
#[argh(
    subcommand,
    name = "alter",
    help_triggers("-h", "--help"),
    note = "Limits that are not given stay as they are; 0 sets the default of the topic's node, which has no limit for\nrecords and age unless it was started with one. Records beyond the new limits are removed."
)]
pub(crate) struct Alter {
    /// keep at most this many records
    #[argh(option, arg_name = "n")]
    pub(crate) retain_records: Option<u64>,
    /// keep at most this many bytes: 4096, 64MiB (powers of 1024), 64MB or 64M (powers of 1000)
    #[argh(option, arg_name = "size")]
    pub(crate) retain_bytes: Option<String>,
    /// keep records at most this long: 90s, 12h, 7d
    #[argh(option, arg_name = "duration")]
    pub(crate) retain_age: Option<String>,
    /// name of the topic
    #[argh(positional)]
    pub(crate) topic: String,
}

/// Remove the records of a topic before an offset.
#[derive(FromArgs, ArgsInfo, Debug, PartialEq)]
#[argh(
    subcommand,
    name = "trim",
    help_triggers("-h", "--help"),
    note = "Does not ask for confirmation. It is no error if all records before the offset are gone already; it is one if the\noffset is beyond the end of the topic."
)]
pub(crate) struct Trim {
    /// the first offset to keep
    #[argh(option, arg_name = "offset")]
    pub(crate) to: u64,
    /// name of the topic
    #[argh(positional)]
    pub(crate) topic: String,
}

/// Remove topics and all their records.
#[derive(FromArgs, ArgsInfo, Debug, PartialEq)]
#[argh(subcommand, name = "delete", help_triggers("-h", "--help"))]
pub(crate) struct Delete {
    /// do not ask for confirmation; required when there is no terminal
    #[argh(switch, short = 'y')]
    pub(crate) yes: bool,
    /// ignore topics that do not exist
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
    /// show a table with home node, records and bytes
    #[argh(switch, short = 'l')]
    pub(crate) long: bool,
    /// sort by name, node, records or bytes [default: name]
    #[argh(option, default = "SortBy::Name")]
    pub(crate) sort: SortBy,
    /// only names with this prefix, or that match a pattern: 'logs/*' ('*' is any text, '?' one character)
    #[argh(positional)]
    pub(crate) pattern: Option<String>,
}

/// The column by which `list` sorts topics.
#[derive(argh::FromArgValue, Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SortBy {
    Name,
    Node,
    Records,
    Bytes,
}

/// Show the home node, offsets, size and retention of a topic.
#[derive(FromArgs, ArgsInfo, Debug, PartialEq)]
#[argh(subcommand, name = "info", help_triggers("-h", "--help"))]
pub(crate) struct Info {
    /// name of the topic
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
    /// publish each line as a message
    #[argh(switch, short = 'l')]
    pub(crate) lines: bool,
    /// publish several messages, separated by NUL bytes
    #[argh(switch, short = '0')]
    pub(crate) null: bool,
    /// read from this file instead of standard input
    #[argh(option, short = 'f')]
    pub(crate) file: Option<String>,
    /// each line is a key, this separator and a message: -K : or -K '\t'
    #[argh(option, short = 'K', arg_name = "separator")]
    pub(crate) separator: Option<String>,
    /// text, or json: a record per line as fetch --json prints it, with key, headers and time [default: text]
    #[argh(option, arg_name = "form")]
    pub(crate) input: Option<InputForm>,
    /// key of the message(s)
    #[argh(option, short = 'k')]
    pub(crate) key: Option<String>,
    /// header of the message(s); may be repeated
    #[argh(option, short = 'H', arg_name = "name=value")]
    pub(crate) header: Vec<String>,
    /// create the topic if it does not exist
    #[argh(switch)]
    pub(crate) create: bool,
    /// name for this input, not yet used in the topic; --resume with it skips the messages that are already stored
    #[argh(option, arg_name = "name")]
    pub(crate) producer: Option<String>,
    /// continue the input of an earlier --producer: skip the messages that are already stored
    #[argh(switch)]
    pub(crate) resume: bool,
    /// topic to publish to
    #[argh(positional)]
    pub(crate) topic: String,
    /// the message; if absent or -, all of standard input is one message
    #[argh(positional)]
    pub(crate) message: Option<String>,
}

/// The format of what `publish` reads.
#[derive(argh::FromArgValue, Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum InputForm {
    Text,
    Json,
}

/// Print records of topics as they arrive.
#[derive(FromArgs, ArgsInfo, Debug, PartialEq)]
#[argh(
    subcommand,
    name = "subscribe",
    help_triggers("-h", "--help"),
    note = "When a connection or a node is lost, it reconnects and resumes: every record is printed once and in order. It ends\nwith -n, -w, --to, Ctrl-C, or when all topics are deleted. It learns the other nodes of the cube from the first one;\nname several with -s in case that one is down.\nFORMAT replaces all output of a record: %t topic, %i offset, %p payload, %k key, %h headers (name=value,...), %T time,\n%u the publisher's timestamp and %a the append time in microseconds since 1970, %S size of the payload and %K of the\nkey in bytes (-1 without a key), %% a percent sign; \\n \\r \\t \\0 \\\\ as in C.\nWHERE: earliest, latest (or next), an offset, or a time: 2026-11-22T10:00:00Z, 2026-11-22T11:00+01:00, @1763805600 or\n@1763805600123 (seconds, milliseconds), 5m for five minutes ago. A time without a zone, or a date alone, is in UTC.",
    example = "dht-cli subscribe weather\ndht-cli subscribe orders --from earliest -F '%i %k %p\\n'\ndht-cli -s 127.0.0.1:5000,127.0.0.1:5001 subscribe a b --json"
)]
pub(crate) struct Subscribe {
    /// where to start: an offset, a time, earliest or latest, see below [default: latest]
    #[argh(option, arg_name = "where")]
    pub(crate) from: Option<String>,
    /// start with the last N records that there are, instead of --from
    #[argh(option, arg_name = "n")]
    pub(crate) last: Option<u64>,
    /// stop before this offset or time; latest is the end as it is now
    #[argh(option, arg_name = "where")]
    pub(crate) to: Option<String>,
    /// stop after this many records
    #[argh(option, short = 'n')]
    pub(crate) count: Option<u64>,
    /// stop after this long without a record (exit code 4)
    #[argh(option, short = 'w', arg_name = "duration")]
    pub(crate) wait: Option<String>,
    /// how a record is printed, see below [default: '%p\n']
    #[argh(option, short = 'F')]
    pub(crate) format: Option<String>,
    /// print payloads only, with nothing between them
    #[argh(switch, short = 'r')]
    pub(crate) raw: bool,
    /// print payloads only, each followed by a NUL byte
    #[argh(switch, short = '0')]
    pub(crate) null: bool,
    /// names of the topics
    #[argh(positional, arg_name = "topic")]
    pub(crate) topics: Vec<String>,
}

/// Print the records of a topic, up to its end as it is now.
#[derive(FromArgs, ArgsInfo, Debug, PartialEq)]
#[argh(
    subcommand,
    name = "fetch",
    help_triggers("-h", "--help"),
    note = "FORMAT replaces all output of a record: %t topic, %i offset, %p payload, %k key, %h headers (name=value,...), %T time,\n%u the publisher's timestamp and %a the append time in microseconds since 1970, %S size of the payload and %K of the\nkey in bytes (-1 without a key), %% a percent sign; \\n \\r \\t \\0 \\\\ as in C.\nWHERE: earliest, latest (or next), an offset, or a time: 2026-11-22T10:00:00Z, 2026-11-22T11:00+01:00, @1763805600 or\n@1763805600123 (seconds, milliseconds), 5m for five minutes ago. A time without a zone, or a date alone, is in UTC."
)]
pub(crate) struct Fetch {
    /// where to start: an offset, a time, earliest or latest, see below [default: earliest]
    #[argh(option, arg_name = "where")]
    pub(crate) from: Option<String>,
    /// start with the last N records that there are, instead of --from
    #[argh(option, arg_name = "n")]
    pub(crate) last: Option<u64>,
    /// stop before this offset or time; latest is the end as it is now
    #[argh(option, arg_name = "where")]
    pub(crate) to: Option<String>,
    /// stop after this many records
    #[argh(option, short = 'n')]
    pub(crate) count: Option<u64>,
    /// if there is no record yet, wait at most this long for one (exit code 4)
    #[argh(option, short = 'w', arg_name = "duration")]
    pub(crate) wait: Option<String>,
    /// how a record is printed, see below [default: '%p\n']
    #[argh(option, short = 'F')]
    pub(crate) format: Option<String>,
    /// print payloads only, with nothing between them
    #[argh(switch, short = 'r')]
    pub(crate) raw: bool,
    /// print payloads only, each followed by a NUL byte
    #[argh(switch, short = '0')]
    pub(crate) null: bool,
    /// name of the topic
    #[argh(positional)]
    pub(crate) topic: String,
}

/// Write whole topics as JSON lines.
#[derive(FromArgs, ArgsInfo, Debug, PartialEq)]
#[argh(
    subcommand,
    name = "export",
    help_triggers("-h", "--help"),
    note = "Each topic begins with a line that holds its retention and ends with one that holds the number of its records, so\nthat import notices when lines are missing. Offsets and append times are written too, but import assigns new ones.",
    example = "dht-cli export weather orders > topics.json\ndht-cli export weather | dht-cli -s 127.0.0.1:6000 import"
)]
pub(crate) struct Export {
    /// names of the topics
    #[argh(positional, arg_name = "topic")]
    pub(crate) topics: Vec<String>,
}

/// Create and fill topics from what export wrote.
#[derive(FromArgs, ArgsInfo, Debug, PartialEq)]
#[argh(
    subcommand,
    name = "import",
    help_triggers("-h", "--help"),
    note = "A topic that does not exist is created with the retention that it had. Lines of fetch --json are accepted too.",
    example = "dht-cli import topics.json"
)]
pub(crate) struct Import {
    /// allow topics that already have records, and add to them
    #[argh(switch)]
    pub(crate) append: bool,
    /// file to read; standard input if absent
    #[argh(positional)]
    pub(crate) file: Option<String>,
}

/// Show the home node of a topic name and the path of a request to it; the topic need not exist.
#[derive(FromArgs, ArgsInfo, Debug, PartialEq)]
#[argh(subcommand, name = "query", help_triggers("-h", "--help"))]
pub(crate) struct Query {
    /// name of the topic
    #[argh(positional)]
    pub(crate) topic: String,
}

/// Show the path to a topic's home or to a node, hop by hop.
#[derive(FromArgs, ArgsInfo, Debug, PartialEq)]
#[argh(subcommand, name = "trace", help_triggers("-h", "--help"))]
pub(crate) struct Trace {
    /// a node as its binary digits, or the name of a topic
    #[argh(positional)]
    pub(crate) target: String,
}

/// Draw the cube and list its nodes and links.
#[derive(FromArgs, ArgsInfo, Debug, PartialEq)]
#[argh(subcommand, name = "cluster", help_triggers("-h", "--help"))]
pub(crate) struct Cluster {
    /// wait at most this long until all nodes answer and all links are up
    #[argh(option, short = 'w', arg_name = "duration")]
    pub(crate) wait: Option<String>,
}

/// Measure the round-trip time to nodes.
#[derive(FromArgs, ArgsInfo, Debug, PartialEq)]
#[argh(subcommand, name = "ping", help_triggers("-h", "--help"))]
pub(crate) struct Ping {
    /// number of PINGs to each node [default: 3]
    #[argh(option, short = 'n', default = "3")]
    pub(crate) count: u32,
    /// nodes to ask; all if absent
    #[argh(positional, arg_name = "node")]
    pub(crate) nodes: Vec<String>,
}

/// Show the counters of nodes.
#[derive(FromArgs, ArgsInfo, Debug, PartialEq)]
#[argh(
    subcommand,
    name = "stats",
    help_triggers("-h", "--help"),
    note = "With -i each line is the sum over the nodes: rates per second, then the current clients, topics and memory.\nREQ requests of clients, REC records stored, DELIV frames to subscribers, FWD frames forwarded, ERR refusals.\nThe requests of stats itself are included, one per node and line."
)]
pub(crate) struct Stats {
    /// print a line at this interval, until Ctrl-C
    #[argh(option, short = 'i', arg_name = "duration")]
    pub(crate) interval: Option<String>,
    /// with -i, stop after this many lines
    #[argh(option, short = 'n')]
    pub(crate) count: Option<u64>,
    /// nodes to ask; all if absent
    #[argh(positional, arg_name = "node")]
    pub(crate) nodes: Vec<String>,
}

/// Netcat for the cube: run each line of standard input as a command, all over one connection.
#[derive(FromArgs, ArgsInfo, Debug, PartialEq)]
#[argh(
    subcommand,
    name = "nc",
    help_triggers("-h", "--help"),
    note = "Empty lines and text after a # are ignored. After a command that fails the next line is read; the exit code is\nthat of the last failure. subscribe lets the next line be read at once and prints records as they arrive, until:\nunsubscribe TOPIC"
)]
pub(crate) struct Nc {
    /// show every frame in hex, both ways, with the names of its fields
    #[argh(switch, short = 'x')]
    pub(crate) hex: bool,
    /// close the connection at the end of standard input (this is the default)
    #[argh(switch, short = 'N')]
    pub(crate) shutdown: bool,
    /// stay connected this long after the end of standard input; a bare number is seconds
    #[argh(option, short = 'q', arg_name = "duration")]
    pub(crate) quit_after: Option<String>,
    /// end after this long without a line of standard input; a bare number is seconds
    #[argh(option, short = 'w', arg_name = "duration")]
    pub(crate) wait: Option<String>,
    /// HOST PORT or HOST:PORT of the node to talk to, instead of -s
    #[argh(positional)]
    pub(crate) address: Vec<String>,
}

/// Show the fields of frames, given as hex text or as raw bytes.
#[derive(FromArgs, ArgsInfo, Debug, PartialEq)]
#[argh(subcommand, name = "decode", help_triggers("-h", "--help"))]
pub(crate) struct Decode {
    /// dimension of the cube that routed frames are from [default: 3]
    #[argh(option, default = "3")]
    pub(crate) dimension: u8,
    /// file to read; standard input if absent
    #[argh(positional)]
    pub(crate) file: Option<String>,
}

/// Print a script that makes a shell complete commands, options, topics and other values.
#[derive(FromArgs, ArgsInfo, Debug, PartialEq)]
#[argh(
    subcommand,
    name = "completions",
    help_triggers("-h", "--help"),
    example = "source <(dht-cli completions bash)          # ~/.bashrc; zsh the same, after compinit in ~/.zshrc\ndht-cli completions fish | source             # ~/.config/fish/config.fish\ndht-cli completions nushell | save dht-cli.nu # then: use dht-cli.nu *"
)]
pub(crate) struct Completions {
    /// bash, zsh, fish or nushell
    #[argh(positional)]
    pub(crate) shell: Shell,
    /// words of a command line, which that script passes; completions of the last one are printed
    #[argh(positional, arg_name = "word")]
    pub(crate) words: Vec<String>,
}

/// A shell for which `completions` has a script.
#[derive(argh::FromArgValue, Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shell {
    Bash,
    Zsh,
    Fish,
    Nushell,
}
