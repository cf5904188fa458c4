//! Checks every response: whether its request can have it, and whether it agrees with everything reported before.

use dht_node::limits::{FETCH_WAIT_MAX_MS, FRAME_MAX, LINK_QUEUE_MAX};
use dht_node::node::Copies;
use dht_node::types::{Epoch, NodeId, Offset, Retention, TopicId};
use dht_node::wire::request::Start;
use dht_node::wire::response::{Description, Detail, ErrorResponse, Fetched, Page, Probe, Subscribed};
use dht_node::wire::{Class, Response, Status};

use crate::admin::on_wire;
use crate::asked::{Asked, What};
use crate::client::Ctx;
use crate::edges::SETTLED_US;
use crate::model::{Extent, Span};
use crate::truth::Life;

/// An epoch that no log has.
pub(crate) const NO_EPOCH: Epoch = Epoch(u32::MAX);

/// Handles a response.
pub(crate) fn answered(ctx: &mut Ctx<'_>, asked: &Asked, response: &Response) {
    is_in_time(ctx, asked);
    let span = asked.span(ctx);
    match (&asked.what, response) {
        (_, Response::Error(error)) => failed(ctx, asked, error),
        (What::Ping { node, token }, Response::Ping { node: who, token: echo, .. }) => {
            assert_eq!((*who, *echo), (on_wire(*node), *token), "PING was answered by another node");
        }
        (What::Create { topic, .. }, Response::Created { existed, description }) => {
            let there = ctx.model.surely_there(*topic, asked.sent_us, ctx.ground);
            assert!(*existed || there.is_none(), "a topic was created although it existed");
            assert!(description.topic.is_some(), "a topic was created but does not exist");
            described(ctx, asked, *topic, description);
        }
        (What::Delete { topic, id, attempt }, Response::Deleted { topic_id }) => {
            assert!(id.is_none_or(|id| id == *topic_id), "another topic was deleted");
            ctx.model.end_delete((*topic, *attempt), Some(*topic_id), span, ctx.ground);
        }
        (What::Alter { topic, id }, Response::Described(description)) => {
            let state = description.topic.expect("the altered topic exists");
            assert_eq!(state.id, *id, "another topic was altered");
            described(ctx, asked, *topic, description);
            ctx.model.altered(*id, state.retention, span);
        }
        (What::Trim { topic, id, to }, Response::Trimmed { topic_id, first, next }) => {
            assert_eq!(topic_id, id, "another topic was trimmed");
            assert!(to <= first && first <= next, "trimmed to {to}, but the log has {first} to {next}");
            trimmed(ctx, asked, *topic, Extent { first: *first, next: *next, bytes: None });
        }
        (What::Producer { topic, id }, Response::Opened(opened)) => {
            assert_eq!(opened.topic_id, *id, "opened in another topic");
            assert_eq!((opened.sequence, opened.forgotten), (1, 0));
            is_the_one(ctx, asked, *topic, Some(*id));
        }
        (What::Info { topic, id }, Response::Described(description)) => {
            let found = description.topic.expect("INFO of an absent topic is an error").id;
            assert!(id.is_none_or(|id| id == found), "INFO of another topic");
            described(ctx, asked, *topic, description);
        }
        (What::Query { topic }, Response::Described(description)) => described(ctx, asked, *topic, description),
        (What::Publish { topic, id, batch }, Response::Published(published)) => {
            assert!(id.is_none_or(|id| id == published.topic_id), "published to another topic");
            is_the_one(ctx, asked, *topic, Some(published.topic_id));
            assert_eq!(published.durability, ctx.profile.durability(), "another level");
            ctx.model.acknowledge((*topic, *batch), published, span, ctx.ground);
        }
        (What::Fetch { topic, .. }, Response::Fetched(read)) => fetched(ctx, asked, *topic, read),
        (What::Subscribe { topic, .. }, Response::Subscribed(response)) => subscribed(ctx, asked, *topic, response),
        // The subscriber checks these itself.
        (What::Unsubscribe { .. }, Response::Unsubscribed { .. }) => {}
        (What::List { node, cursor }, Response::Listed(page)) => listed(ctx, asked, (*node, *cursor), page),
        (What::Trace { target, ttl, .. }, Response::Traced(probe)) => traced(ctx, asked, (*target, *ttl), probe),
        (What::Cluster { node }, Response::Cluster(view)) => {
            assert_eq!(view.durability, ctx.profile.durability(), "another level");
            assert_eq!((view.node, view.links.len()), (on_wire(*node), usize::from(ctx.profile.dimension.bits())));
        }
        (What::Nodes { node, from }, Response::Nodes(page)) => {
            let all = ctx.profile.dimension.nodes();
            assert_eq!((page.node, page.next), (on_wire(*node), 0));
            assert!(
                page.nodes.iter().map(|found| found.node).eq(*from..all),
                "a page must list each node from {from} on once"
            );
        }
        (What::Stats { node }, Response::Stats { node: who, .. }) => assert_eq!(*who, on_wire(*node)),
        (what, response) => panic!("{response:?} answers {what:?}"),
    }
}

/// Checks that no request was answered late in a run in which nodes are only stopped in an orderly way.
fn is_in_time(ctx: &Ctx<'_>, asked: &Asked) {
    let waits_ms = if let What::Fetch { bounds, .. } = asked.what { bounds.wait_ms } else { 0 };
    let waited_us = ctx.now_us - asked.sent_us;
    let is_late = waited_us > ANSWERED_US + u64::from(waits_ms) * 1000;
    let is_reading = asked.is_reading && ctx.profile.disks.is_none();
    assert!(!(is_late && is_reading && ctx.profile.is_orderly()), "{asked:?} was answered after {waited_us} us");
}

/// Time in microseconds within which each request is answered in such a run.
const ANSWERED_US: u64 = 1_500_000;

/// Handles a request that will get no response: it was not executed, or its outcome is unknown.
pub(crate) fn lost(ctx: &mut Ctx<'_>, asked: &Asked, is_not_done: bool) {
    ctx.trace.totals.failed_requests += 1;
    if is_not_done {
        note_not_done(ctx, asked);
    }
}

/// Checks that a node in an orderly shutdown answers the requests that it has accepted.
pub(crate) fn not_dropped(ctx: &Ctx<'_>, asked: &Asked, by_node: bool) {
    let is_kept = ctx.profile.is_orderly() && asked.is_reading;
    assert!(!(is_kept && by_node), "a node shut down without answering {asked:?}");
}

/// Checks that a request found the topic that must have had the name at its time, if that is known.
fn is_the_one(ctx: &Ctx<'_>, asked: &Asked, topic: usize, found: Option<TopicId>) {
    if let Some(there) = ctx.model.surely_there(topic, asked.sent_us, ctx.ground) {
        assert_eq!(found, Some(there), "{asked:?} must find this topic");
    }
}

fn described(ctx: &mut Ctx<'_>, asked: &Asked, topic: usize, description: &Description) {
    let home = ctx.profile.topics[topic].home;
    assert_eq!(description.home, on_wire(home), "another home");
    let (path, is_calm) = (&description.path, ctx.profile.is_calm());
    assert_eq!(path.first(), Some(&on_wire(asked.ingress)), "the path starts at another node");
    assert!(path.windows(2).all(|hop| (hop[0] ^ hop[1]).is_power_of_two()), "no path: {path:?}");
    let is_known = is_calm && !ctx.ground.has_moved_since(asked.sent_us);
    assert!(!is_known || path.last() == Some(&on_wire(ctx.leader(topic))), "the path ends at another node");
    is_the_one(ctx, asked, topic, description.topic.map(|state| state.id));
    let Some(state) = description.topic else { return };
    assert_eq!(state.durability, ctx.profile.durability(), "another level");
    let span = asked.span(ctx);
    let life = Life { id: state.id, epoch: state.epoch };
    ctx.model.meet_life(topic, life, span, ctx.ground);
    let bounds = ctx.model.bounds(state.id, asked.sent_us);
    assert!(bounds.contains(&state.retention), "{:?} is not one of {bounds:?}", state.retention);
    let extent = Extent { first: state.first, next: state.next, bytes: Some(state.bytes) };
    ctx.model.check_extent(life, extent, span);
}

fn trimmed(ctx: &mut Ctx<'_>, asked: &Asked, topic: usize, extent: Extent) {
    let What::Trim { id, .. } = asked.what else { unreachable!("a trim was requested") };
    is_the_one(ctx, asked, topic, Some(id));
    ctx.model.totals.changes += 1;
    // The response does not contain the epoch of the log.
    if !ctx.profile.has_interval_sync() {
        let (span, life) = (asked.span(ctx), Life { id, epoch: Epoch(1) });
        ctx.model.meet_life(topic, life, span, ctx.ground);
        ctx.model.check_extent(life, extent, span);
    }
}

fn listed(ctx: &mut Ctx<'_>, asked: &Asked, (node, cursor): (usize, u64), page: &Page) {
    assert_eq!(page.node, on_wire(node), "LIST was answered by another node");
    assert!(page.cursor == 0 || page.cursor > cursor, "the cursor of a page did not advance");
    let span = asked.span(ctx);
    for found in &page.topics {
        let topic = ctx.model.names.iter().position(|name| name.plan.name == found.name);
        let topic = topic.unwrap_or_else(|| panic!("{} was never created", found.name));
        let home = ctx.profile.topics[topic].home;
        let is_there = home == node || ctx.profile.copies == Copies::Three && [1, 2].contains(&(home ^ node));
        assert!(is_there, "{} was listed by another node than its home", found.name);
        is_the_one(ctx, asked, topic, Some(found.id));
        ctx.model.meet(topic, found.id, span, ctx.ground);
        if ctx.profile.has_interval_sync() {
            // The response does not contain the epoch of the log.
            continue;
        }
        let life = Life { id: found.id, epoch: Epoch(1) };
        ctx.model.meet_life(topic, life, span, ctx.ground);
        let extent = Extent { first: found.first, next: found.next, bytes: Some(found.bytes) };
        ctx.model.check_extent(life, extent, span);
    }
}

fn fetched(ctx: &mut Ctx<'_>, asked: &Asked, topic: usize, read: &Fetched) {
    let What::Fetch { id, epoch, start, bounds, .. } = asked.what else { unreachable!("it is a fetch") };
    let Fetched { from, base, count, first, next, .. } = *read;
    let waited_us = ctx.now_us - asked.sent_us;
    assert!(id.is_none_or(|id| id == read.topic_id), "read from another topic");
    assert!(epoch.is_none_or(|epoch| epoch == read.epoch), "read from another epoch");
    is_the_one(ctx, asked, topic, Some(read.topic_id));
    let span = asked.span(ctx);
    let life = Life { id: read.topic_id, epoch: read.epoch };
    ctx.model.meet_life(topic, life, span, ctx.ground);
    let payload = read.payload.parts.concat();
    ctx.model.read(life, base, &payload, &read.runs);
    let extent = Extent { first, next, bytes: None };
    ctx.model.check_extent(life, extent, span);
    if bounds.wait_ms > 0 && from.0 >= ctx.model.logs[&life].nexts.at(asked.sent_us) {
        // It may have waited for records after the end.
        let is_there = if let Start::Offset(offset) = start { from == offset } else { from <= next };
        assert!(
            is_there && (base == from || base == first),
            "another record than was awaited: {asked:?} {life:?} from {from}, base {base}, first {first}, next {next}"
        );
        if count > 0 && asked.is_reading {
            is_prompt(ctx, life, from, asked.sent_us);
        }
        ctx.trace.totals.polled += u64::from(count > 0);
    } else {
        starts_there(ctx, life, start, (from, first, next));
        assert_eq!(base, from.max(first), "another record than requested");
    }
    assert!(base.plus(u64::from(count)) <= next, "records after the end of the log");
    assert!(count > 0 || base == next, "no records were sent although there are some");
    let is_in_time = count > 0 || from < base || waited_us >= u64::from(bounds.wait_ms.min(FETCH_WAIT_MAX_MS)) * 1000;
    assert!(is_in_time || ctx.trace.totals.drains > 0, "an answer without records after {waited_us} us");
    assert!(bounds.records == 0 || count <= bounds.records, "more records than requested");
    assert!(bounds.bytes == 0 || count == 1 || payload.len() <= bounds.bytes as usize, "more bytes than requested");
    ctx.trace.totals.trimmed_reads += u64::from(from < base);
}

fn subscribed(ctx: &mut Ctx<'_>, asked: &Asked, topic: usize, response: &Subscribed) {
    let What::Subscribe { id, epoch, start, .. } = asked.what else { unreachable!("it is a subscription") };
    let Subscribed { topic_id, from, first, next, .. } = *response;
    assert!(id.is_none_or(|id| id == topic_id), "subscribed to another topic");
    assert!(epoch.is_none_or(|epoch| epoch == response.epoch), "subscribed to another epoch");
    is_the_one(ctx, asked, topic, Some(topic_id));
    let span = asked.span(ctx);
    let life = Life { id: topic_id, epoch: response.epoch };
    ctx.model.meet_life(topic, life, span, ctx.ground);
    let extent = Extent { first, next, bytes: None };
    ctx.model.check_extent(life, extent, span);
    starts_there(ctx, life, start, (from, first, next));
}

/// Returns true if this start leads to that offset.
fn starts_there(ctx: &Ctx<'_>, life: Life, start: Start, (from, first, next): (Offset, Offset, Offset)) {
    match start {
        Start::Offset(offset) => assert_eq!(from, offset, "it starts at another offset"),
        Start::Earliest => assert_eq!(from, first, "the earliest record is not at the log start offset"),
        Start::Next => assert_eq!(from, next, "`next` is not the log end offset"),
        // Corrections of the clock are covered by the tests of the log.
        Start::Time(_) if ctx.ground.nodes[home_of(ctx, life)].is_misdated => {
            assert!(first <= from && from <= next, "it starts at an offset without a record");
        }
        Start::Time(time) => {
            let at = |offset: Offset| ctx.model.append_us(life, offset.0);
            let before = from.0.checked_sub(1).filter(|before| *before >= first.0).map(Offset);
            assert!(
                from == next || at(from).is_none_or(|append_us| append_us >= time),
                "the record at {from} is older than the requested time"
            );
            assert!(
                before.and_then(at).is_none_or(|append_us| append_us < time),
                "an earlier record has that time as well"
            );
        }
    }
}

/// Checks that in a calm run a record arrives soon after it was known to be stored, or was waited for.
pub(crate) fn is_prompt(ctx: &Ctx<'_>, life: Life, offset: Offset, since_us: u64) {
    let stored_us = ctx.model.logs[&life].nexts.reached_us(offset.0 + 1);
    let late_us = stored_us.map_or(0, |stored_us| ctx.now_us.saturating_sub(stored_us.max(since_us)));
    let is_calm = ctx.profile.is_calm() && !ctx.profile.is_slow() && !ctx.profile.is_overtaken();
    assert!(!is_calm || late_us <= PROMPT_US, "record {offset} of {life:?} arrived {late_us} us late");
}

/// Pushes are faster than that; lost pushes that must be detected first are not.
const PROMPT_US: u64 = 600_000;

fn traced(ctx: &Ctx<'_>, asked: &Asked, (target, ttl): (usize, u16), probe: &Probe) {
    let is_other = probe.node != on_wire(target) && ctx.ground.may_have_changed_leader(asked.sent_us);
    let target = if is_other { usize::from(probe.node) } else { target };
    let distance = distance(ctx, asked.ingress, target);
    assert_eq!(probe.node, on_wire(target), "the probe ended at another node");
    assert!(probe.hops <= ttl && u32::from(probe.hops) >= distance, "{} hops of {ttl}", probe.hops);
    if ctx.profile.is_calm() && asked.sent_us > SETTLED_US {
        assert_eq!((u32::from(probe.hops), probe.down.len()), (distance, 0), "a detour without a fault");
    }
}

/// Checks that a request can get this error and that the error is true. The error must have all details that the
/// protocol promises with its status, and no others.
pub(crate) fn has_its_details(error: &ErrorResponse) {
    let status = Status::from_number(error.status).expect("a known status");
    let (always, perhaps) = status.details();
    let found: Vec<_> = error.details.iter().map(Detail::tag).collect();
    let is_allowed = |tag| always.contains(tag) || perhaps.contains(tag);
    assert!(always.iter().all(|tag| found.contains(tag)) && found.iter().all(is_allowed), "{error:?}");
}

fn failed(ctx: &mut Ctx<'_>, asked: &Asked, error: &ErrorResponse) {
    ctx.trace.totals.failed_requests += 1;
    let status = Status::from_number(error.status).expect("a known status");
    let context = || format!("{asked:?} was answered {}: {} {:?}", status.name(), error.message, error.details);
    assert!(is_true(ctx, asked, status, error), "{}", context());
    has_its_details(error);
    if status == Status::Truncated {
        truncated(ctx, asked, error);
    }
    let is_healed = ctx.ground.healed_us.is_some_and(|healed_us| healed_us <= asked.sent_us);
    let is_failure = matches!(status.class(), Class::Transient | Class::Unknown) && status != Status::UnknownProducer;
    let is_crowded = status == Status::Overloaded && ctx.profile.nodes.link_mark < LINK_QUEUE_MAX;
    assert!(!is_healed || !is_failure || is_crowded, "all faults were repaired, but {}", context());
    if !matches!(status.class(), Class::Unknown | Class::Server) {
        note_not_done(ctx, asked);
    }
}

/// Records that a log has lost records, and from which offset on.
fn truncated(ctx: &mut Ctx<'_>, asked: &Asked, error: &ErrorResponse) {
    let (What::Fetch { topic, id, epoch, .. } | What::Subscribe { topic, id, epoch, .. }) = asked.what else { return };
    let is_waiting = matches!(asked.what, What::Fetch { bounds, .. } if bounds.wait_ms > 0);
    let Some((next, now)) = behind_loss(error) else {
        // An ingress that detects it by itself does not know the offset.
        return assert!(is_waiting, "{asked:?}: the error has no offset");
    };
    if let Some((id, epoch)) = id.zip(epoch.filter(|epoch| *epoch != NO_EPOCH)) {
        ctx.model.truncated(topic, Life { id, epoch }, (now, next), ctx.ground);
    }
}

/// Returns the content of TRUNCATED: the first offset that may denote another record, and the epoch.
pub(crate) fn behind_loss(error: &ErrorResponse) -> Option<(Offset, Epoch)> {
    let next = error.details.iter().find_map(|detail| if let Detail::Next(next) = detail { Some(*next) } else { None });
    let epoch = |detail: &Detail| if let Detail::Epoch(epoch) = detail { Some(*epoch) } else { None };
    next.zip(error.details.iter().find_map(epoch))
}

/// Records that a request was not executed, and never will be.
fn note_not_done(ctx: &mut Ctx<'_>, asked: &Asked) {
    let span = asked.span(ctx);
    if let What::Publish { batch, .. } = asked.what {
        ctx.model.deny(batch);
    } else if let What::Delete { topic, attempt, .. } = asked.what {
        ctx.model.end_delete((topic, attempt), None, span, ctx.ground);
    }
}

/// Returns true if UNREACHABLE or OVERLOADED can be true. While the nodes of a calm run start, requests wait for a
/// target that is out of reach, and later ones wait behind them.
fn may_be_refused(ctx: &Ctx<'_>, asked: &Asked, status: Status) -> bool {
    let may_be_overloaded = status == Status::Overloaded && !ctx.profile.is_calm();
    may_be_overloaded || may_be_out_of_reach(ctx, asked)
}

/// Returns true if the node that must execute a request may have been out of reach of the ingress.
fn may_be_out_of_reach(ctx: &Ctx<'_>, asked: &Asked) -> bool {
    match asked.place() {
        Place::Topic(topic) => ctx.may_be_out_of_reach(asked.ingress, topic, asked.sent_us),
        Place::Node(node) => ctx.ground.may_be_unreachable(asked.ingress, node, asked.sent_us),
    }
}

/// Returns true if NOT_LEADER or NO_QUORUM can be a correct answer.
fn may_lack_leader(ctx: &Ctx<'_>, asked: &Asked, status: Status) -> bool {
    if status == Status::NoQuorum && matches!(asked.what, What::List { .. }) {
        // A LIST needs a majority in every group that the node leads.
        return ctx.ground.may_have_changed_leader(asked.sent_us);
    }
    // In an orderly shutdown leadership is handed over first, and ingresses send all requests but TRACE again.
    let is_followed = ctx.profile.is_orderly() && !matches!(asked.what, What::Trace { .. });
    ctx.profile.copies == Copies::Three && !is_followed && may_be_out_of_reach(ctx, asked)
}

/// Returns true if OUTCOME_UNKNOWN can be a correct answer.
fn may_be_unknown(ctx: &Ctx<'_>, asked: &Asked) -> bool {
    if matches!(asked.what, What::Publish { .. }) && ctx.ground.has_moved_since(asked.sent_us) {
        // The ingress sent the batch to two leaders, and its publisher has begun a new epoch of its producer meanwhile.
        return true;
    }
    !ctx.profile.is_orderly() && (may_be_lost(ctx, asked) || ctx.profile.is_held_up())
}

/// Returns true if a request or its answer may have been lost on the way.
fn may_be_lost(ctx: &Ctx<'_>, asked: &Asked) -> bool {
    ctx.profile.is_slow() || ctx.ground.may_lose_frames(asked.sent_us) || may_be_out_of_reach(ctx, asked)
}

fn is_true(ctx: &Ctx<'_>, asked: &Asked, status: Status, error: &ErrorResponse) -> bool {
    let is_lossy = ctx.profile.has_interval_sync();
    let next = error.details.iter().find_map(|detail| if let Detail::Next(next) = detail { Some(*next) } else { None });
    let other = error.details.iter().find_map(|detail| if let Detail::TopicId(id) = detail { Some(*id) } else { None });
    match (status, &asked.what) {
        (Status::Unreachable | Status::Overloaded, _) => may_be_refused(ctx, asked, status),
        (Status::NotLeader | Status::NoQuorum, _) => may_lack_leader(ctx, asked, status),
        (Status::OutcomeUnknown, _) => may_be_unknown(ctx, asked),
        (Status::TtlExpired, What::Trace { ttl, .. }) => {
            let is_short = u32::from(*ttl) < distance(ctx, asked.ingress, asked.target(ctx));
            let is_direct = ctx.profile.is_calm() && asked.sent_us > SETTLED_US;
            error.details.contains(&Detail::Hops(*ttl)) && (is_short || !is_direct)
        }
        (Status::TtlExpired, _) => may_be_lost(ctx, asked),
        (Status::ShuttingDown, _) => ctx.trace.totals.drains > 0,
        (_, what) if what.is_change() => is_true_of_change(ctx, asked, status, next, other),
        (
            Status::UnknownTopic,
            What::Info { topic, .. }
            | What::Publish { topic, .. }
            | What::Fetch { topic, .. }
            | What::Subscribe { topic, .. }
            | What::Delete { topic, .. },
        ) => ctx.model.surely_there(*topic, asked.sent_us, ctx.ground).is_none(),
        (
            Status::Recreated,
            What::Info { topic, id: Some(id) }
            | What::Publish { topic, id: Some(id), .. }
            | What::Fetch { topic, id: Some(id), .. }
            | What::Subscribe { topic, id: Some(id), .. }
            | What::Delete { topic, id: Some(id), .. },
        ) => {
            let there = ctx.model.surely_there(*topic, asked.sent_us, ctx.ground);
            other.is_some_and(|other| other != *id && there.is_none_or(|there| there == other))
        }
        // The topic was re-created while a request waited for its next record.
        (Status::Recreated, What::Fetch { topic, bounds, .. }) if bounds.wait_ms > 0 => {
            let there = ctx.model.surely_there(*topic, asked.sent_us, ctx.ground);
            other.is_some_and(|other| there.is_none_or(|there| there == other))
        }
        (Status::TopicExists, What::Create { topic, retention }) => other.is_some() && differs(ctx, *topic, *retention),
        (Status::Quota, What::Create { .. } | What::Publish { .. }) => ctx.profile.is_scarce(),
        (
            Status::OffsetOutOfRange,
            What::Fetch { start: Start::Offset(offset), id, epoch, .. }
            | What::Subscribe { start: Start::Offset(offset), id, epoch, .. },
        ) => {
            let life = id.zip(*epoch).map(|(id, epoch)| Life { id, epoch });
            let least = life.and_then(|life| Some(ctx.model.logs.get(&life)?.nexts.at(asked.sent_us)));
            next.is_some_and(|next| next < *offset && least.is_none_or(|least| next.0 >= least))
        }
        // A log lost records while a request waited for its next one.
        (Status::Truncated, What::Fetch { epoch: None, bounds, .. }) => bounds.wait_ms > 0 && is_lossy,
        (Status::Truncated, What::Fetch { epoch: Some(epoch), .. } | What::Subscribe { epoch: Some(epoch), .. }) => {
            *epoch == NO_EPOCH || is_lossy
        }
        // The subscriber checks which of them is true.
        (Status::BadRequest, What::Subscribe { again: true, .. })
        | (Status::UnknownSubscription, What::Unsubscribe { .. })
        | (Status::BadRequest, What::Misuse { .. }) => true,
        (Status::SequenceReused, What::Publish { batch, .. }) => ctx.model.is_forged(*batch),
        (Status::TooLarge, What::Fetch { .. }) => {
            asked.frame_max < FRAME_MAX && ctx.profile.clients.record_bytes + 4096 > asked.frame_max as usize
        }
        (Status::SequenceGap, What::Publish { batch, .. }) => {
            let is_ordered = ctx.profile.is_calm() && !ctx.profile.is_scarce() && asked.sent_us > SETTLED_US;
            ctx.model.is_sequenced(*batch) && !is_ordered
        }
        (Status::ProducerFenced, What::Publish { batch, .. }) => ctx.model.is_fenced(*batch),
        (Status::UnknownProducer, What::Publish { batch, .. }) => ctx.model.is_sequenced(*batch),
        _ => false,
    }
}

/// Returns true if the topic may have another retention than that.
fn differs(ctx: &Ctx<'_>, topic: usize, retention: Retention) -> bool {
    retention != ctx.profile.topics[topic].retention || ctx.profile.clients.changes > 0
}

/// Does the same for a request that changes a topic, which it names by its id.
fn is_true_of_change(
    ctx: &Ctx<'_>,
    asked: &Asked,
    status: Status,
    next: Option<Offset>,
    other: Option<TopicId>,
) -> bool {
    let (What::Alter { topic, id } | What::Trim { topic, id, .. } | What::Producer { topic, id }) = asked.what else {
        unreachable!("it changes a topic")
    };
    let there = ctx.model.surely_there(topic, asked.sent_us, ctx.ground);
    match (status, &asked.what) {
        (Status::UnknownTopic, _) => there.is_none(),
        (Status::Recreated, _) => other.is_some_and(|other| other != id && there.is_none_or(|there| there == other)),
        (Status::OffsetOutOfRange, What::Trim { to, .. }) => next.is_some_and(|next| next < *to),
        (Status::Quota, What::Producer { .. }) => ctx.profile.is_scarce(),
        _ => false,
    }
}

fn home_of(ctx: &Ctx<'_>, life: Life) -> usize {
    ctx.profile.topics[ctx.model.topics[&life.id].name].home
}

fn distance(ctx: &Ctx<'_>, a: usize, b: usize) -> u32 {
    let id = |node: usize| NodeId::new(on_wire(node), ctx.profile.dimension).expect("a node of this cube");
    id(a).distance(id(b))
}

impl Asked {
    const fn span(&self, ctx: &Ctx<'_>) -> Span {
        Span { asked_us: self.sent_us, now_us: ctx.now_us }
    }

    /// Returns the node that must answer.
    fn target(&self, ctx: &Ctx<'_>) -> usize {
        match self.place() {
            Place::Topic(topic) => ctx.leader(topic),
            Place::Node(node) => node,
        }
    }

    /// Returns where the request is executed.
    fn place(&self) -> Place {
        match self.what {
            What::Ping { node, .. }
            | What::List { node, .. }
            | What::Cluster { node }
            | What::Stats { node }
            | What::Nodes { node, .. } => Place::Node(node),
            What::Trace { target, topic, .. } => topic.map_or(Place::Node(target), Place::Topic),
            What::Create { topic, .. }
            | What::Delete { topic, .. }
            | What::Alter { topic, .. }
            | What::Trim { topic, .. }
            | What::Producer { topic, .. }
            | What::Info { topic, .. }
            | What::Publish { topic, .. }
            | What::Fetch { topic, .. }
            | What::Subscribe { topic, .. }
            | What::Query { topic } => Place::Topic(topic),
            What::Unsubscribe { .. } | What::Misuse { .. } => Place::Node(self.ingress),
        }
    }
}

/// Where a request is executed.
enum Place {
    Node(usize),
    /// The leader of the topic's slot.
    Topic(usize),
}
