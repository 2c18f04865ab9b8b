#!/usr/bin/env bash
# test-galaxy.sh: what a user does who never sees this checkout. Build the collection, install the
# tarball into an empty folder (and hand it to Galaxy's importer), see that what messages suggest can be
# typed there, deploy from another directory with an inventory of his own, and look
# at the cluster. The lab goes at the end, after a failure, too, unless KEEP_LAB=1.
# shellcheck disable=SC2154  # root is set in lib.sh
set -euo pipefail
. "$(dirname "$0")/lib.sh"
begin_part test-galaxy
work=
clean_up() {
    lab_ends
    [ -z "$work" ] || rm -rf "$work"
}
trap clean_up EXIT

work=$(mktemp -d)
collections=$work/collections
installed=$collections/ansible_collections/pgfleet/repmgr

# nothing of the checkout's environment comes along
elsewhere() {
    (cd "$work" && env -u ANSIBLE_COLLECTIONS_PATH -u ANSIBLE_CONFIG ANSIBLE_HOME="$work/home" "$@" </dev/null)
}

build() {
    local wanted unwanted
    rm -rf .cache/galaxy
    ansible-galaxy collection build --output-path .cache/galaxy . || return 1
    tarball=$(echo .cache/galaxy/pgfleet-repmgr-*.tar.gz)
    tar -tzf "$tarball" > .cache/galaxy/contents
    for wanted in README.md LICENSE bindep.txt meta/runtime.yml playbooks/site.yml playbooks/switchover.yml roles/common/ \
        plugins/modules/repmgr_node.py; do
        grep -qxF "$wanted" .cache/galaxy/contents || { echo "$wanted is missing in the tarball"; return 1; }
    done
    # a key of the lab or an environment must not be published, and what needs a checkout is of no use
    unwanted='\.ansible|\.cache|\.ci|\.config|\.git|\.lab|\.venv|build|molecule|requirements|tests/(acceptance|bench|tools)'
    if unwanted=$(grep -E "^($unwanted)(/|$)" .cache/galaxy/contents); then
        echo "not meant for the tarball:" "$unwanted"
        return 1
    fi
}

install() {
    mkdir -p "$collections"
    printf '[defaults]\ncollections_path = %s\n' "$collections" > "$work/ansible.cfg"
    # the collections that this one depends on come with the ansible package
    elsewhere ansible-galaxy collection install --offline -p "$collections" "$root/$tarball" &&
        [ -f "$installed/playbooks/site.yml" ] && [ ! -L "$installed" ]
}

import() {
    tests/tools/import.sh "$tarball" "$collections" || return 1
    [ -n "${TEST_ALL:-}" ] || left_out "ansible-lint inside the importer (make test-all; make lint runs the same profile)"
}

# each playbook that a message, an alert or a journal may suggest, in one call, which takes a second or two
suggested() {
    local words
    mapfile -t words < <(python tests/tools/suggested.py)
    [ "${#words[@]}" -gt 8 ] || { echo "too few suggestions were found: ${words[*]}"; return 1; }
    echo "${words[@]}"
    elsewhere ansible-playbook --syntax-check "${words[@]}"
}

inventory() {
    # the lab's inventory looks for its key two folders above itself
    mkdir -p "$work/inventories" &&
        cp -r inventories/lab "$work/inventories/" &&
        ln -s "$root/.lab" "$work/.lab"
}

deploy() {
    elsewhere ansible-playbook pgfleet.repmgr.site -i inventories/lab
}

status() {
    elsewhere ansible-playbook pgfleet.repmgr.status -i inventories/lab
}

on_primary() {
    elsewhere ansible primary -i inventories/lab -m ansible.builtin.command -a "chdir=/ runuser -u postgres -- $1"
}

four_nodes_run() {
    local nodes
    nodes=$(on_primary 'repmgr -f /etc/repmgr.conf service status --csv' | grep -E '^[0-9]+,') || return 1
    echo "$nodes"
    # id,name,type,running,repmgrd_running,pid,paused,...
    [ "$(echo "$nodes" | awk -F, '$4 == 1 && $5 == 1 && $7 == 0' | wc -l)" = 4 ]
}

two_stream() {
    local rows
    rows=$(on_primary "psql -XAtc \"select count(*) from pg_stat_replication where state = 'streaming'\"" | tail -n 1) || return 1
    echo "$rows streaming"
    [ "$rows" = 2 ]
}

same_as_from_the_checkout() {
    ansible-playbook site.yml -i inventories/lab </dev/null | tee .cache/galaxy/again.log &&
        [ "$(grep -cE 'changed=0 .*unreachable=0 .*failed=0 ' .cache/galaxy/again.log)" = 4 ]
}

# each step builds on the one before
{
    step "build" build &&
        step "install into an empty folder" install &&
        step "ansible-playbook there knows every suggested command" suggested &&
        step "Galaxy's importer and ansible-builder take it" import &&
        step "four fresh hosts" molecule/shared/lab.sh reset &&
        step "an inventory outside of the checkout" inventory &&
        step "deploy with pgfleet.repmgr.site" deploy &&
        step "pgfleet.repmgr.status finds the cluster healthy" status &&
        step "four nodes run, with repmgrd" four_nodes_run &&
        step "two standbys stream" two_stream &&
        step "site.yml of the checkout finds nothing to change" same_as_from_the_checkout
} || lab_journal
end_part
