#!/usr/bin/env bash
# docs-lint.sh: the collection's documentation, the site that is built from it, and the changelog fragments.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
begin_part docs-lint
step "module and role documentation" antsibull-docs lint-collection-docs --plugin-docs . || true
# a page that is missing, a link that leads nowhere, a heading of the README that a page includes
step "the site builds without a warning" docs/build.sh || true
step "changelog fragments" antsibull-changelog lint || true
end_part
