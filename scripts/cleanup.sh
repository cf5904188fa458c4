#!/usr/bin/env bash
# Ends the nodes that scripts/deploy.sh started and removes their pid files, logs and data.
# Takes the options of deploy.sh: with --data DIR it cleans that folder.
set -euo pipefail

exec "$(dirname "${BASH_SOURCE[0]}")/deploy.sh" clean "$@"
