#!/usr/bin/env bash
# build.sh [DIRECTORY]: the documentation site in DIRECTORY (build/docs), from docs/, the code and the collection's own documentation.
# Nothing is fetched; a warning is an error. `make docs` calls it in the project's environment.
set -euo pipefail
cd "$(dirname "$0")/.."
site=${1:-build/docs}
sources=build/docs-sources

rm -rf "$sources" "$site"
mkdir -p "$sources" "$site"
# the pages, and what they include or point to
cp -r docs README.md CONTRIBUTING.md examples "$sources"
python docs/pages.py "$sources/docs"
mkdir -m 755 "$sources/docs/collection"
antsibull-docs collection --use-current --squash-hierarchy --cleanup everything --fail-on-error --dest-dir "$sources/docs/collection" pgfleet.repmgr
sphinx-build -q -W --keep-going -b html -d build/docs-trees "$sources/docs" "$site"
echo "the site begins at $site/index.html"
