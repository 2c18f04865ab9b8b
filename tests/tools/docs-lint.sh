#!/usr/bin/env bash
# docs-lint.sh: the collection's documentation, the site that is built from it, and the changelog fragments.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
begin_part docs-lint

# Releasing takes the fragments away, so that it is tried where that does no harm.
release_in_a_copy() {
    local copy=.cache/release said
    rm -rf "$copy"
    mkdir -p "$copy"
    cp -r changelogs galaxy.yml meta plugins roles README.md "$copy" || return 1
    said=$(cd "$copy" && antsibull-changelog release 2>&1) || { echo "$said"; return 1; }
    if [ -n "$said" ]; then
        echo "$said"
        return 1
    fi
    grep -qx "v$(sed -n 's/^version: //p' galaxy.yml)" "$copy/CHANGELOG.rst" && grep -q 'pgfleet.repmgr.repmgr_node - ' "$copy/CHANGELOG.rst"
}

step "module and role documentation" antsibull-docs lint-collection-docs --plugin-docs . || true
# a page that is missing, a link that leads nowhere, a heading of the README that a page includes
step "the site builds without a warning" docs/build.sh || true
step "changelog fragments" antsibull-changelog lint || true
step "a release writes a changelog from them" release_in_a_copy || true
end_part
