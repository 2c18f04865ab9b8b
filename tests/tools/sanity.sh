#!/usr/bin/env bash
# sanity.sh: ansible-test sanity. Every test on the controller's Python; compile and import, which
# are what a managed host's Python can fail, also on 2.7 (CentOS 7), 3.6 (EL8) and the newest.
# shellcheck disable=SC2154  # tree and pythons are set in lib.sh
set -euo pipefail
. "$(dirname "$0")/lib.sh"
begin_part sanity

controller=$(.venv/bin/python -c 'import sys; print("%d.%d" % sys.version_info[:2])')
others=()
for version in 2.7 3.6 3.11 3.12; do
    [ "$version" = "$controller" ] || others+=("$version")
done

ansible_test_tree
ansible_test_pythons "${others[@]}"
if ! ansible_test_home 20.3.4 21.3.1 23.1.2; then
    left_out "everything (the pip versions that ansible-test wants cannot be downloaded)"
    end_part
    exit
fi

failed=
echo "--- sanity: every test on Python $controller"
run_ansible_test sanity --local --python "$controller" --junit || failed=yes
for version in "${pythons[@]}"; do
    echo "--- sanity: compile and import on Python $version"
    run_ansible_test sanity --local --python "$version" --test compile --test import --junit || failed=yes
done

# ansible-test is green, too, when it skipped a test because it could not make an environment
ran_on() {
    local report=$tree/tests/output/junit/ansible-test-sanity-$1-python-$2.xml
    case $(.venv/bin/python tests/tools/junit_counts.py "$report") in
        "" | "0 0") return 1 ;;
    esac
}
for version in "$controller" "${pythons[@]}"; do
    for name in compile import; do
        step "$name really ran on Python $version" ran_on "$name" "$version" || failed=yes
    done
done

count_junit "$tree"/tests/output/junit/ansible-test-sanity-*.xml
end_part "$failed"
