use super::*;

fn batch(producer: u64, epoch: u32, sequence: u64) -> Sequenced {
    Sequenced { producer: ProducerId::new(producer).unwrap(), epoch, sequence }
}

fn stored(sequence: u64) -> Stored {
    Stored { base: Offset(10 * sequence), append_us: 0, count: 1, payload_crc: u32::try_from(sequence).unwrap() }
}

fn after(batches: u64) -> Producers {
    let mut producers = Producers::default();
    (0..batches).for_each(|sequence| producers.note(batch(1, 5, sequence), stored(sequence)));
    producers
}

#[test]
fn a_batch_is_judged_by_its_sequence() {
    let cases: [(u64, Sequenced, u32, Verdict); 20] = [
        (0, batch(1, 5, 0), 0, Verdict::Store),
        (0, batch(1, 5, 1), 1, Verdict::Unknown),
        (3, batch(1, 5, 3), 3, Verdict::Store),
        (3, batch(1, 5, 4), 4, Verdict::Gap { expected: 3 }),
        (3, batch(1, 5, 2), 2, Verdict::Duplicate(stored(2))),
        (3, batch(1, 5, 0), 0, Verdict::Duplicate(stored(0))),
        (3, batch(1, 5, 2), 9, Verdict::Reused),
        (3, batch(1, 4, 3), 3, Verdict::Fenced),
        (3, batch(1, 6, 0), 0, Verdict::Store),
        (3, batch(1, 6, 3), 3, Verdict::Gap { expected: 0 }),
        (1, batch(1, 5, 0), 0, Verdict::Duplicate(stored(0))),
        (1, batch(1, 5, 0), 9, Verdict::Reused),
        (1, batch(1, 5, 1), 1, Verdict::Store),
        (1, batch(1, 5, 2), 1, Verdict::Gap { expected: 1 }),
        (1, batch(1, 4, 1), 1, Verdict::Fenced),
        (1, batch(1, 6, 0), 0, Verdict::Store),
        (1, batch(1, 6, 1), 0, Verdict::Gap { expected: 0 }),
        (2, batch(1, 5, 0), 0, Verdict::Duplicate(stored(0))),
        (65, batch(1, 5, 1), 1, Verdict::Duplicate(stored(1))),
        (65, batch(1, 5, 0), 0, Verdict::Forgotten),
    ];
    for (before, batch, crc, expected) in cases {
        assert_eq!(after(before).judge(batch, 1, crc), expected, "{before} stored, then {batch:?}");
    }
}

#[test]
fn a_new_epoch_starts_anew_and_fences_the_old_one() {
    for batches in [1, 3] {
        let mut producers = after(batches);
        producers.note(batch(1, 6, 0), stored(0));
        producers.check();
        assert_eq!(producers.judge(batch(1, 6, 1), 1, 1), Verdict::Store);
        assert_eq!(producers.judge(batch(1, 5, batches), 1, 3), Verdict::Fenced);
        producers.note(batch(1, 6, 1), stored(1));
        producers.check();
        assert_eq!(producers.judge(batch(1, 6, 0), 1, 0), Verdict::Duplicate(stored(0)));
    }
}

#[test]
fn the_least_recently_active_producer_is_forgotten() {
    let mut producers = Producers::default();
    let begin = |producers: &mut Producers, id| {
        (0..2).for_each(|sequence| producers.note(batch(id, 0, sequence), stored(sequence)));
        producers.check();
    };
    (1..=PRODUCERS_MAX as u64).for_each(|id| begin(&mut producers, id));
    producers.note(batch(1, 0, 2), stored(2));
    begin(&mut producers, 5000);
    assert_eq!(producers.judge(batch(1, 0, 3), 1, 3), Verdict::Store);
    assert_eq!(producers.judge(batch(2, 0, 2), 1, 2), Verdict::Unknown);
    assert_eq!(producers.by_id.len(), PRODUCERS_MAX);
}

fn opening(producer: u64, token: u64, resume: bool) -> Opening {
    Opening { producer: ProducerId::new(producer).unwrap(), token, resume }
}

fn opened(epoch: u32, records: u64, forgotten: u64) -> Result<Opened, NotOpened> {
    Ok(Opened { epoch, sequence: 1, records, forgotten })
}

/// Stores batches of ten records each with these sequences.
fn publish(producers: &mut Producers, id: u64, epoch: u32, sequences: std::ops::Range<u64>) {
    for sequence in sequences {
        let stored = Stored { count: 10, ..stored(sequence) };
        assert_eq!(producers.judge(batch(id, epoch, sequence), 10, stored.payload_crc), Verdict::Store);
        producers.note(batch(id, epoch, sequence), stored);
        producers.check();
    }
}

#[test]
fn an_opened_producer_s_records_are_counted_over_its_epochs_and_each_fences_the_one_before() {
    let mut producers = Producers::default();
    assert_eq!(producers.open(opening(1, 7, false)), opened(1, 0, 0));
    publish(&mut producers, 1, 1, 1..4);
    let cases = [
        (batch(1, 0, 0), Verdict::Fenced),
        (batch(1, 1, 0), Verdict::Reused),
        (batch(1, 1, 3), Verdict::Duplicate(Stored { count: 10, ..stored(3) })),
        (batch(1, 1, 4), Verdict::Store),
        (batch(1, 1, 5), Verdict::Gap { expected: 4 }),
        (batch(1, 2, 0), Verdict::NotOpened),
        (batch(1, 2, 1), Verdict::NotOpened),
    ];
    for (batch, expected) in cases {
        let crc = u32::try_from(batch.sequence).unwrap();
        assert_eq!(producers.judge(batch, 10, crc), expected, "{batch:?}");
    }
    // A duplicate of the request opens no second epoch. It succeeds, whereas a request with another token is refused.
    assert_eq!(producers.open(opening(1, 7, false)), opened(1, 30, 0));
    assert_eq!(producers.open(opening(1, 8, false)), Err(NotOpened::Exists { records: 30 }));
    assert_eq!(producers.judge(batch(1, 1, 4), 10, 4), Verdict::Store, "nothing has changed");
    assert_eq!(producers.open(opening(1, 8, true)), opened(2, 30, 0));
    assert_eq!(producers.judge(batch(1, 1, 4), 10, 4), Verdict::Fenced);
    publish(&mut producers, 1, 2, 1..2);
    assert_eq!(producers.open(opening(1, 9, true)), opened(3, 40, 0));
    // The opening uses up sequence 0, so a batch with sequence 0 is never a duplicate, even after answers were
    // forgotten.
    publish(&mut producers, 1, 3, 1..200);
    assert_eq!(producers.judge(batch(1, 3, 0), 10, 0), Verdict::Reused);
    assert_eq!(producers.judge(batch(1, 3, 1), 10, 1), Verdict::Forgotten);
    producers.check();
}

#[test]
fn an_opened_producer_whose_batches_are_forgotten_resumes_when_it_is_opened_again() {
    let mut producers = Producers::default();
    producers.open(opening(1, 7, true)).unwrap();
    publish(&mut producers, 1, 1, 1..4);
    (2..2 + PRODUCERS_MAX as u64).for_each(|id| publish(&mut producers, id, 0, 0..2));
    for sequence in 1..6 {
        assert_eq!(producers.judge(batch(1, 1, sequence), 10, 9), Verdict::Unknown);
    }
    assert_eq!(producers.open(opening(1, 8, true)), opened(2, 30, 0));
    publish(&mut producers, 1, 2, 1..3);
    assert_eq!(producers.open(opening(1, 9, true)), opened(3, 50, 0));
}

#[test]
fn a_forgotten_producer_is_never_resumed_at_its_beginning() {
    let mut producers = Producers::default();
    let most = crate::limits::OPENED_PRODUCERS_MAX as u64;
    for id in 1..=most {
        assert_eq!(producers.open(opening(id, 7, id % 2 == 0)), opened(1, 0, 0));
    }
    assert_eq!(producers.open(opening(1, 8, true)), opened(2, 0, 0));
    publish(&mut producers, 1, 2, 1..2);
    assert_eq!(producers.open(opening(most + 1, 7, false)), opened(1, 0, 0), "another is forgotten for it");
    // Producer 2 was the least recently active.
    assert_eq!(producers.open(opening(2, 9, true)), Err(NotOpened::Forgotten { forgotten: 1 }));
    assert_eq!(producers.open(opening(most + 2, 9, true)), Err(NotOpened::Forgotten { forgotten: 1 }));
    assert_eq!(producers.open(opening(1, 9, true)), opened(3, 10, 1));
    assert_eq!(
        producers.open(opening(2, 9, false)),
        opened(1, 0, 1),
        "a request for a new producer learns of the eviction"
    );
    let (mut image, mut again) = (Vec::new(), Vec::new());
    producers.encode_opened(&mut image);
    let mut restored = Producers::default();
    restored.decode_opened(&mut &image[..]).unwrap();
    restored.encode_opened(&mut again);
    assert_eq!(again, image);
    assert!(restored.decode_opened(&mut &image[..image.len() - 1]).is_none());
    assert_eq!(restored.open(opening(3, 1, true)), Err(NotOpened::Forgotten { forgotten: 2 }));
}

#[test]
fn opening_a_producer_is_an_activity_that_comes_after_all_before_it() {
    // Of producers that were active at the same time, the one with the lowest id would be forgotten.
    let mut producers = Producers::default();
    let most = crate::limits::OPENED_PRODUCERS_MAX as u64;
    let first = 2 * most;
    producers.open(opening(first, 7, false)).unwrap();
    publish(&mut producers, first, 1, 1..2);
    for id in (most..first).rev() {
        producers.open(opening(id, 7, false)).unwrap();
    }
    producers.check();
    let is_remembered = |id: u64| producers.by_id.contains_key(&ProducerId::new(id).unwrap());
    let newest = most..most + PRODUCERS_MAX as u64;
    assert!(newest.clone().all(is_remembered) && !is_remembered(newest.end));
    assert_eq!(producers.open(opening(first, 8, true)), Err(NotOpened::Forgotten { forgotten: 1 }));
    assert_eq!(producers.open(opening(first - 1, 8, true)), opened(2, 0, 1));
}

#[test]
fn a_producer_that_was_not_counted_from_its_beginning_cannot_be_opened() {
    for batches in [1, 3] {
        let mut producers = after(batches);
        for resume in [false, true] {
            assert_eq!(producers.open(opening(1, 7, resume)), Err(NotOpened::NotCounted));
        }
        assert_eq!(producers.judge(batch(1, 5, batches), 1, 9), Verdict::Store, "nothing has changed");
    }
}

#[test]
fn what_producers_take_of_memory_is_counted() {
    let mut producers = Producers::default();
    let empty = producers.cost();
    assert!(empty >= size_of::<Producers>() as u64);
    for id in 1..=PRODUCERS_MAX as u64 {
        (0..PRODUCER_WINDOW as u64).for_each(|sequence| producers.note(batch(id, 0, sequence), stored(sequence)));
    }
    let answers = PRODUCERS_MAX * PRODUCER_WINDOW * size_of::<Stored>();
    let cost = producers.cost() - empty;
    assert!((answers as u64..2 * answers as u64).contains(&cost), "{cost} bytes, {answers} of answers");
    // With few answers, the producers themselves take most of the memory.
    let mut producers = Producers::default();
    for id in 1..=PRODUCERS_MAX as u64 {
        (0..2).for_each(|sequence| producers.note(batch(id, 0, sequence), stored(sequence)));
    }
    let each = size_of::<(ProducerId, Producer)>() + 2 * size_of::<Stored>();
    let cost = producers.cost() - empty;
    assert!((1..4).contains(&(cost / (PRODUCERS_MAX * each) as u64)), "{cost} bytes, at least {each} each");
}

#[test]
fn to_forget_a_producer_takes_as_many_steps_as_there_were_batches_not_as_there_are_producers() {
    let mut producers = Producers::default();
    let many = 2 * PRODUCERS_MAX as u64;
    for producer in 1..=many {
        producers.note(batch(producer, 5, 0), stored(0));
        producers.note(batch(producer, 5, 1), stored(1));
        // One of the producers stays active and is never forgotten.
        if producer > 1 {
            producers.note(batch(1, 5, producer), stored(producer));
        }
        producers.check();
    }
    assert!(producers.by_id.contains_key(&ProducerId::new(1).unwrap()));
    assert!(!producers.by_id.contains_key(&ProducerId::new(2).unwrap()));
    let steps = producers.activity.steps as u64;
    assert!(steps >= many - PRODUCERS_MAX as u64 && steps <= 2 * many, "{steps} steps");
}
