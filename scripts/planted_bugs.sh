#!/usr/bin/env bash
# Plants bugs in the journal, one at a time, in a copy of the project, and shows which test finds each, and how soon.
#   scripts/planted_bugs.sh             all of them
#   scripts/planted_bugs.sh WORD…       those whose names hold one of the words
#   scripts/planted_bugs.sh --check     none: only whether each could still be planted
# First `cargo test --test journal` (of the threads: `--lib storage`), then seeds of the simulator, each for at most
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

# --- the bugs: name, file, and what sed does to it ------------------------------------------------------------------

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
        's/if header\[5\] != 0 \|\| .* \{/if header[5] != 0 {/'
    bug "a record of the segment's life before passes for a new one" src/journal/format.rs \
        's/crc32_of_parts\(\[&segment\.to_be_bytes\(\), header, body\]\)/crc32_of_parts([header, body])/'
    bug "the tail is cut eight bytes too soon" src/journal/recovery.rs \
        's/file\.set_len\(end as u64\)/file.set_len(end as u64 - 8)/'
    bug "the tail is not written again after a sync that failed" src/journal/recovery.rs \
        's/file\.write_at\(&bytes\[\.\.end\], 0\)\.map_err\(io\)\?;//'
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
    bug "an index of a checkpoint that did not come about counts" src/journal/recovery.rs \
        's/if number > self\.from\.place\.segment \{/if number == u32::MAX {/'
    bug "the oldest checkpoint counts instead of the newest" src/journal/recovery.rs \
        's/(checkpoint_index\(name\)\))\.max\(\)/\1.min()/'
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
        '/pub fn checkpoint/,/let name =/ s/self\.disk\.sync_names\(\)\?;//'
    bug "a checkpoint goes before the name of the next one is safe" src/journal/keeper.rs \
        '/let name = names::checkpoint/,/range_mut/ s/self\.disk\.sync_names\(\)\?;//'
    bug "an index whose segment is gone is a fault" src/journal/recovery.rs \
        's/if segments\.binary_search\(&number\)\.is_ok\(\)/if number > 0/'
    bug "a checkpoint has its name before its bytes are safe" src/journal/keeper.rs \
        's/write_file\(&self\.disk, &name, (&checkpoint::encode.*)\)\?;/self.disk.create(\&name)?.write_at(\1, 0)?;/'
    bug "a dead segment goes before the checkpoint that makes it dead" src/journal/keeper.rs \
        's/^( *)let name = names::checkpoint\(mark\.index\);/\1self.remove_dead(mark.place.segment)?;\n&/'
    bug "a segment is dead when one live record is left in it" src/journal/keeper.rs \
        's/&& oldest\.end <= first/\&\& oldest.end <= first.plus(1)/'
    bug "an index forgets the batches from before the last checkpoint" src/journal/keeper.rs \
        's/self\.segments\.range_mut\(\.\.mark\.place\.segment\) \{/self.segments.range_mut(..=mark.place.segment) {/'
    bug "the checksum of an index is not looked at" src/journal/index.rs \
        's/BigEndian::read_u32\(&entry\[ENTRY - 4\.\.\]\) == crc/crc > 0/; s/bytes\.len\(\) == self\.entries \* ENTRY \&\& self\.crc == .*;/bytes.len() == self.entries * ENTRY;/'
    bug "free places come back in another order" src/topic/catalogue/image.rs \
        's/self\.free\.iter\(\)\.for_each/self.free.iter().rev().for_each/'
    bug "a checkpoint has no producers" src/topic/catalogue/image.rs \
        's/u8::from\(topic\.producers\.is_some\(\)\)/0/; s/if let Some\(producers\) = &topic\.producers/if let Some(producers) = topic.producers.as_ref().filter(|_| false)/'
    bug "what a checkpoint remembers of a producer is one sequence short" src/topic/producer.rs \
        's/varint::put\(out, producer\.expected\);/varint::put(out, producer.expected.saturating_sub(1));/'
    bug "a start forgets where a log begins" src/topic/log.rs \
        's/\[self\.first\.0, self\.next\.0, self\.last_append_us\]/[self.first.0.saturating_sub(1), self.next.0, self.last_append_us]/'
    bug "a topic that was deleted comes back with a start" src/node/restore.rs \
        's/Entry::Delete \{ topic \} => .*,$/Entry::Delete { .. } => {}/'
    bug "records that age has removed come back with a start" src/node/restore.rs \
        's/Entry::Trim \{ topic, first \} => .*,$/Entry::Trim { .. } => {}/'
    bug "the journal is told of a single batch only with the next one" src/node/apply.rs \
        's/if !self\.notes\.is_empty\(\) \{/if self.notes.len() > 1 {/'
    bug "the thread gives entries back before it has synced them" src/storage/commit.rs \
        's/(Sync::Always \| Sync::Interval\(_\) => )self\.sync\(\),/\1self.writer.write().expect("written"),/'
    bug "the thread gives back what it has not synced when it turns to the next segment" src/storage/commit.rs \
        '/fn turn\(/,/^    \}/ s/self\.sync\(\);//'
    bug "the thread gives entries back in another order" src/storage/commit.rs \
        's/self\.written\.drain\(\.\.\)/self.written.drain(..).rev()/'
    bug "the thread leaves out what does not fit the segment" src/storage/commit.rs \
        's/while appended < entries\.len\(\) \{/if appended < entries.len() {/'
}

# --- one bug --------------------------------------------------------------------------------------------------------

# bug NAME FILE SED: plants it, unless its name has none of the words that were asked for.
bug() {
    local name=$1 file=$2 change=$3 word
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
    case $file in
    src/storage/*) hunt "$name" storage ;;
    *) hunt "$name" journal sim ;;
    esac
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
        if ((code != 0 && code != 124)); then
            finder=$(awk '/^test .* FAILED$/ && !found { print $2; found = 1 }' "$output")
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
    sim) arguments+=(seeds) ;;
    storage) arguments=(--lib storage) ;;
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
check='' words=("$@")
[[ ${1:-} != --check ]] || check=yes words=()
folder=$(mktemp -d "${TMPDIR:-/tmp}/planted.XXXXXX")
trap 'rm -rf "$folder"' EXIT
copy=$folder/copy output=$folder/output planted=0 missed=0
if [[ -n $check ]]; then
    list_bugs
    note "$planted bugs could be planted"
    exit 0
fi
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
((planted > 0)) || fail_usage "no bug has such a name"
note "$((planted - missed)) of $planted found"
((missed == 0))
