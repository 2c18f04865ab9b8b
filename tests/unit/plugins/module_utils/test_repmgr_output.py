# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The output of repmgr that repmgr_cluster_info returns for `show` and `ask`."""

from __future__ import absolute_import, division, print_function

__metaclass__ = type

from ansible_collections.pgfleet.repmgr.plugins.module_utils import _repmgr_output
from ansible_collections.pgfleet.repmgr.plugins.module_utils._command import CommandError, Result

CONNINFO = 'host=a user=repmgr password=secret'


class Repmgr:
    """Fails for every command but `cluster`."""

    def show(self, command):
        if command != 'cluster':
            raise CommandError('exit code 1', Result(['repmgr'], 1, '', 'ERROR: cannot connect with %s' % CONNINFO))
        return Result(['repmgr'], 25, ' 1 | a | primary\n', 'WARNING: following issues were detected\n  - node "b" is not attached\n')

    def ask(self, command):
        self.show(command)
        return {'rows': [{'name': 'a', 'conninfo': CONNINFO, 'node_id': 1}], 'rc': 0, 'warnings': [], 'unknown': ['what is this']}


def test_texts():
    said = []
    found = _repmgr_output.texts(Repmgr(), ['cluster', 'event'], said.append)
    assert found['cluster'].startswith(' 1 | a | primary\n') and 'is not attached' in found['cluster']
    assert 'cannot connect' in found['event'] and 'secret' not in '%s' % found
    assert said == ['repmgr could not show "event": exit code 1']


def test_answers():
    said = []
    found = _repmgr_output.answers(Repmgr(), ['cluster', 'matrix'], said.append)
    assert found['cluster']['rows'][0]['node_id'] == 1 and 'host=a' in found['cluster']['rows'][0]['conninfo']
    assert set(found['matrix']) == set(['error']) and 'secret' not in '%s' % found
    assert said == ['repmgr answered "cluster" with a line that is not understood: what is this', 'repmgr could not answer "matrix": exit code 1']
