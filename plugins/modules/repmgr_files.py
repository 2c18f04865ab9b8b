#!/usr/bin/python
# -*- coding: utf-8 -*-
# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import absolute_import, division, print_function

__metaclass__ = type

DOCUMENTATION = r"""
---
module: repmgr_files
short_description: Write several files of a role in one step
version_added: 0.1.0
description:
  - The roles of this collection use it. Elsewhere C(ansible.builtin.template) and C(ansible.builtin.copy) are what you want.
  - All files are written by one call to the host, where a task for each of them would need several. Files that are up to date according to O(observed)
    are not even sent; if none is left, the host is not contacted at all.
  - They are written in the given order, each atomically, so a run that is interrupted leaves the first ones as they should be and the others as they were.
extends_documentation_fragment:
  - pgfleet.repmgr.attributes
  - pgfleet.repmgr.attributes.state
author:
  - The pgfleet authors (@pgfleet)
options:
  files:
    description:
      - What to write or remove, in this order.
    type: list
    elements: dict
    required: true
    suboptions:
      path:
        description:
          - The absolute path on the host.
        type: path
        required: true
      state:
        description:
          - V(file) writes O(files[].template), O(files[].content) or O(files[].content_base64), V(directory) creates a directory, V(absent) removes a file.
          - Missing parent directories are created with mode 0755, owned by root.
        type: str
        choices: [file, directory, absent]
        default: file
      template:
        description:
          - A template on the controller, found as C(ansible.builtin.template) finds it.
        type: str
      content:
        description:
          - The content itself, written as it is, also where it looks like JSON.
        type: str
      content_base64:
        description:
          - The content of a file that is no text, in Base64 without line breaks. In place of such a file a diff shows the SHA-256.
        type: str
      mode:
        description:
          - Four octal digits. The default is V(0755) for a directory, V(0644) for a file.
        type: str
      owner:
        description:
          - The owner.
        type: str
        default: root
      group:
        description:
          - The group. The default is the name of the owner.
        type: str
      validate:
        description:
          - A command with C(%s) for a file with the new content. If it fails, this file and those after it stay as they are.
        type: str
      note:
        description:
          - The absolute path of an empty file that is created before this one is changed. It records that something still has to be restarted or reloaded,
            so that the next run does it after one that was interrupted in between. The task that does it removes the file. Empty for none.
        type: str
      keep_other:
        description:
          - Whether a file there that this collection has not written, which is one without the line C(# Ansible managed), is kept before it is replaced, as
            a copy with C(.before-pgfleet) at the end of its name.
        type: bool
        default: false
  observed:
    description:
      - What M(pgfleet.repmgr.repmgr_cluster_info) has returned in C(files), so that up-to-date files are not sent. It has to cover all O(files), because
        a file that it does not name is taken to be absent. Without it, all files are compared on the host.
    type: dict
  reload_systemd:
    description:
      - Whether systemd reads its units again at once if one of the files that were written or removed is below C(/etc/systemd).
    type: bool
    default: false
seealso:
  - module: pgfleet.repmgr.repmgr_cluster_info
"""

EXAMPLES = r"""
- name: Install the metrics program and its units
  pgfleet.repmgr.repmgr_files:
    files:
      - {path: /usr/local/sbin/repmgr-metrics, template: repmgr-metrics.j2, mode: "0755"}
      - {path: /etc/systemd/system/repmgr-metrics.service, template: repmgr-metrics.service.j2}
    observed: "{{ observation.files }}"
    reload_systemd: true
  become: true
"""

RETURN = r"""
written:
  description:
    - The paths that were written, created or removed, or whose owner, group or mode was changed; in check mode those that would be.
  returned: success
  type: list
  elements: str
"""

import os
import tempfile

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.common.text.converters import to_bytes, to_text

from ansible_collections.pgfleet.repmgr.plugins.module_utils import _files

ARGUMENTS = dict(
    files=dict(type='list', elements='dict', required=True, options=dict(
        path=dict(type='path', required=True),
        state=dict(type='str', choices=['file', 'directory', 'absent'], default='file'),
        template=dict(type='str'),
        content=dict(type='str'),
        content_base64=dict(type='str'),
        mode=dict(type='str'),
        owner=dict(type='str', default='root'),
        group=dict(type='str'),
        validate=dict(type='str'),
        note=dict(type='str'),
        keep_other=dict(type='bool', default=False))),
    observed=dict(type='dict'),
    reload_systemd=dict(type='bool', default=False),
)
# Seconds that `systemctl daemon-reload` may take.
_RELOAD_SECONDS = '60'


class Writer(object):
    """Writes one wanted entry of _files.wanted after another."""

    def __init__(self, module):
        self.module = module
        self.written, self.diff = [], []

    def write(self, entry):
        path = entry['path']
        before = _files.state_of(path)
        kinds = {'file': os.path.isfile, 'directory': os.path.isdir, 'absent': os.path.isfile}
        if os.path.exists(path) and not kinds[entry['state']](path):
            self.module.fail_json(msg='%s: is %s, expected %s; it was not changed' % (
                path, 'a directory' if os.path.isdir(path) else 'no directory and no regular file',
                {'file': 'a file', 'directory': 'a directory', 'absent': 'a file or nothing'}[entry['state']]))
        if before == _files.wanted_state(entry) and (before is not None or not os.path.lexists(path)):
            return
        if entry['note']:
            self.write(_files.wanted({'path': entry['note'], 'content': ''}))
        self.written.append(path)
        if self.module._diff:
            self.diff.append(self._difference(entry, before))
        getattr(self, '_' + entry['state'])(entry, before)

    @staticmethod
    def _difference(entry, before):
        path, there = entry['path'], None
        if before is not None and not before.startswith(_files.FOLDER):
            with open(path, 'rb') as handle:
                there = handle.read()
        content = None if entry['content'] is None else to_bytes(entry['content'])
        # Nobody reads the bytes of a program, nor a text beside them.
        is_text = not any(b'\0' in side for side in (there, content) if side)

        def shown(state, side):
            if state is None or side is None:
                return '' if state is None else state + '\n'
            digest, rights = state.split(' ', 1)
            return '# %s\n%s' % (rights, to_text(side, errors='surrogate_or_replace') if is_text else 'no text, SHA-256 %s\n' % digest)

        return {'before_header': path, 'after_header': path, 'before': shown(before, there), 'after': shown(_files.wanted_state(entry), content)}

    def _absent(self, entry, dummy):
        if not self.module.check_mode:
            os.unlink(entry['path'])

    def _directory(self, entry, before):
        if self.module.check_mode:
            return
        if before is None:
            self._make_parents(os.path.join(entry['path'], ''))
        self._set_rights(entry)

    def _file(self, entry, before):
        content = to_bytes(entry['content'])
        same = before is not None and before.split(' ', 1)[0] == _files.digest_of(content)
        if not same:
            handle, aside = tempfile.mkstemp(dir=self.module.tmpdir)
            with os.fdopen(handle, 'wb') as opened:
                opened.write(content)
            if entry['validate']:
                self._validate(entry, aside)
            if not self.module.check_mode:
                self._make_parents(entry['path'])
                if before is not None and entry['keep_other']:
                    self._keep_other(entry['path'])
                # A new file belongs to root alone until it has its owner and mode: it may hold a secret.
                umask = os.umask(0o077)
                try:
                    self.module.atomic_move(aside, entry['path'])
                finally:
                    os.umask(umask)
        if not self.module.check_mode:
            self._set_rights(entry)

    @staticmethod
    def _keep_other(path):
        with open(path, 'rb') as handle:
            content = handle.read()
        if not _files.is_other(content):
            return
        stat = os.stat(path)
        # With a name that nobody reads, also while it is written.
        handle, aside = tempfile.mkstemp(prefix='.', suffix=_files.FORMER, dir=os.path.dirname(path))
        try:
            with os.fdopen(handle, 'wb') as opened:
                opened.write(content)
                os.fchown(opened.fileno(), stat.st_uid, stat.st_gid)
                os.fchmod(opened.fileno(), stat.st_mode & 0o777)
                opened.flush()
                os.fsync(opened.fileno())
            os.rename(aside, path + _files.FORMER)
        except (IOError, OSError):
            os.unlink(aside)
            raise

    @staticmethod
    def _make_parents(path):
        parent = os.path.dirname(path)
        if not os.path.isdir(parent):
            umask = os.umask(0o022)
            try:
                os.makedirs(parent, 0o755)
            finally:
                os.umask(umask)

    def _validate(self, entry, aside):
        rc, stdout, stderr = self.module.run_command(entry['validate'] % aside)
        if rc != 0:
            os.unlink(aside)
            self.module.fail_json(msg="%s: '%s' ended with %d and said '%s', expected 0; it was not changed" % (
                entry['path'], entry['validate'], rc, to_text(stderr or stdout).strip()), rc=rc, stdout=stdout, stderr=stderr)

    def _set_rights(self, entry):
        arguments = self.module.load_file_common_arguments(
            dict((name, entry.get(name)) for name in ('mode', 'owner', 'group', 'seuser', 'serole', 'setype', 'selevel', 'attributes')), path=entry['path'])
        self.module.set_fs_attributes_if_different(arguments, False)


def main():
    # The content would fill the journal, where modules note their arguments.
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True, no_log=True)
    refusals = [text for text in map(_files.refusal, module.params['files']) if text]
    refusals += ['%s: templates are rendered on the controller' % entry['path'] for entry in module.params['files'] if entry['template'] is not None]
    if refusals:
        module.fail_json(msg='; '.join(refusals))
    writer = Writer(module)
    try:
        for entry in map(_files.wanted, module.params['files']):
            writer.write(entry)
    except (IOError, OSError) as exc:
        module.fail_json(msg='%s: %s' % (writer.written[-1] if writer.written else module.params['files'][0]['path'], exc), written=writer.written)
    if module.params['reload_systemd'] and not module.check_mode and any(path.startswith('/etc/systemd/') for path in writer.written):
        module.run_command(['timeout', _RELOAD_SECONDS, 'systemctl', 'daemon-reload'], check_rc=True)
    if writer.written and not module.check_mode:
        module.log('wrote or removed %s' % ', '.join(writer.written))
    module.exit_json(changed=bool(writer.written), written=writer.written, diff=writer.diff)


if __name__ == '__main__':
    main()
