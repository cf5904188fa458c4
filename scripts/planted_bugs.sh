#!/usr/bin/env bash
# Plants bugs in the journal, one at a time, in a copy of the project, and shows which test finds each, and how soon.
#   scripts/planted_bugs.sh             all of them
#   scripts/planted_bugs.sh WORD…       those whose names hold one of the words
#   scripts/planted_bugs.sh --check     none: only whether each could still be planted (also with WORD…)
# First `cargo test --test journal`, then seeds of the simulator, or the tests that the bug names, each for at most
# PLANTED_LIMIT seconds (300). The exit code is 1 when a bug was not found. PLANTED_TARGET names a build folder that is
# kept, so that the next run is faster.
set -euo pipefail

program=planted_bugs.sh
scripts=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
project=$(dirname "$scripts")
# shellcheck source=scripts/lib.sh
. "$scripts/lib.sh"
cd "$project"

limit=${PLANTED_LIMIT:-300}

# --- the bugs: name, file, what sed does to it, and who is to find it -----------------------------------------------

list_bugs() {
    bug "what is written is acknowledged before it is safe" src/journal/writer.rs \
        's/self\.segment\.file\.sync\(\)\?;//'
    bug "what is collected is written after the sync that acknowledges it" src/journal/writer.rs \
        '/pub fn sync/,/^    \}/ { s/self\.write\(\)\?;//; s/(self\.synced) = self\.written;/\1 = self.end(); self.write()?;/; s/self\.synced < self\.written/self.synced < self.end()/ }'
    bug "a segment is left before it is safe" src/journal/writer.rs \
        '/pub fn turn_to/,/^    \}/ s/self\.sync\(\)\?;/self.write()?;/'
    bug "a segment is said to have ended one record before it did" src/journal/writer.rs \
        '/pub fn turn_to/,/^    \}/ s/let previous_end = self\.written;/let previous_end = self.written - 8;/'
    bug "a segment is said to have ended at its beginning" src/journal/writer.rs \
        's/HardState \{ previous_end, commit/HardState { previous_end: previous_end.min(80), commit/'
    bug "the checksum of a record is not looked at" src/journal/format.rs \
        's/if BigEndian::read_u32\(&header\[28\.\.\]\) != record_crc\(.*\) \{/if header[5] != 0 {/'
    bug "a record of the segment's life before passes for a new one" src/journal/format.rs \
        's/crc32_of_parts\(\[&segment\.to_be_bytes\(\), header, body\]\)/crc32_of_parts([header, body])/'
    bug "the tail is cut eight bytes too soon" src/journal/recovery.rs \
        's/file\.set_len\(end as u64\)/file.set_len(end as u64 - 8)/'
    bug "the tail is not written again after a sync that failed" src/journal/recovery.rs \
        's/file\.write_at\(sound, HEADER as u64\)\.map_err\(io\)\?;//'
    bug "the tail is believed and not made safe" src/journal/recovery.rs \
        '/fn secure/,/^    \}/ s/file\.sync\(\)\.map_err\(io\)\?;//'
    bug "what was safe and cannot be read is cut like a torn tail" src/journal/recovery.rs \
        's/record\.head\.synced as usize > end\)/record.head.synced as usize > usize::MAX - end)/'
    bug "an overwritten suffix is applied" src/journal/recovery.rs \
        's/log\.pop_back\(\);//'
    bug "records that are read are not compared with their checksums" src/journal/reader.rs \
        's/if crc32\(&payload\) != filed\.crc/if crc32(\&payload) == filed.crc.wrapping_add(1)/'
    bug "a missing segment is passed over" src/journal/recovery.rs \
        's/if segment != expected/if segment < expected/; s/expected = expected\.checked_add/expected = segment.checked_add/; s/if index > next \|\|/if next == 0 \|\|/'
    bug "an index of a checkpoint that did not come about stays" src/journal/past.rs \
        's/filter\(\|number\| !is_past\(number\)\)/filter(|number| *number == u32::MAX)/'
    bug "the oldest checkpoint counts instead of the newest" src/journal/past.rs \
        's/other\.cmp\(one\)/one.cmp(other)/'
    bug "a loss is forgotten when the start that tells it stops" src/journal/recovery.rs \
        's/\(self\.is_lossy \|\| self\.state\.is_lazy\)/self.state.is_lazy/'
    bug "a checkpoint relies on what nobody has synced" src/journal/keeper.rs \
        's/self\.disk\.open\(&names::segment\(mark\.place\.segment\)\)\?\.sync\(\)/self.disk.open(\&names::segment(mark.place.segment)).map(drop)/'
    bug "the name of a fresh segment is not made safe" src/journal/prepare.rs \
        '/pub fn fill_segment/,/^    \}/ s/self\.disk\.sync_names\(\)\?;//'
    bug "a fresh segment is not filled" src/journal/prepare.rs \
        's/let filled = if is_recycled \{ size \} else \{ 0 \}/let filled = size/'
    bug "an index is not safe before the checkpoint that relies on it" src/journal/keeper.rs \
        's/write_file\(&self\.disk, &names::index\(number\), (.*)\)\?;/self.disk.create(\&names::index(number))?.write_at(\1, 0)?;/'
    bug "the names of indexes are not safe before the checkpoint that relies on them" src/journal/keeper.rs \
        '/pub fn checkpoint/,/let id =/ s/self\.disk\.sync_names\(\)\?;//'
    bug "the checkpoint before the newest one goes" src/journal/keeper.rs \
        's/if let Some\(oldest\) = oldest\.filter/if let Some(oldest) = self.older.take().or(oldest).filter/'
    bug "the checkpoint before the newest one loses segments that it needs" src/journal/keeper.rs \
        's/\.filter\(\|number\| needed\.contains\(number\)\)/.filter(|_| needed.len() < 1000)/'
    bug "a damaged checkpoint is not passed over" src/journal/past.rs \
        's/Err\(error @ OpenError::Damaged \{ \.\. \}\) => \{/Err(error @ OpenError::Damaged { .. }) if id.index == 0 => {/'
    bug "a checkpoint does not say which batches came to nothing" src/journal/keeper.rs \
        's/void\.push\(place\.position\);/let _ = (void, place);/'
    bug "nobody is told which batches came to nothing" src/node/group/apply.rs \
        's/self\.file\(step\.settings, Note::Void\(place\)\);/let _ = place;/'
    bug "the offsets of an index that is made anew are not checked" src/journal/rebuild.rs \
        's/Some\(before\) => before\.0 == base,/Some(_) => true,/; s/void\.is_some\(\) \|\| base == 0 \|\|/void.is_some() || base < u64::MAX ||/' rebuild journal
    bug "an index that is made anew has a topic's batches from before it was made" src/journal/rebuild.rs \
        's/\.position != \*position\)/.position != u32::MAX - *position)/' journal
    bug "an index is not compared with what the checkpoint says of it" src/journal/past.rs \
        's/let ends = \|stretch: &Stretch\| .*;/let ends = |_: \&Stretch| true;/'
    bug "an index that was damaged is told at each read" src/journal/heal.rs \
        's/if remade\.insert\(segment\) \&\& .* => \{/if remade.is_empty() \&\& segment == u32::MAX => {/'
    bug "a repair takes records for sound that are not" src/journal/salvage.rs \
        's/is_some_and\(\|payload\| crc32\(payload\) == filed\.crc\)/is_some()/'
    bug "a repair numbers records behind a hole as if there were none" src/journal/salvage.rs \
        's/base = base\.plus\(count\.into\(\)\);/base = to; whole.pop();/'
    bug "a repair leaves the epoch as it was behind lost entries" src/journal/salvage.rs \
        '/^fn tell_losses/,/^\}/ s/state\.give_up\(\);//'
    bug "a repair refuses what a producer published behind its lost batch" src/storage/start.rs \
        's/self\.stored\.get_or_insert_default\(\);//'
    bug "a repair keeps no originals" src/journal/repair.rs \
        's/copy\(disk, aside, name\)\.map_err\(.*\)\?;/let _ = copy;/'
    bug "an inspection does not see that an index is lost" src/journal/salvage.rs \
        's/Some\(_\) \| None => IndexState::Damaged,/Some(_) | None => IndexState::None,/'
    bug "a file of another folder is taken for the folder's own" src/journal/stamp.rs \
        's/found == Self::NONE \|\| found == self/found == Self::NONE || found.node == self.node/'
    bug "a checkpoint of another folder is taken" src/journal/past.rs \
        's/self\.keeper\.stamp\.check\(&name, stamp\)\?;/let _ = stamp;/'
    bug "an index of another folder is taken" src/journal/past.rs \
        's/self\.check_stamps\(number, &\[\]\)\?;//'
    bug "copies do not say whose they are" src/journal/clean.rs \
        's/segment_header\(stamp, self/segment_header(Stamp::from_number(stamp.number().min(0)), self/'
    bug "the watermark is ahead of what is durable" src/journal/writer.rs \
        '/pub fn sync/,/^    \}/ { s/self\.write\(\)\?;/self.write()?; self.watermark.write(self.mark())?;/ }'
    bug "the watermark is written once for each segment only" src/journal/writer.rs \
        's/self\.synced > 0 && self\.watermark\.mark\(\) != mark/self.synced > 0 \&\& self.watermark.mark().place.segment != mark.place.segment/'
    bug "the watermark is always written to the same slot" src/journal/watermark.rs \
        's/if writes\.is_multiple_of\(2\) \{ SECOND \} else \{ 0 \}/if writes == 0 { SECOND } else { 0 }/'
    bug "the older slot of the watermark counts" src/journal/watermark.rs \
        's/max_by_key\(\|\(writes, \.\.\)\| \*writes\)/min_by_key(|(writes, ..)| *writes)/'
    bug "a start does not compare the log with the watermark" src/journal/recovery.rs \
        's/^        self\.check_watermark\(last\.place\)\?;$//'
    bug "an inspection does not know the watermark" src/journal/watermark.rs \
        '/pub\(super\) fn floor/,/^    \}/ s/== segment/== segment + 1/'
    bug "entries below the watermark are not counted as lost" src/journal/salvage.rs \
        's/known = known\.max\(watermark.*\);//'
    bug "a segment that is shorter than its header says is no damage" src/journal/recovery.rs \
        's/format::said_size\(bytes\) > bytes\.len\(\)/format::said_size(bytes) > usize::MAX - 1/'
    bug "a start cuts a segment before its header says so" src/journal/recovery.rs \
        's/^        format::say_size\(&mut header, .*$//'
    bug "a watermark that is missing is not told" src/journal/recovery.rs \
        's/Watermarked::Lost$/Watermarked::Never/'
    bug "a backup copies the watermark last" src/journal/backup.rs \
        's/^        self\.copy_watermark\(\)\?;$//; /needed\.extend\(\(from/,/^    \}/ s/^        Ok\(\(\)\)$/        self.copy_watermark()/'
    bug "a restore moves the watermark of the backup" src/storage/start.rs \
        's/watermark\.hold\(\);//'
    bug "a repair takes the number of the missing segment that the watermark names" src/journal/repair.rs \
        's/\.max\(marked\.map_or\(0, .*\)\);/;/'
    bug "a gap that a repair has left is served as records" src/journal/keeper.rs \
        's/take_while\(\|filed\| filed\.len == 0\)/take_while(|filed| filed.len == u32::MAX)/'
    bug "a backup leaves out the log after its checkpoint" src/journal/backup.rs \
        's/needed\.extend\(\(from\.\.=last\)/needed.extend((from..=from.min(last))/'
    bug "a backup keeps a segment that has grown" src/journal/backup.rs \
        's/\*len == end as u64\)/*len <= end as u64)/; s/is_same &= read_part/let _ = read_part/'
    bug "a backup does not notice that a segment was recycled while it was read" src/journal/backup.rs \
        '/A segment is renamed before it is recycled/,/^    \}/ s/self\.size\(&name\)\?;//'
    bug "a backup does not notice that the node has removed its checkpoint" src/journal/backup.rs \
        's/let is_retained = .*;/let is_retained = base.crc < u32::MAX;/'
    bug "a segment that is written to is read once" src/journal/backup.rs \
        '/fn read_growing/,/^    \}/ { s/let end = self\.end_of_records\(number, &self\.read\(&name\)\?\);/let bytes = self.read(\&name)?;/; s/^ *let bytes = read_part.*$// }'
    bug "the files of a backup are not durable before its manifest" src/journal/backup.rs \
        '/fn finish/,/^    \}/ s/^        self\.target\.sync_names\(\)\.map_err\(folder_error\)\?;$//'
    bug "a backup overwrites the files of the previous one" src/journal/backup.rs \
        's/write_file\(self\.target, &new, bytes\)/write_file(self.target, name, bytes).and_then(|()| write_file(self.target, \&new, bytes))/'
    bug "what an interrupted backup has left is never removed" src/journal/backup.rs \
        's/if !is_of_old\(&name\) && /if name.is_empty() \&\& !is_of_old(\&name) \&\& /'
    bug "the renames of a backup are not completed" src/journal/manifest.rs \
        's/if present\.contains\(&new\) && /if new.is_empty() \&\& present.contains(\&new) \&\& /'
    bug "a folder with an unfinished backup is taken for an empty one" src/journal/identity.rs \
        's/\*name != LOCK && !names::is_new\(name\)/*name != LOCK \&\& *name != names::UNFINISHED \&\& !names::is_new(name)/; s/name == names::UNFINISHED\)/name.is_empty())/'
    bug "a backup is not checked when it is restored" src/journal/manifest.rs \
        '/fn check/,/^    \}/ s/!= \*listed/!= *listed \&\& listed.0 == u64::MAX/'
    bug "a restored topic keeps its epoch" src/storage/start.rs \
        's/node\.lose_entries_since_backup\(\);/let _ = is_lossy;/'
    bug "a backup that is restored again gives the epoch of the first time" src/topic/catalogue.rs \
        's/second\.checked_sub\(topic\.epoch\.0\)/None::<u32>.or(second.checked_sub(u32::MAX))/' catalogue
    bug "a restore is over before the new epochs are durable" src/storage/start.rs \
        's/let is_restored = journal::begin_restore\(disk\)\?;/let is_restored = journal::begin_restore(disk)?; if is_restored { let _ = journal::end_restore(disk); }/; s/journal::end_restore\(disk\)\.map_err\(io\)\?;//'
    bug "the checkpoint of a backup stays after it is restored" src/storage/start.rs \
        '/journal::end_restore\(disk\)\.map_err/,/kept = / s/keeper\.checkpoint\(.*\)\.map_err\(io\)\?;//'
    bug "a backup that was repaired cannot be restored" src/journal/repair.rs \
        's/^    renew\(disk\)\?;$//'
    bug "a start of a neighbour without topics hides those of the start before" src/node/routing.rs \
        's/if topics > 0 \|\| link\.topics\.1 == instance \{/if topics > 0 || instance > 0 {/' node::tests::empty
    bug "topics that a neighbour has deleted count as lost" src/node/routing.rs \
        's/if topics > 0 \|\| link\.topics\.1 == instance \{/if topics > 0 {/' node::tests::empty
    bug "a busy link never tells how many topics there are" src/node/link.rs \
        's/self\.clock\.is_every\(TOPICS_ASK_US \/ TICK_US\)/self.drain.has_parted() \&\& self.clock.is_every(TOPICS_ASK_US \/ TICK_US)/' node::tests::empty
    bug "what is told to be readable behind damage is not looked at" src/journal/heal.rs \
        's/if payloads\(.*\)\.is_ok\(\) \{/if filed.base >= from.plus(1) {/'
    bug "a segment from before the checkpoint is not missed" src/journal/past.rs \
        's/by_segment\.keys\(\)\.find\(\|number\| !is_past\(number\)\)/by_segment.keys().find(|number| **number == 0)/'
    bug "a checkpoint has its name before its bytes are safe" src/journal/keeper.rs \
        's/write_file\(&self\.disk, &names::checkpoint\(id\), (&file)\)\?;/self.disk.create(\&names::checkpoint(id))?.write_at(\1, 0)?;/'
    bug "a dead segment goes before the checkpoint that makes it dead" src/journal/keeper.rs \
        's/^( *)let id = CheckpointId .*/\1self.remove_dead(mark.place.segment)?;\n&/'
    bug "a segment is dead when one live record is left in it" src/journal/spans.rs \
        '/pub\(super\) fn trim/,/^    \}/ s/oldest\.end <= first/oldest.end <= first.plus(1)/'
    bug "an index forgets the batches from before the last checkpoint" src/journal/keeper.rs \
        's/self\.segments\.range_mut\(\.\.mark\.place\.segment\) \{/self.segments.range_mut(..=mark.place.segment) {/'
    bug "segments go before a checkpoint says that their records were moved" src/journal/keeper.rs \
        's/spans\.relocate\(base, span, .*\);/&\nlet floor = self.checkpointed;\nlet _ = (self.remove_dead(floor), self.remove_dead(floor));/'
    bug "copies have their name before they are safe" src/journal/clean.rs \
        's/cleaning\.file\.sync\(\)\?;//'
    bug "cleaning leaves out the first record that a topic keeps" src/journal/clean.rs \
        's/map\(\|first\| from\.max\(first\)\)/map(|first| from.max(first.plus(1)))/'
    bug "records that cannot be read are lost when their segment is cleaned" src/journal/clean.rs \
        's/cleaning\.begun = None;/cleaning.begun = Some(Run { topic: piece.topic, base: piece.base, end: piece.end, bytes: 0, first_us: 0 });/; s/cleaning\.pieces\.pop_front\(\);/cleaning.end_piece();/'
    bug "segments of copies are read as if they were log" src/journal/recovery.rs \
        's/let copies = segments\.split_off\(.*\);/let copies: Vec<u32> = segments.iter().copied().filter(|number| copies::is_copies(*number)).collect();/'
    bug "what others need of the log is cleaned" src/journal/keeper.rs \
        's/self\.checkpointed\.min\(self\.log_floor\)/self.checkpointed/'
    bug "what others need of the log is removed" src/journal/keeper.rs \
        's/before\.min\(self\.log_floor\)/before/'
    bug "what no checkpoint covers is cleaned" src/journal/keeper.rs \
        's/self\.checkpointed\.min\(self\.log_floor\)/self.log_floor/'
    bug "nothing is left to cleaning of a journal at its limit" src/journal/prepare.rs \
        's/2 \* u64::from\(size\)/u64::from(size)/'
    bug "a time between two stretches of copies is found in the later one" src/journal/keeper.rs \
        's/let end = end\.min\(span\.end\);//'
    bug "an idle node is not asked for the checkpoint that gives space back" src/storage/checkpoints.rs \
        's/is_worth_it \|\| gives_back/is_worth_it/' storage
    bug "the checksum of an index's header is not looked at" src/journal/index.rs \
        's/ && BigEndian::read_u32\(crc\) == crc32_of_parts\(\[fields\]\);/ && crc.len() == 4;/'
    bug "the checksum of an index's entries is not looked at" src/journal/index.rs \
        's/ && self\.crc == crc32_of_parts\(\[bytes\]\)//'
    bug "the checksum of a block is not looked at" src/journal/reader.rs \
        's/\.filter\(\|_\| Entry::is_sound\((.*)\)\);/.filter(|_| Entry::is_sound(\1) || true);/'
    bug "a read begins one block behind the one that has the record" src/journal/reader.rs \
        's/entry\.end <= from/entry.base <= from/'
    bug "a read begins in the segment before the one that has the record" src/journal/spans.rs \
        's/\|span\| span\.end <= offset/|span| span.end < offset/'
    bug "a read ends one batch too early" src/journal/reader.rs \
        's/is_enough = bytes >= max_bytes/is_enough = !found.is_empty() \&\& bytes.saturating_add(filed.len) >= max_bytes/'
    bug "a read ends one batch too late" src/journal/reader.rs \
        's/end\.0 - from\.0 >= u64/end.0 - from.0 > u64/'
    bug "a read brings one time more than an answer holds" src/journal/reader.rs \
        's/times > FETCH_RUNS_MAX/times > FETCH_RUNS_MAX + 1/'
    bug "a time is looked for only in the block that begins with it" src/journal/reader.rs \
        's/in behind\.saturating_sub\(1\)\.\./in behind../'
    bug "a time is looked for only in the block before" src/journal/reader.rs \
        's/self\.len\(\)\.min\(behind \+ 1\)/self.len().min(behind)/'
    bug "a time is looked for in the segment that begins with it" src/journal/spans.rs \
        's/next\.first_us >= append_us/next.first_us > append_us/'
    bug "a time is looked for before the clock that it is of" src/journal/reader.rs \
        's/let is_it = .*$/let is_it = |filed: \&\&Filed| filed.append_us >= append_us;/'
    bug "a segment that begins with another clock is passed over" src/journal/spans.rs \
        's/if span\.end >= end \|\| next/if span.end >= end || span.first_us >= append_us || next/'
    bug "what lies between two batches is read whatever it is" src/journal/reader.rs \
        's/\|gap\| gap <= READ_GAP_MAX/|gap| gap < 1 << 20/'
    bug "each batch is read by itself" src/journal/reader.rs \
        's/\|gap\| gap <= READ_GAP_MAX/|gap| gap > 1 << 20/'
    bug "a start takes batches from behind the checkpoint out of an index" src/journal/past.rs \
        's/filed\.retain\(\|filed\| filed\.place < self\.from\.place\);//'
    bug "a start takes the index of the segment that the checkpoint is in for complete" src/journal/past.rs \
        's/if number == self\.from\.place\.segment \{/if number > self.from.place.segment {/'
    bug "free places come back in another order" src/topic/catalogue/image.rs \
        's/self\.free\.iter\(\)\.for_each/self.free.iter().rev().for_each/'
    bug "a checkpoint has no producers" src/topic/catalogue/image.rs \
        's/if let Some\(producers\) = &topic\.producers/if let Some(producers) = topic.producers.as_ref().filter(|_| false)/'
    bug "a checkpoint of the first format is read as one of the newest" src/topic/catalogue/image.rs \
        's/if version < PARTS_SINCE \{/if version == 0 {/' topic process
    bug "a part that nobody knows is passed over" src/topic/catalogue/image.rs \
        's/_ => Err\(DecodeError::Newer\),/_ => { *part = \&[]; Ok(Some(())) }/' topic
    bug "the folder says its new format after the first segment of it" src/storage/start.rs \
        's/^ *journal::raise_format\(disk, identity\)\?;//; s/^    writer\.sync\(\)\.map_err\(io\)\?;/&\n    journal::raise_format(disk, identity)?;/'
    bug "a checkpoint has no single messages" src/topic/catalogue/image.rs \
        's/filter\(\|producers\| producers\.has_one_shots\(\)\)/filter(|_| false)/' topic journal
    bug "a checkpoint has no opened producers" src/topic/catalogue/image.rs \
        's/filter\(\|producers\| producers\.has_opened\(\)\)/filter(|_| false)/' topic journal
    bug "an empty folder is not warned of by the node that dials" src/node/hello.rs \
        '/step\.settings\.id\.across\(bit\) == node => \{/,/\}/ s/self\.on_hello_topics\(step, bit, &hello\);//' node::tests::empty
    bug "a start forgets that a producer was opened" src/node/group/restore.rs \
        's/Entry::OpenProducer \{ topic, opening \} => .*,$/Entry::OpenProducer { .. } => {}/;/drop\(self\.apply_open_producer/d'
    bug "after a start ages are believed at once" src/node/wall.rs \
        's/self\.trust = Trust::NotSince\(started_us\);//' node::tests sim
    bug "a start does not notice that the clock went back" src/node/wall.rs \
        's/self\.was_behind = .*;/self.was_behind = false;/' node::tests
    bug "a start forgets that a topic was altered" src/node/group/restore.rs \
        's/Entry::Alter \{ topic, change \} => .*,$/Entry::Alter { .. } => {}/'
    bug "an opened producer that is not remembered begins anew" src/topic/producer.rs \
        's/None if resume \&\& forgotten > 0/None if resume \&\& forgotten > u64::MAX - 1/' topic
    bug "only the first epoch of a producer is counted" src/topic/producer/opened.rs \
        's/opened\.records \+= u64::from\(records\);/opened.records += u64::from(records) * u64::from(opened.epoch == 1);/' topic sim
    bug "what an altered topic does not keep any more stays" src/topic/catalogue.rs \
        's/topic\.log\.retain\(&topic\.retention\);//' node::tests
    bug "opening leaves sequence 0 to be published" src/topic/producer.rs \
        's/Ordering::Equal if batch\.sequence == 0/Ordering::Equal if batch.sequence == u64::MAX/' topic
    bug "what a checkpoint remembers of a producer is one sequence short" src/topic/producer.rs \
        's/varint::put\(out, producer\.expected\);/varint::put(out, producer.expected.saturating_sub(1));/'
    bug "a start forgets where a log begins" src/topic/log.rs \
        's/\[self\.first\.0, self\.next\.0, self\.last_append_us\]/[self.first.0.saturating_sub(1), self.next.0, self.last_append_us]/'
    bug "the newest chunk of a topic leaves memory" src/topic/log.rs \
        '/pub fn evict/,/^    \}/ s/pop_front/pop_back/' topic
    bug "the chunks that came last leave memory first" src/topic/catalogue/evict.rs \
        's/eviction\.order\.pop_front/eviction.order.pop_back/' topic sim
    bug "a log forgets until when its records have left memory" src/topic/log.rs \
        's/self\.given_up_us = oldest\.last_us\(\);//' topic
    bug "marks are not in a checkpoint" src/topic/log.rs \
        's/self\.marks\.encode\(out\);/Marks::default().encode(out);/'
    bug "a mark comes back without the time of its last record" src/topic/log/marks.rs \
        's/varint::put\(out, mark\.last_us - mark\.first_us\);/varint::put(out, 0);/' topic journal
    bug "retention by size removes one mark too many" src/topic/log/marks.rs \
        's/cut = mark\.base;/cut = self.marks.get(index + 1).map_or(mark.base, |next| next.base);/' topic
    bug "a record in the middle of a batch comes with those before it" src/node/group/read.rs \
        's/if before == 0 \{ Some\(fetched\)/if before < 1000 { Some(fetched)/' node::tests
    bug "a fetch does not tell the gap before what it was answered with" src/node/group/read.rs \
        's/Fetched \{ from, \.\.fetched \}/Fetched { from: fetched.base, ..fetched }/' node::tests
    bug "a read that comes late says how far the log is now" src/node/group/read.rs \
        's/base, count, first, next, runs, payload/base, count, first: topic.log.first(), next, runs, payload/' node::tests
    bug "readers that are behind are not told of a gap" src/node/deliver.rs \
        's/if from < to \{/if from < to \&\& fetched.count == 0 {/' node::tests sim
    bug "the journal is not told of records before they leave memory" src/node/group/apply.rs \
        's/step\.out\.push\(Action::File \{ notes: (.*) \}\);/drop(\1);/' sim
    bug "the journal is asked before it is told" src/storage.rs \
        '/fn give\(/,/^    \}/ s/self\.tell_notes\(\);//' process
    bug "a topic that was deleted comes back with a start" src/node/group/restore.rs \
        's/Entry::Delete \{ topic \} => .*,$/Entry::Delete { .. } => {}/'
    bug "records that age has removed come back with a start" src/node/group/restore.rs \
        's/Entry::Trim \{ topic, first \} => .*,$/Entry::Trim { .. } => {}/'
    bug "the journal is told of a single batch only with the next one" src/node/group/apply.rs \
        's/if !self\.notes\.is_empty\(\) \{/if self.notes.len() > 1 {/'
    bug "the thread gives entries back before it has synced them" src/storage/commit.rs \
        's/(Sync::Always \| Sync::Interval\(_\) => )self\.sync\(\),/\1self.writer.write().expect("written"),/'
    bug "the thread gives back what it has not synced when it turns to the next segment" src/storage/commit.rs \
        '/fn turn\(/,/^    \}/ s/self\.sync\(\);//'
    bug "the thread gives entries back in another order" src/storage/commit.rs \
        's/self\.written\.drain\(\.\.\)/self.written.drain(..).rev()/'
    bug "the thread leaves out what does not fit the segment" src/storage/commit.rs \
        's/while appended < entries\.len\(\) \{/if appended < entries.len() {/'
    bug "a lossy start begins no new life of the logs" src/storage/start.rs \
        's/if is_lossy \{/if is_lossy \&\& last.index == u64::MAX {/'
    bug "a lazy log is never synced" src/journal/writer.rs \
        's/if self\.synced < self\.written \{/if !self.state.is_lazy \&\& self.synced < self.written {/'
    bug "an orderly end is not believed" src/journal/writer.rs \
        's/is_end: true/is_end: false/'
    bug "a loss is told one record too late" src/topic/catalogue.rs \
        's/self\.losses\.push\(\(self\.epoch, self\.log\.next\(\)\)\)/self.losses.push((self.epoch, self.log.next().plus(1)))/'
    bug "a batch that met a gap overtakes the one before it" src/node/retry.rs \
        's/!is_early \&\& !is_not_applied/!is_not_applied/' node::tests
    bug "all requests of a silent target are sent again" src/node/retry.rs \
        's/!pending\.is_repeatable \|\| tested\.contains\(target\)/!pending.is_repeatable/' node::tests
    bug "what was lost is taken for not applied" src/node/retry.rs \
        '/fn mark_lost\(/,/^    \}/ s/\(pending\.is_unsure, pending\.lost_us\) = \(true, now_us\)/pending.lost_us = now_us/' node::tests
    bug "what was lost late is not sent again for long enough" src/node/retry.rs \
        's/\(is_unreachable \|\| !is_new_loss\)/true/' node::tests
    bug "a change is sent again after it may have been applied" src/node/retry.rs \
        '/fn mark_lost\(/,/^    \}/ s/if pending\.is_repeatable/if pending.frame.is_some()/' node::tests
    bug "new requests overtake those that wait" src/node/retry.rs \
        '/fn queue_behind_waiting/,/^    \}/ s/!self\.retries\.holds\(lane\)/true/' node::tests
    bug "an earlier attempt that comes back is taken for the latest" src/node/ingress.rs \
        's/if self\.pending\.is_latest\(origin\) != Some\(true\)/if false/' node::tests
    bug "a refusal of an earlier attempt is the answer" src/node/ingress.rs \
        's/!is_latest \&\& Class::of\(status\) != Class::Success/false/' node::tests
    bug "ages go by the clock of the machine" src/node/group/age.rs \
        's/step\.wall\.now_us\(step\.now\)\)/step.now.wall_us)/' node::tests sim
    bug "records of this process wait for a neighbour's clock" src/topic/log.rs \
        's/ > \(era, time_us\)$/ > (u32::MAX, time_us)/' node::tests
    bug "records from before the start pass for those of this process" src/topic/log.rs \
        's/ > \(era, time_us\)$/ >= (0, 0)/' node::tests
    bug "any neighbour's clock agrees" src/node/wall.rs \
        's/ <= CLOCK_AGREES_US/ <= u64::MAX/' node::tests
    bug "a jump after a start makes the records from before it older" src/node/wall.rs \
        's/Trust::NotSince\(_\) if at_us < was_us => .*,/Trust::NotSince(_) if at_us < was_us => 0,/' node::tests
    bug "a start believes a clock that went back before it" src/topic/eras.rs \
        's/saturating_sub\(least\)/saturating_sub(0)/' topic
    bug "records are older than the next clock can make them" src/topic/eras.rs \
        's/later\.min\(\)\.unwrap_or\(u64::MAX\)/later.max().unwrap_or(u64::MAX)/' topic
    bug "a time is looked for across clocks" src/topic/log.rs \
        's/from: here\.base, end: next\.base/from: here.base, end: self.next/' topic
    bug "a chunk has records of two clocks" src/topic/log.rs \
        's/is_live && !begins_era/is_live/' topic
    bug "a mark has records of two clocks" src/topic/log.rs \
        's/if begins_era \{ Grain::NONE \}/if base.0 == u64::MAX { Grain::NONE }/' topic
    bug "a checkpoint does not know where clocks began in a topic" src/topic/catalogue/image.rs \
        's/if topic\.log\.has_stretches\(\) \{/if topic.id.number() == 0 {/'
    bug "a checkpoint has no clocks" src/topic/catalogue/image.rs \
        's/if self\.eras != Eras::default\(\) \{/if self.places.len() == usize::MAX {/'
    bug "a correction of the clock is forgotten at a start" src/node/group/restore.rs \
        's/Entry::Reclock\(reclock\) => .*,$/Entry::Reclock(_) => {}/'
    bug "connections from a stall are let in" src/node/hello.rs \
        's/Some\(Peer::Handshaking \{ is_stale: true, \.\. \}\)/Some(Peer::Handshaking { is_stale: true, deadline_us: 0 })/' node::tests
    bug "a stall is noticed only at the next tick" src/node.rs \
        's/Event::Timeout => self\.on_timeout\(step\),/Event::Timeout => { self.notice_stall(now); self.on_timeout(step) }/; s/^ *self\.notice_stall\(now\);$//' node::tests
    bug "a connection that is accepted after the stall passes for a new one" src/node/tick.rs \
        's/now\.monotonic_us < self\.stale_until_us/now.monotonic_us + 2 * TICK_US < self.stale_until_us/' node::tests
    bug "repeated log lines are not counted" src/logs.rs \
        's/suppressed\.count \+= 1;/suppressed.count = 1;/' logs
    bug "what a peer sends reaches the log as it is" src/logs.rs \
        's/if char\.is_control\(\) \{/if char == char::MAX {/' logs
    bug "the environment overrides the command line" src/config/environment.rs \
        's/if !is_overridden\(option, &given\) \{/if variable.len() > 0 {/' config
    bug "an option of the command line does not override its rivals" src/config/environment.rs \
        's/given\.contains\(&option\) \|\| .*$/given.contains(\&option)/' config
    bug "a misspelt variable is ignored" src/config/environment.rs \
        's/\(name\.len\(\) \/ 3\)\.min\(2\)/0/' config
    bug "an option has no variable" src/config/environment.rs \
        's/^    \("--retain-age", Kind::Value\),//' config
    bug "a switch that is left out is set" src/config/environment.rs \
        's/"0" \| "false"\) => return Ok\(\(\)\)/"0" | "false") => self.words.push(option)/' config
    bug "a size in M is a power of 1024" src/types/size.rs \
        's/text\.trim\(\)\.parse/text.trim().replace("64M", "64Mi").replace("iiB", "iB").replace("ii", "i").parse/' types
    bug "a node starts with memory for nothing" src/config.rs \
        's/arguments\.memory\.0 < NODE_BYTES_LEAST/arguments.memory.0 > u64::MAX - NODE_BYTES_LEAST/' config
    bug "an address that clients cannot connect to is advertised" src/net/host.rs \
        's/self\.port\(\) != 0 && //; s/ip\.is_unspecified\(\) \|\| //' config
    bug "what a node advertises is not told" src/config.rs \
        's/\.clone_from\(&advertised\);/.clone_from(\&None);/' process:names
    bug "the second address of a line is not told" src/config.rs \
        's/peer\.advertised\.unwrap_or\(peer\.address\)/peer.address/' process:names
    bug "only the first address of a name is tried" src/net/resolver.rs \
        's/self\.tried\.push\(address\);/self.untried.clear();/' process:all_addresses
    bug "an address that hangs is tried each time" src/net/resolver.rs \
        's/^        each\.sort_by_key\(.*$//' net::resolver
    bug "a name is looked up again while its lookup hangs" src/net/resolver.rs \
        's/if name\.is_asked \{/if name.is_asked \&\& port == 0 {/' process:resolver
    bug "a lookup blocks the loop" src/net/resolver.rs \
        's/thread::Builder::new\(\).*spawn\(move \|\| \{/std::convert::identity((move || {/; s/^        \}\)\?;$/        })());/' process:resolver
    bug "the loop is not woken by an answer" src/net/resolver.rs \
        's/^ *wake\(\);$//' net::resolver
    bug "an answer that comes late is not dropped" src/net/server/dialing.rs \
        's/self\.resolver\.settle\(node\);//' process:resolver
    bug "the same reason is logged at each dial" src/net/server/dialing.rs \
        's/if self\.last\.get\(&node\) == Some\(&reason\) \{/if reason.is_empty() {/' process:names
    bug "a hangup ends the node" src/main.rs \
        's/^    ignore_hangup\(\);$/    let _ = ignore_hangup;/' process:names
    bug "a FEED may have any number of items" protocol/src/wire/feed.rs \
        's/usize::from\(count\) > max/usize::from(count) > max + 70_000/' node::tests
    bug "a frame may leave no room for its route section" protocol/src/wire/frame.rs \
        's/ \|\| unrouted_len > FRAME_MAX as usize//' wire
    bug "the id of a waiting FETCH may be used again" src/node/subscriptions.rs \
        's/self\.by_request\.contains_key\(&\(conn, id\)\) \|\|/self.stream(conn, id).is_some() ||/' node::tests
    bug "a CREATE that changes nothing is written" src/node/group/topics.rs \
        '/pub\(super\) fn propose_create/,/^    \}/ s/if !self\.proposals\.has_changes\(\) \{/if self.proposals.len() == usize::MAX {/' node::tests
    bug "a CREATE overtakes the DELETE before it" src/node/group/topics.rs \
        '/pub\(super\) fn propose_create/,/^    \}/ s/if !self\.proposals\.has_changes\(\) \{/if self.proposals.len() < usize::MAX {/' node::tests
    bug "what deletes is not counted while the disk hangs" src/node/group/topics.rs \
        '/pub\(super\) fn propose_delete/,/^    \}/ s/self\.check_queue\(step\.settings, Cost::of\(&entry\)\)\?;//' node::tests
    bug "what is created is not counted while the disk hangs" src/node/group/proposals.rs \
        's/entry: \(ENTRY_COST \+ name_len\) as u64/entry: 0/' node::tests
    bug "on a full disk trims take the room of deletes" src/storage/commit.rs \
        's/Entry::Trim \{ \.\. \} => SEGMENT_RESERVE_DELETES/Entry::Trim { .. } => SEGMENT_RESERVE_CLOCK/' storage
    bug "on a full disk a turn is appended as a whole or not at all" src/storage/commit.rs \
        's/^ *Err\(NoRoom\) if self\.is_full && run > 1 => .*$//' storage
    bug "the end of a fetch wakes all who wait for one" src/node/pull.rs \
        's/self\.wake_waiting\(PULLS_PER_HOME_MAX\)/self.wake_waiting(usize::MAX)/' node::tests
    bug "each failed fetch schedules a retry for all readers" src/node/pull.rs \
        's/if std::mem::replace\(&mut self\.subscriptions\.topic_mut\(place\)\.is_retried, true\) \{/if self.subscriptions.topic(place).is_unread() {/' node::tests
    bug "each record looks at all readers that are behind" src/node/deliver.rs \
        's/topic\.newly_behind\(known\)/topic.newly_behind(Offset(known.0.min(0)))/' node::tests
    bug "readers are woken by a record that was known" src/node/follow.rs \
        's/topic\.newly_behind\(known\)/topic.newly_behind(Offset(known.0.min(0)))/' node::tests
    bug "the index of a chunk is read one entry too far" src/topic/log/chunk.rs \
        's/let by_records = record_max \/ STRIDE;/let by_records = record_max.div_ceil(STRIDE);/' topic
    bug "a connection that overdraws does not pay" src/net/fair.rs \
        's/share\.credit = share\.credit\.saturating_sub\(signed\(work\)\);//' net::fair
    bug "reads of a client that is gone are executed" src/net/server/input.rs \
        's/ if is_gone && is_only_asked\(frame\) =>/ if is_gone \&\& frame.len() == 0 =>/' process:fairness
    bug "the least recently active producer is whoever was first" src/topic/producer/silence.rs \
        's/Some\(now\) if now == known/Some(now) if now >= known/' topic
    bug "readers of other nodes wrap" src/node/group/feeds.rs \
        's/self\.subscribers\.saturating_add\(subscribers\)/self.subscribers.wrapping_add(subscribers)/' node::tests
    bug "a batch of an index may end beyond 4 GiB" src/journal/index.rs \
        's/^ *place\.position\.checked_add\(len\)\?;$//' journal::index
    bug "a small disk is not told" src/storage/room.rs \
        's/Ok\(room\) if room < DISK_BYTES_LEAST/Ok(room) if room < 1 << 20/' process:full
    bug "offsets of an earlier life are taken for those of this one" src/node/group/fetch.rs \
        's/\.filter\(\|epoch\| \*epoch != topic\.epoch\)/.filter(|epoch| *epoch > topic.epoch)/'
}

# --- one bug --------------------------------------------------------------------------------------------------------

# bug NAME FILE SED [TEST…]: plants it, unless its name has none of the words that were asked for. A test is `journal`,
# `sim`, `process` (its `durable::larger`), `process:WORD` (those whose names hold the word), or a module of src/ for the
# unit tests in it.
bug() {
    local name=$1 file=$2 change=$3 word
    shift 3
    if ((${#words[@]} > 0)); then
        for word in "${words[@]}"; do
            [[ $name == *"$word"* ]] && word= && break
        done
        [[ -z $word ]] || return 0
    fi
    local with_bug=$copy/$file
    [[ -z $check ]] || with_bug=$folder/with_bug
    sed -E "$change" "$project/$file" >"$with_bug"
    if cmp -s "$project/$file" "$with_bug"; then
        fail "'$name' changes nothing any more" "bring its line in scripts/$program up to date with $file"
    fi
    planted=$((planted + 1))
    [[ -z $check ]] || return 0
    if (($# > 0)); then
        hunt "$name" "$@"
    elif [[ $file == src/storage/* && $file != src/storage/start.rs ]]; then
        hunt "$name" storage
    else
        hunt "$name" journal sim
    fi
    cp "$project/$file" "$copy/$file"
}

# hunt NAME TEST…: prints which of the tests finds the bug that is planted, and after how many seconds of looking.
hunt() {
    local name=$1 test
    shift
    for test; do
        seek "$test" --no-run >"$output" 2>&1 || {
            cat "$output" >&2
            fail "'$name' does not compile" "bring its line in scripts/$program up to date"
        }
        local began=$SECONDS code=0 finder
        seek "$test" >"$output" 2>&1 || code=$?
        # On a busy machine the time may be up (124) after a test has failed and before all are through.
        finder=$(awk '/^test .* FAILED$/ && !found { print $2; found = 1 }' "$output")
        if [[ -n $finder ]] || ((code != 0 && code != 124)); then
            printf '%-74s %4d s  %s: %s\n' "$name" $((SECONDS - began)) "$test" "${finder:-it breaks off}"
            return 0
        fi
    done
    printf '%-74s %4s    NOT FOUND\n' "$name" -
    missed=$((missed + 1))
}

# seek TEST [OPTION]: looks for as long as it may; with --no-run it only compiles.
seek() {
    local arguments=("--test" "$1")
    case $1 in
    journal) ;;
    sim) arguments+=(seeds) ;;
    process) arguments+=(durable::larger) ;;
    logs) arguments=(--bin dht-node "$1") ;;
    process:*) arguments=(--test process "${1#process:}") ;;
    *) arguments=(--lib "$1") ;;
    esac
    if [[ ${2:-} == --no-run ]]; then
        cargo test --offline --locked "${arguments[@]}" --no-run
    else
        SIM_SEEDS=1000000 timeout "$limit" cargo test --offline --locked "${arguments[@]}"
    fi
}

[[ ${1:-} != -h && ${1:-} != --help ]] || {
    sed -n '2,8s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"
    exit 0
}
is_number "$limit" 1 100000 || fail_usage "PLANTED_LIMIT=$limit is no number of seconds"
check=yes is_check_only=''
[[ ${1:-} != --check ]] || { is_check_only=yes && shift; }
words=("$@")
folder=$(mktemp -d "${TMPDIR:-/tmp}/planted.XXXXXX")
trap 'rm -rf "$folder"' EXIT
copy=$folder/copy output=$folder/output planted=0 missed=0
# Before anything is compiled: a word that no name has, or a bug that cannot be planted any more, would be noticed late.
list_bugs
((planted > 0)) || fail_usage "no bug has such a name"
[[ -z $is_check_only ]] || {
    note "$planted bugs could be planted"
    exit 0
}
check='' planted=0
mkdir "$copy"
git ls-files -z --cached --others --exclude-standard | xargs -0 tar -cf - -- | tar -xf - -C "$copy"
export CARGO_TARGET_DIR=${PLANTED_TARGET:-$folder/target} CARGO_PROFILE_TEST_DEBUG=0
# From here on everything happens in the copy; $project is only read.
cd "$copy"
note "without a bug"
{ seek journal --no-run && seek journal; } >"$output" 2>&1 || {
    cat "$output" >&2
    fail "the test of the journal fails without any bug planted"
}
list_bugs
note "$((planted - missed)) of $planted found"
((missed == 0))
