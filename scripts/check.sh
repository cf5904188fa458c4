#!/usr/bin/env bash
# All of continuous integration: formatting, lints, documentation, packages, scripts, then every test. It stops at the
# first step that fails and names it; if everything passes, the output ends with that of the test runner.
set -euo pipefail

program=check.sh
scripts=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
project=$(dirname "$scripts")
# shellcheck source=scripts/lib.sh
. "$scripts/lib.sh"
cd "$project"

# step NAME COMMAND…
step() {
    local name=$1 code=0
    shift
    echo "== $name: $*"
    "$@" || code=$?
    ((code == 0)) || fail "step '$name' failed with exit code $code" "run it alone: $*"
}

check_tools() {
    local tool
    for tool in "cargo --version" "cargo fmt --version" "cargo clippy --version"; do
        $tool >/dev/null 2>&1 || {
            echo "'$tool' does not work; rust-toolchain.toml says which toolchain is needed (https://rustup.rs)" >&2
            return 1
        }
    done
    python3 --version >/dev/null 2>&1 || {
        echo "there is no python3; a test runs the Python client of protocol.md against real nodes" >&2
        return 1
    }
}

# The programs are those that the tests start.
check_http() {
    cargo test --workspace --no-run --locked || return
    read_build_folder || return
    DHT_BIN_DIR=${bin%/release}/debug scripts/http_check.sh
}

check_scripts() {
    local script
    for script in scripts/*.sh .ci/run; do
        bash -n "$script" || return
    done
    scripts/planted_bugs.sh --check || return
    if command -v shellcheck >/dev/null; then
        shellcheck -x scripts/*.sh .ci/run
    fi
}

step tools check_tools
step format cargo fmt --all --check
step lints cargo clippy --workspace --all-targets --locked -- -D warnings
step "lints without features" cargo clippy -p dht-client --all-targets --locked -- -D warnings
step "lints of features" cargo clippy -p dht-client --all-features --all-targets --locked -- -D warnings
step documentation env RUSTDOCFLAGS="-D warnings" cargo doc --workspace --all-features --no-deps --locked
step packages cargo package --quiet --offline --allow-dirty -p dht-protocol -p dht-client
step scripts check_scripts
step http check_http
step "tests of features" cargo test -p dht-client --all-features --locked
step tests cargo test --workspace --locked
