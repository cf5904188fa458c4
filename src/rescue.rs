//! The subcommands `inspect`, `repair`, `backup` and `recover`, which work on a node's data folder. `dht-node` without
//! a subcommand is the daemon.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use argh::FromArgs;
use dht_node::entry::Place;
use dht_node::journal::{
    BackupError, Copied, Folder, Identity, IndexState, LogLoss, Mark, OpenError, Repaired, Report, SegmentReport,
    TopicReport, Watermarked, backup, check_backup_folder, inspect, owner, repair,
};
use dht_node::net::Clock;
use dht_node::node::{Node, Settings, SourceLimits};
use dht_node::storage::{Anew, AnewGroup, Plan, RecoverError, Scratch, recover};
use dht_node::types::{Copies, Dimension, NodeId, Now, Offset, Retention, SlotId, Slots};
use dht_node::wire::response::Durability;
use serde_json::{Value, json};

/// Exit code when records cannot be read, or something in the folder is damaged or missing.
const EXIT_LOSS: u8 = 1;

/// Exit code when the command line or the folder cannot be used.
const EXIT_USAGE: u8 = 2;

/// Reads everything in the data folder of a node and reports the state of its segments and topics. Changes nothing, and
/// can be used while the node is running.
#[derive(Debug, FromArgs)]
#[argh(help_triggers("-h", "--help"), name = "inspect")]
#[argh(error_code(1, "something is damaged or missing"))]
#[argh(error_code(2, "the command line or the folder cannot be used"))]
struct Inspect {
    /// print the report as one JSON object
    #[argh(switch)]
    json: bool,

    /// data folder of the node, as given to it with --data
    #[argh(positional, arg_name = "folder")]
    folder: PathBuf,
}

/// Repairs the data folder of a stopped node: rebuilds damaged or missing files as far as the rest of the folder
/// allows. Where records cannot be read, it lists them and changes nothing, unless --drop-damaged is given. The files
/// that it replaces are first copied to FOLDER.damaged-1, or to the next number that is free.
#[derive(Debug, FromArgs)]
#[argh(help_triggers("-h", "--help"), name = "repair")]
#[argh(error_code(1, "records cannot be read, and --drop-damaged was not given"))]
#[argh(error_code(2, "the command line or the folder cannot be used, or a node is using it"))]
struct Repair {
    /// drop exactly what cannot be read; readers are told of a gap, or of a new epoch where offsets are uncertain
    #[argh(switch)]
    drop_damaged: bool,

    /// print the report as one JSON object
    #[argh(switch)]
    json: bool,

    /// data folder of the node, as given to it with --data
    #[argh(positional, arg_name = "folder")]
    folder: PathBuf,
}

/// Backs up the data folder of a node, which may be running. Everything that was acknowledged before the command is in
/// the backup. A later backup to the same folder copies only what is new. Until the command succeeds, the folder holds
/// the previous backup. To restore, copy the folder and start the node with the copy as --data: records that were
/// acknowledged after the backup are lost, and every topic begins a new epoch, so that its readers are told.
#[derive(Debug, FromArgs)]
#[argh(help_triggers("-h", "--help"), name = "backup")]
#[argh(error_code(1, "the journal is damaged; the output says whether the backup was made nevertheless"))]
#[argh(error_code(2, "the command line or a folder cannot be used, or another backup to the folder is in progress"))]
struct Backup {
    /// print the report as one JSON object
    #[argh(switch)]
    json: bool,

    /// data folder of the node, as given to it with --data
    #[argh(positional, arg_name = "folder")]
    folder: PathBuf,

    /// folder for the backup: new, empty, or with an earlier backup of the same node
    #[argh(positional, arg_name = "dest")]
    dest: PathBuf,
}

/// Recovers topics that three nodes keep (--replicas 3) from the data folder of one of them, while its node is stopped:
/// when the disks of the two others are lost for good, or when all nodes were restored from backups. Its copy becomes
/// the only one. Every record in it counts, also one that was not acknowledged; records that it lacks are lost, and
/// every topic begins a new epoch, so that its readers are told. Then the two other nodes are started with empty
/// folders, and get the topics from it. In a backup, the copies of all other topics are dropped. Never start a node
/// again on a folder from before: its copy takes no part any more.
#[derive(Debug, FromArgs)]
#[argh(help_triggers("-h", "--help"), name = "recover")]
#[argh(error_code(1, "the folder is damaged"))]
#[argh(error_code(2, "the command line or the folder cannot be used, or nothing has to be recovered"))]
struct Recover {
    /// id of the node that is the home of the topics to recover, as that node has it with --id; may be repeated
    #[argh(option, arg_name = "id")]
    home: Vec<String>,

    /// use a copy even if it is known to be incomplete, because it was still being filled from the other nodes
    #[argh(switch)]
    incomplete: bool,

    /// data folder of the node, as given to it with --data
    #[argh(positional, arg_name = "folder")]
    folder: PathBuf,
}

/// Runs the subcommand that the first word names; returns `None` when it names none. A repair makes the id of a folder
/// that has none from `random` bits.
pub(crate) fn run(words: &[&str], random: u64) -> Option<ExitCode> {
    let (command, rest) = words.split_first()?;
    Some(match *command {
        "inspect" => with_arguments(command, rest, |arguments: &Inspect| {
            let result = run_inspect(&arguments.folder, arguments.json);
            result.map_err(|error| (arguments.folder.clone(), error))
        }),
        "repair" => with_arguments(command, rest, |arguments: &Repair| {
            let result = run_repair(arguments, random);
            result.map_err(|error| (arguments.folder.clone(), error))
        }),
        "backup" => with_arguments(command, rest, run_backup),
        "recover" => with_arguments(command, rest, |arguments: &Recover| {
            run_recover(arguments).map_err(|error| (arguments.folder.clone(), error))
        }),
        _ => return None,
    })
}

fn with_arguments<A: FromArgs>(
    command: &str,
    words: &[&str],
    run: impl FnOnce(&A) -> Result<ExitCode, (PathBuf, OpenError)>,
) -> ExitCode {
    env_logger::Builder::from_env(env_logger::Env::default().default_filter_or("warn")).init();
    match A::from_args(&["dht-node", command], words) {
        Ok(arguments) => run(&arguments).unwrap_or_else(|(folder, error)| {
            let code = if matches!(error, OpenError::Damaged { .. }) { EXIT_LOSS } else { EXIT_USAGE };
            fail(code, &format!("{}: {error}", folder.display()))
        }),
        Err(exit) if exit.status.is_ok() => say(&exit.output),
        Err(exit) => fail(EXIT_USAGE, &format!("{}; see dht-node {command} --help", exit.output.trim())),
    }
}

fn run_inspect(path: &Path, is_json: bool) -> Result<ExitCode, OpenError> {
    let folder = Folder::look(path.to_owned()).map_err(OpenError::folder)?;
    let is_live = folder.is_taken().map_err(OpenError::folder)?;
    let identity = owner(&folder)?;
    let (identity, report) = inspect(&folder, is_live, || scratch(&identity))?;
    if is_json {
        print_line(&to_json(&identity, &report).to_string());
    } else {
        print(path, &identity, &report);
    }
    Ok(ExitCode::from(if report.is_sound() { 0 } else { EXIT_LOSS }))
}

fn run_repair(arguments: &Repair, random: u64) -> Result<ExitCode, OpenError> {
    let path = &arguments.folder;
    let identity = owner(&Folder::look(path.clone()).map_err(OpenError::folder)?)?;
    let folder = Folder::make(path.clone()).map_err(OpenError::folder)?;
    let folder = folder.take().map_err(OpenError::folder)?.ok_or(OpenError::Busy)?;
    let kept =
        (1..).map(|number| beside(path, number)).find(|path| !path.exists()).expect("one of all numbers is free");
    let aside = Folder::make(kept.clone()).map_err(OpenError::folder)?;
    let repaired = repair(&folder, &aside, (arguments.drop_damaged, random), &mut scratch(&identity));
    if repaired.as_ref().is_ok_and(|repaired| repaired.aside.is_empty()) {
        std::fs::remove_dir(&kept).map_err(OpenError::folder)?;
    }
    let Repaired { report, is_done, aside } = repaired?;
    if arguments.json {
        let mut json = to_json(&identity, &report);
        json["repaired"] = is_done.into();
        json["originals"] = if aside.is_empty() { Value::Null } else { kept.display().to_string().into() };
        print_line(&json.to_string());
    } else {
        tell_repair(path, &report, (is_done, !aside.is_empty()), &kept);
    }
    let is_refused = !is_done && report.loses_records();
    Ok(ExitCode::from(if is_refused { EXIT_LOSS } else { 0 }))
}

fn run_backup(arguments: &Backup) -> Result<ExitCode, (PathBuf, OpenError)> {
    let Backup { json, folder, dest } = arguments;
    let of_source = |error: OpenError| (folder.clone(), error);
    let of_dest = |error: OpenError| (dest.clone(), error);
    let source = Folder::look(folder.clone()).map_err(OpenError::folder).map_err(of_source)?;
    let identity = owner(&source).map_err(of_source)?;
    check_places(folder, dest).map_err(of_dest)?;
    if dest.exists() {
        // Checked before the folder is locked, which creates a file in it.
        let target = Folder::look(dest.clone()).map_err(OpenError::folder).map_err(of_dest)?;
        check_backup_folder(&target, &identity).map_err(of_dest)?;
    }
    let target = Folder::make(dest.clone()).map_err(OpenError::folder).map_err(of_dest)?;
    let busy = || (dest.clone(), OpenError::Foreign { what: "another process uses it".to_owned() });
    let target = target.take().map_err(OpenError::folder).map_err(of_dest)?.ok_or_else(busy)?;
    let copied = backup(&source, &target).map_err(|error| match error {
        BackupError::Source(error) => of_source(error),
        BackupError::Target(error) => of_dest(error),
    })?;
    let Copied { files, bytes, kept, bodies, damaged } = &copied;
    if *json {
        let shown = json!({
            "folder": folder.display().to_string(), "dest": dest.display().to_string(), "files": files, "bytes": bytes,
            "kept": kept, "checkpoint": bodies, "damaged": damaged,
        });
        print_line(&shown.to_string());
    } else {
        print_line(&format!("{} is backed up in {}", folder.display(), dest.display()));
        print_line(&format!("files copied: {files}, {bytes} bytes in total; segments kept from before: {kept}"));
        damaged.iter().for_each(|line| print_line(&format!("in the journal itself, {line}; see dht-node inspect")));
    }
    Ok(ExitCode::from(if damaged.is_empty() { 0 } else { EXIT_LOSS }))
}

fn run_recover(arguments: &Recover) -> Result<ExitCode, OpenError> {
    let path = &arguments.folder;
    let refuse = |why: &dyn std::fmt::Display| Ok(fail(EXIT_USAGE, &format!("{}: {why}", path.display())));
    let identity = owner(&Folder::look(path.clone()).map_err(OpenError::folder)?)?;
    let mut node = blank_node(&identity);
    let Identity { dimension, .. } = identity;
    let name = |slot: SlotId| home_of(slot, dimension).binary(dimension);
    let kept: Vec<String> = node.slots().into_iter().map(name).collect();
    let mut plan =
        Plan { slots: Vec::new(), takes_incomplete: arguments.incomplete, at_us: Clock::start().now().wall_us };
    for text in &arguments.home {
        match node.slots().into_iter().find(|slot| name(*slot) == *text) {
            Some(slot) if !plan.slots.contains(&slot) => plan.slots.push(slot),
            Some(_) => {}
            None => return refuse(&format!("--home {text}: this node keeps the topics of {} only", kept.join(", "))),
        }
    }
    if plan.slots.is_empty() && identity.copies == Copies::Three {
        return refuse(&format!(
            "say which topics to recover, with --home: this node keeps those of {}",
            kept.join(", ")
        ));
    }
    let folder = Folder::make(path.clone()).map_err(OpenError::folder)?;
    let folder = folder.take().map_err(OpenError::folder)?.ok_or(OpenError::Busy)?;
    match recover(&folder, &identity, &plan, &mut node) {
        Ok(anew) => {
            tell_recovery(path, &identity, &anew);
            Ok(ExitCode::SUCCESS)
        }
        Err(RecoverError::Open(error)) => Err(error),
        Err(error) => refuse(&error),
    }
}

/// Returns the home of the topics of a slot.
fn home_of(slot: SlotId, dimension: Dimension) -> NodeId {
    NodeId::new(slot.index(), dimension).expect("there is one slot for each node")
}

/// Prints what a recovery has done, what nobody can know, and what to do next.
fn tell_recovery(path: &Path, identity: &Identity, anew: &Anew) {
    let Identity { dimension, node, .. } = identity;
    let name = |slot: SlotId| home_of(slot, *dimension).binary(*dimension);
    for AnewGroup { slot, topics, bodies, unsettled, is_incomplete } in &anew.groups {
        let home = home_of(*slot, *dimension);
        let members = [home, home.across(0), home.across(1)].into_iter().filter(|member| member != node);
        let others: Vec<String> = members.map(|member| member.binary(*dimension)).collect();
        let home = name(*slot);
        print_line(&format!(
            "the topics of {home} ({topics}) continue from {}; each of them begins a new epoch",
            path.display()
        ));
        print_line(&format!(
            "  of {bodies} bodies in its log, {unsettled} were not known to be committed; all of them count"
        ));
        if *is_incomplete {
            print_line("  this copy was incomplete: it had not yet got everything from the other nodes");
        }
        print_line("  it cannot be known which acknowledged records only the lost disks had: they are missing");
        print_line(&format!(
            "  start this node, and nodes {} without a copy of these topics: with empty data folders, or recovered like \
             this one; the topics are available once all three run",
            others.join(" and ")
        ));
    }
    if !anew.others.is_empty() {
        let others: Vec<String> = anew.others.iter().map(|slot| name(*slot)).collect();
        let what = if anew.was_backup {
            "its copies are dropped, and filled again from the nodes on which these topics are recovered"
        } else {
            "unchanged"
        };
        print_line(&format!("the topics of {}: {what}", others.join(" and ")));
    }
}

/// Refuses a backup inside the folder of the node, which is lost together with it, or around it.
fn check_places(folder: &Path, dest: &Path) -> Result<(), OpenError> {
    let dest = std::path::absolute(dest).map_err(OpenError::folder)?;
    let real = |path: &Path| path.canonicalize().map_err(OpenError::folder);
    let present = dest.ancestors().find(|path| path.exists()).unwrap_or_else(|| Path::new("/"));
    let (folder, present) = (real(folder)?, real(present)?);
    let what = if present.starts_with(&folder) {
        "it is or lies in the folder of the node"
    } else if dest.exists() && folder.starts_with(&present) {
        "the folder of the node lies in it"
    } else {
        return Ok(());
    };
    Err(OpenError::Foreign { what: what.to_owned() })
}

fn beside(path: &Path, number: u32) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".damaged-{number}"));
    name.into()
}

/// Returns a state to read the folder into.
fn scratch(identity: &Identity) -> Scratch {
    Scratch::new(blank_node(identity))
}

/// Returns a node that serves nobody.
fn blank_node(identity: &Identity) -> Node {
    let Identity { cluster, dimension, node, copies } = identity.clone();
    let settings = Settings {
        id: node,
        dimension,
        slots: Slots::one_per_node(dimension),
        copies,
        cluster,
        software: String::new(),
        addresses: vec![String::new(); usize::from(dimension.nodes())],
        instance: 0,
        origin_mark: 0,
        seed: 0,
        memory_bytes: 0,
        retention: Retention::default(),
        durability: Durability::Synced,
        clients_max: 0,
        handshakes_max: 0,
        source_limits: SourceLimits::default(),
        log_window_bytes: 0,
    };
    Node::new(settings, Now { monotonic_us: 0, wall_us: 0 })
}

/// Prints a report as text.
fn print(path: &Path, identity: &Identity, report: &Report) {
    let Identity { cluster, dimension, node, copies } = identity;
    let (id, entries) = (node.binary(*dimension), report.entries);
    let shared = match copies {
        Copies::One => "",
        Copies::Three => ", whose topics two other nodes keep as well",
    };
    print_line(&format!(
        "{}: node {id} of a cube of dimension {}, cluster {cluster}{shared}",
        path.display(),
        dimension.bits()
    ));
    print_line(&format!("{entries} entries, {} segments, {} topics", report.segments.len(), report.topics.len()));
    print_line(&match report.watermark {
        Watermarked::At(Mark { place, bodies }) => {
            let Place { segment, position } = place;
            format!("watermark: everything up to entry {bodies} was durable (segment {segment}, byte {position})")
        }
        Watermarked::Lost => "the watermark is missing or damaged".to_owned(),
        Watermarked::Never => "no watermark".to_owned(),
    });
    for (number, of) in &report.segments {
        print_line(&segment_line(*number, of));
    }
    for topic in report.topics.values() {
        print_line(&topic_line(topic));
    }
    report.damaged_checkpoints.iter().for_each(|line| print_line(line));
    losses(report).iter().for_each(|line| print_line(line));
    if report.is_sound() {
        print_line("everything can be read");
    } else if report.loses_records() {
        print_line("records are lost; to drop them, stop the node and run: dht-node repair --drop-damaged FOLDER");
    } else {
        print_line("no records are lost; to repair the folder, stop the node and run: dht-node repair FOLDER");
    }
}

fn segment_line(number: u32, of: &SegmentReport) -> String {
    let SegmentReport { bytes, used, records, .. } = of;
    let index = match of.index {
        IndexState::None => "",
        IndexState::Sound => ", its index is sound",
        IndexState::Damaged => ", its index is missing or damaged",
    };
    if of.is_missing {
        return format!("segment {number}: missing");
    }
    let damage: Vec<String> = of.damage.iter().map(|range| format!("{} to {}", range.start, range.end)).collect();
    let damage = if damage.is_empty() { String::new() } else { format!(", damaged at bytes {}", damage.join(", ")) };
    format!("segment {number}: {records} records in {used} of {bytes} bytes{index}{damage}")
}

fn topic_line(topic: &TopicReport) -> String {
    let TopicReport { name, first, next, dropped, .. } = topic;
    let count: u64 = dropped.iter().map(|(from, to)| to.0 - from.0).sum();
    let dropped = match count {
        0 => String::new(),
        _ => format!(", of which a repair has dropped {count} (offsets {})", ranges(dropped)),
    };
    format!("topic {name}: {} records from offset {first} on{dropped}{}", next.0 - first.0, lost_of(&topic.lost))
}

fn lost_of(lost: &[(Offset, Offset)]) -> String {
    if lost.is_empty() { String::new() } else { format!("; offsets {} cannot be read", ranges(lost)) }
}

fn ranges(ranges: &[(Offset, Offset)]) -> String {
    let ranges: Vec<String> = ranges.iter().map(|(from, to)| format!("{from} to {}", to.0 - 1)).collect();
    ranges.join(", ")
}

/// Returns lines about the entries after the newest checkpoint that cannot be read.
fn losses(report: &Report) -> Vec<String> {
    let mut lines = Vec::new();
    for LogLoss { segment, position, from, to, ends } in &report.log_losses {
        let last = to - 1;
        let rest = if last >= report.entries {
            "they are the last ones, and the watermark says that they were durable"
        } else {
            "later entries can"
        };
        lines.push(format!(
            "entries {from} to {last} of the log cannot be read (segment {segment}, byte {position}); {rest}"
        ));
        for (topic, end) in ends {
            lines.push(format!("  topic {topic}: offsets are assigned anew from {end} on, in a new epoch"));
        }
    }
    lines
}

fn tell_repair(path: &Path, report: &Report, (is_done, has_kept): (bool, bool), kept: &Path) {
    let shown = path.display();
    for topic in report.topics.values().filter(|topic| !topic.lost.is_empty()) {
        print_line(&format!("damaged topic {}{}", topic.name, lost_of(&topic.lost)));
    }
    losses(report).iter().for_each(|line| print_line(line));
    if !is_done && report.loses_records() {
        print_line(&format!(
            "nothing was changed; to drop what cannot be read, run: dht-node repair --drop-damaged {shown}"
        ));
    } else if is_done {
        let given_up = if report.loses_records() { "what could not be read was dropped" } else { "nothing is lost" };
        print_line(&format!("{shown} is repaired; {given_up}"));
    } else {
        print_line(&format!("{shown} needs no repair"));
    }
    if has_kept {
        print_line(&format!("the original files are in {}", kept.display()));
    }
}

fn to_json(identity: &Identity, report: &Report) -> Value {
    let Identity { cluster, dimension, node, copies } = identity;
    let segment = |(number, of): (&u32, &SegmentReport)| {
        let index = match of.index {
            IndexState::None => Value::Null,
            IndexState::Sound => "sound".into(),
            IndexState::Damaged => "damaged".into(),
        };
        let damage: Vec<[u64; 2]> = of.damage.iter().map(|range| [range.start, range.end]).collect();
        json!({
            "segment": number, "missing": of.is_missing, "bytes": of.bytes, "used": of.used,
            "records": of.records, "index": index, "damage": damage,
        })
    };
    let topics = report.topics.values().map(|topic| {
        let ranges = |of: &[(Offset, Offset)]| of.iter().map(|(from, to)| [from.0, to.0]).collect::<Vec<_>>();
        json!({
            "topic": topic.name, "first_offset": topic.first.0, "next_offset": topic.next.0,
            "lost": ranges(&topic.lost), "dropped": ranges(&topic.dropped),
        })
    });
    let losses = report.log_losses.iter().map(|loss| {
        let ends: serde_json::Map<String, Value> =
            loss.ends.iter().map(|(topic, end)| (topic.clone(), end.0.into())).collect();
        json!({
            "segment": loss.segment, "position": loss.position, "entries": [loss.from, loss.to], "anew_from": ends,
        })
    });
    let watermark = match report.watermark {
        Watermarked::At(Mark { place, bodies }) => {
            json!({"segment": place.segment, "position": place.position, "entry": bodies})
        }
        Watermarked::Lost => "lost".into(),
        Watermarked::Never => Value::Null,
    };
    json!({
        "node": node.binary(*dimension), "dimension": dimension.bits(), "cluster": cluster, "replicas": copies.number(),
        "sound": report.is_sound(), "entries": report.entries, "watermark": watermark,
        "segments": report.segments.iter().map(segment).collect::<Vec<_>>(),
        "topics": topics.collect::<Vec<_>>(),
        "damaged_checkpoints": report.damaged_checkpoints,
        "lost_entries": losses.collect::<Vec<_>>(),
    })
}

fn say(line: &str) -> ExitCode {
    print_line(line);
    ExitCode::SUCCESS
}

fn print_line(line: &str) {
    // A failure is ignored: the reader of a pipe may be gone.
    let _ = writeln!(io::stdout(), "{}", line.trim_end());
}

fn fail(code: u8, line: &str) -> ExitCode {
    let _ = writeln!(io::stderr(), "dht-node: {line}");
    ExitCode::from(code)
}
