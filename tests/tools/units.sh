#!/usr/bin/env bash
# units.sh: the unit tests. On the controller's Python all of tests/unit, by pytest itself. On 2.7
# and 3.6, which ansible-core 2.16 knows only as managed hosts, ansible-test runs what can be
# imported there: tests/unit/plugins/modules and tests/unit/plugins/module_utils. So tests in those
# two folders are written for 2.7, too; tests of filters and playbooks stand beside them and are not.
# shellcheck disable=SC2154  # tree and pythons are set in lib.sh
set -euo pipefail
. "$(dirname "$0")/lib.sh"
begin_part units
failed=

# The report is looked at in a browser. Without one those tests are skipped, and named among what was left out.
if ! command -v chromium chromium-browser google-chrome >/dev/null && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    browser=(apt-get install -q -y --no-install-recommends chromium fonts-dejavu-core)
    { "${browser[@]}" || { apt-get update -q && "${browser[@]}"; }; } >.cache/chromium.log 2>&1 </dev/null || tail -n 3 .cache/chromium.log
fi

# The alerts are given to promtool. Its package would start a server, so the program alone is taken out of it.
promtool=$root/.cache/promtool
if ! command -v promtool >/dev/null && [ ! -x "$promtool/usr/bin/promtool" ] && command -v apt-get dpkg-deb >/dev/null; then
    mkdir -p "$promtool"
    fetch_prometheus() { (cd "$promtool" && rm -f -- *.deb && apt-get download -q prometheus && dpkg-deb -x prometheus_*.deb .); }
    { fetch_prometheus || { apt-get update -q && fetch_prometheus; }; } >.cache/promtool.log 2>&1 </dev/null || tail -n 3 .cache/promtool.log
fi
export PATH=$PATH:$promtool/usr/bin

echo "--- units: all tests on the controller's Python"
rm -f .cache/units.xml
python -m pytest tests/unit -q -p no:cacheprovider --junit-xml .cache/units.xml "$@" </dev/null || failed=yes
count_junit .cache/units.xml
left_out_junit .cache/units.xml

ansible_test_tree
ansible_test_pythons 2.7 3.6
if ansible_test_home 20.3.4 21.3.1 23.1.2; then
    for version in "${pythons[@]}"; do
        echo "--- units: modules and module_utils on Python $version"
        run_ansible_test units --venv --python "$version" || failed=yes
        reports=("$tree"/tests/output/junit/python"$version"-*.xml)
        [ -e "${reports[0]}" ] || failed=yes
        count_junit "${reports[@]}"
    done
else
    left_out "Python ${pythons[*]} (the pip versions that ansible-test wants cannot be downloaded)"
fi
end_part "$failed"
