# -*- coding: utf-8 -*-
# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import absolute_import, division, print_function

__metaclass__ = type

import pytest

from ansible_collections.pgfleet.repmgr.plugins.module_utils import _repmgr, _status, _upgrade, _verdict

from ansible_collections.pgfleet.repmgr.tests.unit.plugins.module_utils.test_verdict import WITNESS_ID, codes, healthy, judge, running, stopped

APT = """Inst libpq5 [15.14-0+deb12u1] (15.15-0+deb12u1 Debian-Security:12/stable-security [amd64])
Inst postgresql-15-repmgr [5.3.3-2] (%s Debian:12/stable [amd64]) []
Inst repmgr-common [5.3.3-2] (%s Debian:12/stable [all])
Conf repmgr-common (9.9 Debian:12/stable [all])
"""
YUM = """
postgresql15-server.x86_64       15.15-1PGDG.rhel9       pgdg15
repmgr_15.x86_64
                                 %s       pgdg15
"""


@pytest.mark.parametrize('text, version', [
    (APT % ('5.4.1-1.pgdg12+1', '5.4.1-1.pgdg12+1'), (5, 4, 1)), (APT % ('1:5.5.0-2', '5.4.1-1'), (5, 5, 0)), (YUM % '5.4.1-1PGDG.rhel9', (5, 4, 1)),
    ('Inst postgresql-15-repmgr (5.4.1-1 Debian:12/stable [amd64])\n', (5, 4, 1)), ('Inst postgresql-15 [15.14] (15.15 x [amd64])\n', ()), ('', ()), (None, ()),
])
def test_the_newer_version_by_the_words_of_the_package_manager(text, version):
    assert _upgrade.newer_repmgr(text) == version


class Nodes:
    """Three data nodes and a witness: what is installed, which extension each database has, and which repmgrd runs."""

    def __init__(self, packages_restart):
        self.packages_restart = packages_restart
        self.installed = dict((name, '5.3') for name in 'abcw')
        self.extension = {'a': '5.3', 'w': '5.3'}
        self.runs = dict(self.installed)
        self.begun = 0

    def hosts(self):
        found = {}
        for name in 'abcw':
            daemon = {'running': self.runs[name] is not None, 'paused': False, 'pid': 1}
            observed = running(name in 'bc', *([WITNESS_ID] if name == 'w' else []), repmgrd=daemon)
            observed.repmgr_version = self.installed[name]
            observed.repmgr['extension'] = self.extension['w' if name == 'w' else 'a']
            found[name] = observed
        return healthy(**found)

    def newer(self):
        return dict((name, APT % ('5.4.1-1', '5.4.1-1') if self.installed[name] == '5.3' else '') for name in 'abcw')

    def plan(self):
        hosts = self.hosts()
        return _upgrade.upgrade_plan(_verdict.hosts_from(hosts), judge(hosts), self.newer())

    def start(self, name):
        """repmgrd.c: the installed one starts beside an extension of its version."""
        same = self.installed[name] == self.extension['w' if name == 'w' else 'a']
        self.runs[name] = self.installed[name] if same else None

    def install(self, name):
        self.installed[name] = '5.4'
        if self.packages_restart:
            self.start(name)

    def steps(self):
        """The tasks of roles/server/tasks/extension_one.yml, node by node."""
        for name in self.plan()['order']:
            yield name, lambda name=name: self.install(name)
            if name in 'aw':
                yield name, lambda name=name: self.extension.update({name: self.installed[name]})
            yield name, lambda name=name: self.start(name)

    def run(self, limit=99):
        left = [name for name in 'abcw' if self.runs[name] is None]
        for number, (name, step) in enumerate(self.steps()):
            if number == limit:
                return False
            step()
            down = [other for other in 'abcw' if self.runs[other] is None]
            assert set(down) <= set(left + [name]) and len(down) < 3, 'only the node whose turn it is lacks its repmgrd for a moment: %s' % down
        return True

    def is_done(self):
        return set(self.runs.values()) == set(self.installed.values()) == set(self.extension.values()) == set(['5.4'])


@pytest.mark.parametrize('packages_restart', [True, False])
@pytest.mark.parametrize('ended_after', range(11))
def test_a_run_that_is_ended_anywhere_is_completed_by_the_next(packages_restart, ended_after):
    nodes = Nodes(packages_restart)
    assert not nodes.run(ended_after) or ended_after == 10
    again = nodes.plan()
    assert again['refuse'] == '' and (again['order'] == ['a', 'w', 'b', 'c'] or nodes.is_done() or ended_after == 9)
    # The last node of the order may lack nothing but the start of what is installed: its repmgrd, of the version before, goes on until the server restarts.
    nodes.run()
    assert nodes.is_done() or ended_after == 9 and not packages_restart and nodes.runs['c'] == '5.3'


def test_what_the_order_of_before_left():
    """Witness and standbys had the packages first, and their repmgrd ended."""
    nodes = Nodes(False)
    for name in 'wcb':
        nodes.installed[name], nodes.runs[name] = '5.4', None
    answer = judge(nodes.hosts())
    assert codes(answer) == ['old_extension'] and answer['stop'] == []
    assert [problem['node'] for problem in answer['problems']] == ['b', 'c', 'w']
    assert nodes.plan()['order'] == ['a', 'w', 'b', 'c'] and len(nodes.plan()['mended']) == 3
    for name, step in list(nodes.steps()):
        step()
    # systemd starts it anew.
    for name in 'bc':
        nodes.start(name)
    assert nodes.is_done() and nodes.plan() == {'refuse': '', 'order': [], 'mended': []}


def test_nothing_is_newer():
    hosts = healthy()
    assert _upgrade.upgrade_plan(_verdict.hosts_from(hosts), judge(hosts), dict.fromkeys('abcw', 'Inst postgresql-15 [15.14] (15.15 x)'))['order'] == []


def test_who_does_not_answer_waits():
    nodes = Nodes(False)
    hosts = nodes.hosts()
    hosts[2]['observed'] = stopped(signal=True).to_dict()
    hosts[1].update(unreachable=True, observed=None)
    plan = _upgrade.upgrade_plan(_verdict.hosts_from(hosts), judge(hosts), dict((name, text) for name, text in nodes.newer().items() if name != 'b'))
    assert plan['order'] == ['a', 'w']


def test_without_a_primary_nobody_is_first():
    nodes = Nodes(False)
    hosts = nodes.hosts()
    hosts[0]['observed'] = stopped().to_dict()
    assert _upgrade.upgrade_plan(_verdict.hosts_from(hosts), judge(hosts), nodes.newer())['order'] == []


def with_versions(installed, extension):
    observed = running(True)
    observed.repmgr_version, observed.repmgr['extension'] = installed, extension
    return healthy(b=observed)


@pytest.mark.parametrize('installed, extension, found', [
    ('5.4', '5.3', ['old_extension']), ('5.3', '5.4', ['new_extension']), ('5.10', '5.9', ['old_extension']), ('5.3', '5.3', []),
    (None, '5.3', []), ('5.3', None, []),
])
def test_status_names_minor_upgrade(installed, extension, found):
    answer = judge(with_versions(installed, extension))
    assert codes(answer) == found and answer['stop'] == []
    if found:
        assert answer['problems'][0]['steps'] == [{'playbook': 'minor_upgrade', 'arguments': {}}]
        assert _status.status(with_versions(installed, extension))['healthy'] is False


def test_a_daemon_that_would_not_start_is_not_to_be_started():
    observed = running(True, repmgrd={'running': False, 'paused': False})
    observed.repmgr_version, observed.repmgr['extension'] = '5.4', '5.3'
    answer = judge(healthy(b=observed))
    assert codes(answer) == ['old_extension']
    assert answer['problems'][0]['message'].startswith(
        'b: its repmgrd does not run: repmgr 5.4 is installed, and the extension in its database is 5.3; expected the same version of both')
    assert 'systemctl start repmgrd' not in '%s' % (answer,)


@pytest.mark.parametrize('old, new, restart', [('5.2', '5.3', True), ('4.4', '5.5', True), ('5.3', '5.5', False), ('5.0', '5.2', False)])
def test_versions_between_which_the_library_has_other_functions(old, new, restart):
    assert _repmgr.needs_restart(_repmgr.parse_version(old), _repmgr.parse_version(new)) is restart
    hosts = with_versions(new, old)
    steps = judge(hosts)['problems'][0]['steps']
    assert [step for step in steps if 'playbook' in step] == ([] if restart else [{'playbook': 'minor_upgrade', 'arguments': {}}])
    assert bool(_upgrade.upgrade_plan(_verdict.hosts_from(hosts), judge(hosts), {'b': ''})['refuse']) is restart
    # And before anything is installed.
    hosts = with_versions(old, old)
    refuse = _upgrade.upgrade_plan(_verdict.hosts_from(hosts), judge(hosts), {'b': APT % (new + '.1-1', new + '.1-1')})['refuse']
    assert bool(refuse) is restart and ('b: would be upgraded to repmgr %s, and the extension in its database is %s' % (new, old) in refuse) is restart
