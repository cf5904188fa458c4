//! What must hold between the limits, checked by the compiler.

use super::*;

const _: () = {
    assert!(OWN_BUFFER_MIN < READ_BUDGET);
    assert!(OWN_BUFFER_MIN <= READ_LEAST && READ_LEAST < READ_BUDGET && READ_SHORT < READ_LEAST);
    assert!(INPUT_BYTES_LEAST >= 4 * FRAME_MAX as u64, "the largest frame is received at once");
    assert!(DIMENSION_MAX as u64 * VISIT_WORK <= TURN_WORK / 3 * 2, "links leave clients a third of each turn");
    assert!(LINK_PING_US * 3 < LINK_SILENCE_US, "two lost answers must not end a link");
    assert!(TICK_US * 2 < LINK_PING_US, "a tick finds every link in time");
    assert!(DUPLICATE_PROBE_US < LINK_SILENCE_US);
    assert!(RETRY_SILENCE_US * 3 > LINK_SILENCE_US + TICK_US, "the third time, a dead link on the way is known");
    assert!(
        RETRY_AFTER_LOSS_US > LINK_PING_US + TICK_US + RETRY_MOST_US,
        "all nodes know of a dead link at one of the attempts"
    );
    assert!(CLIENT_CHARGE_MAX < CLIENTS_BYTES_LEAST, "one client does not use up the budget of all");
    assert!(PUSH_QUEUE_MAX < LINK_QUEUE_MAX, "pushes leave room for requests");
    assert!(LINK_SEND_BUFFER >= FRAME_MAX as usize, "the kernel takes the largest frame at once");
    assert!(PULLS_PER_LEADER_MAX < PULLS_MAX);
    assert!(PULLS_MAX as u64 * PULL_BYTES as u64 <= PULLED_BYTES_MAX, "small fetches are limited by number");
    assert!(SEGMENT_RESERVE_TRIMS < SEGMENT_RESERVE && SEGMENT_RESERVE_DELETES < SEGMENT_RESERVE_TRIMS);
    assert!(SEGMENT_RESERVE_CLOCK < SEGMENT_RESERVE_DELETES);
    assert!(HEARTBEAT_TICKS * 3 < ELECTION_TICKS[0], "three lost heartbeats do not cost the leadership");
    assert!(
        (VOTE_HOLD_TICKS as u64 - 1) * TICK_US * 3 >= LEASE_US * 4,
        "no member votes while its leader has a lease, even if their clocks differ by a quarter"
    );
    assert!(VOTE_HOLD_TICKS < ELECTION_TICKS[0], "who could be elected finds members that vote");
    assert!(ROUND_US > TICK_US && ROUND_US < 2 * TICK_US && 4 * TICK_US < LEASE_US, "one lost round ends no lease");
    assert!(HEARD_TICKS as usize >= 3 * HEARTBEAT_TICKS, "two lost heartbeats make no member unreachable");
    assert!(SLOW_MEMORY_TICKS > HAND_OVER_TICKS && HAND_OVER_TICKS > HOME_TICKS, "leadership does not oscillate");
    assert!(
        ELECTION_TICKS[0] as u64 * TICK_US < DRAIN_HAND_OVER_US && DRAIN_HAND_OVER_US < DRAIN_US / 2,
        "a node that shuts down sees a failed hand-over time out before it gives up"
    );
    assert!(ELECTION_TICKS[0] < ELECTION_TICKS[1] && ELECTION_TICKS[1] < ELECTION_TICKS[2], "ranks differ");
    assert!(APPENDS_INFLIGHT_MAX * APPEND_BYTES_MAX <= PUSH_QUEUE_MAX, "heartbeats wait behind no more than pushes");
    assert!(APPENDS_INFLIGHT_MAX * BODY_BYTES_MAX < UNWRITTEN_BYTES_MAX, "a follower takes all that is in flight");
    assert!(CHUNK_AGAIN_US < STATE_AGAIN_US && STATE_AGAIN_US < COPY_SILENCE_US, "a lost answer ends no copy");
    assert!(BODY_BYTES_MAX <= UNCOMMITTED_BYTES_MAX && LOG_WINDOW_BYTES >= 4 * BODY_BYTES_MAX);
    assert!(HEADS_US < OUTAGE_ASK_US, "a leader that sends HEADS is not asked");
    assert!(OUTAGE_PROBE_US < OUTAGE_NOTIFIED_US, "it is asked once more before anybody is notified");
    assert!(HEADS_MISSING_MAX * HEADS_US < OUTAGE_SILENT_US, "it was told everything again before");
    assert!(FEED_AGAIN_US < HEADS_US, "the next tick of a second tells it again");
    assert!(INFLIGHT_LEAST as u64 * RESPONSE_CHARGE as u64 <= CLIENT_LITTLE_BYTES, "a share that needs little memory");
    assert!(CLIENT_CHARGE_MAX / 2 >= FRAME_MAX as u64, "while one large answer is taken, the next one is on its way");
    assert!(INFLIGHT_MAX as u64 * RESPONSE_CHARGE_SHORT as u64 <= CLIENT_CHARGE_MAX);
    assert!(PAYLOAD_MAX as usize + TOPIC_NAME_MAX + 256 <= BODY_BYTES_MAX, "any entry fits a body");
    assert!(
        BODY_BYTES_MAX + SEGMENT_RESERVE as usize + 4096 <= SEGMENT_BYTES_FIRST as usize / 2,
        "a body that finds no room finds the next segment asked for"
    );
};
