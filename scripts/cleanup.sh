#!/usr/bin/env bash
# Stops the nodes that scripts/deploy.sh started, and removes their pid files, logs and data. It accepts the options of
# deploy.sh: with --data DIR it cleans that folder.
set -euo pipefail

exec "$(dirname "${BASH_SOURCE[0]}")/deploy.sh" clean "$@"
