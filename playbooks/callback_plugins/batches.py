# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The last word of a run in batches (-e repmgr_batch): which clusters are done, which failed, which were not begun.

A plugin, because Ansible runs no further task once all hosts of a batch have failed. Being beside the playbooks it needs no switching on.
"""

from __future__ import absolute_import, division, print_function

__metaclass__ = type

from ansible.plugins.callback import CallbackBase

DOCUMENTATION = r"""
name: batches
type: notification
short_description: Say how far a run in batches came
description:
  - Says at the end of a playbook that was given C(-e repmgr_batch) which clusters are done, which failed, which were not begun, and how to go on.
    Without it, says nothing.
"""


def how_far(clusters, begun, failed, cut_short):
    """Lines of text.

    clusters: {name: [hosts]}; begun, failed: the hosts that were begun with, and those that failed or were not reached; cut_short: the hosts
    that went no further because another one failed.
    """
    words = ('done', 'failed', 'ended in the middle', 'not begun')
    state = {}
    for name, hosts in clusters.items():
        state[name] = words[1 if set(hosts) & set(failed) else 3 if not set(hosts) & set(begun) else 2 if set(hosts) & set(cut_short) else 0]
    lines = ['%s: %s' % (word, ', '.join(name for name in clusters if state[name] == word) or '-')
             for word in words if word != words[2] or word in state.values()]
    rest = [name for name in clusters if state[name] != 'done']
    if rest:
        lines.append('next: mend what failed, and go on by the same command with -e repmgr_only=%s' % ','.join(rest))
    return lines


class CallbackModule(CallbackBase):
    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = 'notification'
    CALLBACK_NAME = 'batches'
    CALLBACK_NEEDS_ENABLED = False

    def __init__(self, *args, **kwargs):
        super(CallbackModule, self).__init__(*args, **kwargs)
        self.play = None
        self.begun = set()
        self.batch = set()

    def v2_playbook_on_play_start(self, play):
        if play.serial and 'repmgr_batch' in play.get_variable_manager().extra_vars:
            self.play = play
            self.batch = set()

    def v2_runner_on_ok(self, result):
        # The first that role common does with a host of a batch, once it has not ended the play.
        if '__repmgr_record' in result._result.get('ansible_facts', {}):
            self.begun.add(result._host.get_name())
            self.batch.add(result._host.get_name())

    def v2_playbook_on_stats(self, stats):
        if self.play is None:
            return
        hostvars = self.play.get_variable_manager().get_vars(play=self.play)['hostvars']
        clusters = {}
        for host in self.play.hosts:
            clusters.setdefault('%s' % hostvars[host].get('repmgr_cluster_name', ''), []).append(host)
        self._display.banner('CLUSTERS')
        failed = list(stats.failures) + list(stats.dark)
        for line in how_far(clusters, self.begun, failed, self.batch if self.play.any_errors_fatal and failed else ()):
            self._display.display(line)
