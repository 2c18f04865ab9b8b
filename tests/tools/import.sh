#!/usr/bin/env bash
# import.sh TARBALL COLLECTIONS: what Galaxy looks at before it publishes, by Galaxy's own importer; a warning is a failure, too. And
# what ansible-builder makes of the collection for an execution environment. COLLECTIONS is the folder that the tarball is installed in.
#
# TEST_ALL=1: with the importer's own ansible-lint, the same profile that `make lint` runs on the checkout.
# No image is built: that takes a registry with the base image.
set -euo pipefail
tarball=$(realpath "${1:?usage: import.sh TARBALL COLLECTIONS}")
collections=$(realpath "${2:?usage: import.sh TARBALL COLLECTIONS}")
cd "$(dirname "$0")/../.."
root=$PWD
tests/tools/venv.sh .cache/importer requirements/importer.txt
export PATH=$root/.cache/importer/bin:$PATH

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# The importer looks for collections beside the unpacked tarball and on Python's path. There it finds what this one depends on, and this
# one under its own name.
dependencies=$(.venv/bin/python -c 'import ansible_collections; print(ansible_collections.__path__[0])')
mkdir "$work/python" "$work/home"
ln -s "$dependencies" "$work/python/ansible_collections"
[ -n "${TEST_ALL:-}" ] && lint=true || lint=false
(cd "$work" && env -u ANSIBLE_COLLECTIONS_PATH -u ANSIBLE_CONFIG HOME="$work/home" ANSIBLE_HOME="$work/home/.ansible" \
    PYTHONPATH="$collections:$work/python" GALAXY_IMPORTER_RUN_ANSIBLE_LINT="$lint" \
    python -m galaxy_importer.main "$tarball") | tee "$work/import.log"
if grep -E '^(WARNING|ERROR|CRITICAL)' "$work/import.log" >&2; then
    echo "import.sh: the importer is not content" >&2
    exit 1
fi
python - "$work/importer_result.json" <<'CHECK'
import json
import sys

found = json.load(open(sys.argv[1]))
names = {(item["content_type"], item["name"]) for item in found["contents"]}
documented = {item["content_name"]: item["doc_strings"] for item in found["docs_blob"]["contents"]}
for kind, name in (("module", "repmgr_node"), ("filter", "cluster_verdict"), ("role", "guard"), ("playbook", "site.yml")):
    assert (kind, name) in names, "the importer has not found %s %s" % (kind, name)
assert documented["repmgr_node"]["doc"]["options"], "the importer has read no documentation"
assert found["requires_ansible"], "meta/runtime.yml says no ansible-core"
print("%d pieces of content" % len(names))
CHECK

# what the collection asks of an image, and the context that such an image is built from
ansible-builder introspect --sanitize "$collections" > "$work/introspection"
cat "$work/introspection"
grep -q 'openssh-client' "$work/introspection"
cat > "$work/execution-environment.yml" <<DEFINITION
version: 3
dependencies:
  ansible_core: {package_pip: ansible-core>=2.16}
  ansible_runner: {package_pip: ansible-runner}
  galaxy:
    collections:
      - name: $tarball
        type: file
DEFINITION
ansible-builder create --file "$work/execution-environment.yml" --context "$work/context"
grep -q "$tarball" "$work/context/_build/requirements.yml"
