#!/usr/bin/env bash
# Stops the nodes that scripts/deploy.sh started, and removes their pid files, logs and data. It accepts the options of
# deploy.sh: with --data DIR it cleans that folder. With --keep-records it removes the logs and the build output instead,
# and no record.
set -euo pipefail

scripts=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
[[ ${1-} == --keep-records ]] || exec "$scripts/deploy.sh" clean "$@"
(($# == 1)) || {
    echo "cleanup.sh: --keep-records takes no other option: it cleans run/ and the build output of this project" >&2
    exit 2
}

project=$(dirname "$scripts")
"$scripts/deploy.sh" stop
rm -f "$project"/run/node-*.log "$project"/run/node-*.log.1 "$project"/run/gateway.log "$project"/run/gateway.log.1
cd "$project"
cargo clean
