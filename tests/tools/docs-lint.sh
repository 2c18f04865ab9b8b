#!/usr/bin/env bash
# docs-lint.sh: the collection's documentation and its changelog fragments.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
begin_part docs-lint
step "module and role documentation" antsibull-docs lint-collection-docs --plugin-docs . || true
step "changelog fragments" antsibull-changelog lint || true
end_part
