# shellcheck shell=bash
# Sourced by the scripts beside it: results by part, and the Pythons that ansible-test runs on.
# A part counts what it ran in .cache/counts/PART, names what it left out in .cache/left-out/PART and what failed in
# .cache/failed/PART; test.sh adds them up and ends with them. Parts may run at the same time.

cd "$(dirname "${BASH_SOURCE[0]}")/../.." || exit
root=$PWD
export PATH="$root/.venv/bin:$PATH"
export ANSIBLE_HOME="$root/.ansible"
export ANSIBLE_COLLECTIONS_PATH="$root/.ansible/collections"

# Platforms that every run shows: the oldest, and by turns the newest of the two families of packages; with TEST_ALL=1 all three.
matrix_families() {
    local turn=$(($(date -u +%s) / 86400 % 2))
    if [ "${TEST_ALL:-}" = 1 ]; then echo el9 el7 trixie; elif [ "$turn" = 0 ]; then echo el7 trixie; else echo el9 el7; fi
}

begin_part() {
    part=$1
    mkdir -p .cache/counts .cache/left-out .cache/failed
    : > ".cache/counts/$part"
    : > ".cache/left-out/$part"
    : > ".cache/failed/$part"
}

count() { echo "$1 $2" >> ".cache/counts/$part"; }

# count_junit FILE...: the tests in JUnit reports; a report that is not there counts nothing.
count_junit() {
    local line
    .venv/bin/python tests/tools/junit_counts.py "$@" >> ".cache/counts/$part"
    while IFS= read -r line; do has_failed "$line"; done < <(.venv/bin/python tests/tools/junit_counts.py --failed "$@")
}

# left_out_junit FILE...: the tests that a report says were skipped.
left_out_junit() {
    local line
    while IFS= read -r line; do left_out "$line"; done < <(.venv/bin/python tests/tools/junit_counts.py --skipped "$@")
}

left_out() {
    echo "$part: $*" >> ".cache/left-out/$part"
}

has_failed() {
    echo "$part: $*" >> ".cache/failed/$part"
}

# step LABEL COMMAND...: one check that counts as one test.
step() {
    local label=$1
    shift
    echo "--- $part: $label"
    if "$@"; then
        count 1 0
    else
        echo "--- $part: $label FAILED"
        has_failed "$label"
        count 0 1
        return 1
    fi
}

# end_part [FAILED]: green only when something ran and nothing failed. A non-empty FAILED without a
# failed test is a failure outside of any test: an environment that could not be made for instance.
end_part() {
    local passed failed
    if [ -n "${1:-}" ] && ! grep -qE ' [1-9]' ".cache/counts/$part"; then
        count 0 1
        has_failed "something outside of its tests"
    fi
    read -r passed failed < <(awk '{ p += $1; f += $2 } END { print p + 0, f + 0 }' ".cache/counts/$part")
    sed "s/^$part: /left out: /" ".cache/left-out/$part"
    echo "$part: $passed passed, $failed failed"
    [ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
}

# What the hosts have to say about a failure, before they are gone.
lab_journal() {
    local host
    for host in base-centos-1 base-centos-2 base-centos-3 base-centos-4; do
        echo "--- $part: the end of the journal of $host"
        docker exec "$host" journalctl --no-pager -n 25 2>&1 || true
    done
}

lab_ends() {
    [ "${KEEP_LAB:-}" = 1 ] || molecule/shared/lab.sh down || true
}

# find_interpreter X.Y: the path of a Python that really runs, on PATH or in pyenv. A pyenv shim
# is no such path: ansible-test clears the environment that it lives on.
find_interpreter() {
    local candidate real pyenv_root
    pyenv_root=$(pyenv root 2>/dev/null || true)
    while read -r candidate; do
        real=$("$candidate" -c 'import sys; print("%d.%d %s" % (sys.version_info[:2] + (sys.executable,)))' 2>/dev/null) || continue
        if [ "${real%% *}" = "$1" ]; then
            echo "${real#* }"
            return 0
        fi
    done < <(
        command -v "python$1"
        if [ -n "$pyenv_root" ]; then
            find "$pyenv_root/versions" -maxdepth 3 -path "*/$1.*/bin/python$1" | sort -rV
        fi
    )
    return 1
}

# ansible_test_tree: ansible-test refuses the symlink under .ansible, so it gets a copy of what git
# knows or would add. Its virtual environments in tests/output stay from run to run. Each part has a tree and a home of its own.
ansible_test_tree() {
    tree=$root/.cache/at/$part/ansible_collections/pgfleet/repmgr
    mkdir -p "$tree/tests"
    find "$tree" -mindepth 1 -maxdepth 1 ! -name tests -exec rm -rf {} +
    find "$tree/tests" -mindepth 1 -maxdepth 1 ! -name output -exec rm -rf {} +
    rm -rf "$tree/tests/output/junit"
    git ls-files -z --cached --others --exclude-standard -- . ':!.ansible' |
        while IFS= read -r -d '' file; do
            # a file that is deleted but not yet staged is still listed
            if [ -e "$file" ] || [ -L "$file" ]; then printf '%s\0' "$file"; fi
        done |
        tar -c --null --no-recursion -T - | tar -x -C "$tree"
    # without a repository of its own it would ask the one around it, which ignores .cache
    git init --quiet "$tree"
}

# ansible_test_home: ansible-test hands HOME and little else to pip, and fetches a get-pip script
# that a machine with nothing but a package mirror cannot reach. So it gets a home of its own with
# pip's effective configuration and a script that runs the pip of that version from the mirror.
ansible_test_home() {
    ansible_test_home=$root/.cache/at/$part/home
    local cache=$ansible_test_home/.ansible/test/cache wheels=$root/.cache/at/wheels version
    mkdir -p "$ansible_test_home/.config/pip" "$cache" "$wheels"
    .venv/bin/python tests/tools/pip_settings.py pip > "$ansible_test_home/.config/pip/pip.conf"
    for version in "$@"; do
        ls "$wheels/pip-$version"-*.whl >/dev/null 2>&1 ||
            flock "$wheels" .venv/bin/python -m pip download -qq --no-deps --only-binary :all: -d "$wheels" "pip==$version" ||
            return 1
        cat > "$cache/get_pip_${version//./_}.py" <<GETPIP
import glob
import runpy
import sys

sys.path.insert(0, glob.glob("$wheels/pip-$version-*.whl")[0])
sys.argv[1:1] = ["install"]
runpy.run_module("pip", run_name="__main__")
GETPIP
    done
}

# python27_environment: ansible-test makes 2.7 environments with virtualenv 16.7.12 alone, and
# leaves its 2.7 import test out without a word where that is missing. Rather than install into the
# machine's Python this makes an environment that has it; virtualenv brings its own pip wheels.
python27_environment() {
    local interpreter=$1 dir=$root/.cache/at/$part/python2.7 tool=$root/.cache/at/$part/virtualenv
    python27_bin=$dir/bin
    "$dir/bin/python2.7" -m virtualenv --version >/dev/null 2>&1 && return 0
    rm -rf "$dir" "$tool"
    .venv/bin/python -m pip install -qq --no-deps --target "$tool" virtualenv==16.7.12 || return 1
    PYTHONPATH=$tool "$interpreter" -m virtualenv --quiet --no-download "$dir" || return 1
    cp -r "$tool"/virtualenv* "$dir/lib/python2.7/site-packages/"
    "$dir/bin/python2.7" -m virtualenv --version >/dev/null
}

# ansible_test_pythons X.Y...: sets `pythons` to those that are here and puts them on
# ansible_test_path; the others are named as left out.
ansible_test_pythons() {
    local version interpreter
    pythons=()
    ansible_test_path=$root/.venv/bin
    for version in "$@"; do
        if ! interpreter=$(find_interpreter "$version"); then
            left_out "Python $version (no such interpreter here)"
        elif [ "$version" = 2.7 ]; then
            if python27_environment "$interpreter"; then
                ansible_test_path=$ansible_test_path:$python27_bin
                pythons+=("$version")
            else
                left_out "Python 2.7 (virtualenv 16.7.12 cannot be installed here)"
            fi
        else
            ansible_test_path=$ansible_test_path:$(dirname "$interpreter")
            pythons+=("$version")
        fi
    done
    ansible_test_path=$ansible_test_path:$PATH
}

# run_ansible_test ARGS...: in the copy, with the home and the Pythons prepared above.
run_ansible_test() {
    (cd "$tree" && HOME=$ansible_test_home PATH=$ansible_test_path ansible-test "$@" </dev/null)
}
