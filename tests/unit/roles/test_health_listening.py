# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Whether the health endpoints listen on their port, or another program, as the hosts find it out."""

from __future__ import absolute_import, division, print_function

__metaclass__ = type

import os
import socket
import subprocess

import pytest


@pytest.fixture
def looks(host, tmpdir):
    """looks(port, user): (output, code) where the program runs as that user."""
    def run(port, user):
        cmd = host.rendered(host.load('health', 'tasks', 'listening.yml')[0]['ansible.builtin.shell']['cmd'], repmgr_health_port=port, __repmgr_health_looks=2,
                            __repmgr_os_user='postgres')
        for name, text in (('systemctl', 'echo "$@"'), ('journalctl', 'echo said'), ('ss', 'echo head; echo java'), ('id', 'echo %d' % user)):
            tmpdir.join(name).write('#!/bin/sh\n%s\n' % text)
            tmpdir.join(name).chmod(0o755)
        process = subprocess.Popen(['/bin/sh', '-c', cmd], stdout=subprocess.PIPE, env=dict(os.environ, PATH='%s:%s' % (tmpdir, os.environ['PATH'])))
        return process.communicate()[0].decode().split('\n')[:-1], process.returncode
    return run


@pytest.mark.skipif(not os.path.exists('/proc/net/tcp'), reason='Linux only')
@pytest.mark.parametrize('family, address', [(socket.AF_INET, '127.0.0.1'), (socket.AF_INET6, '::1')])
def test_its_own_program_listens_or_another(looks, family, address):
    handle = socket.socket(family, socket.SOCK_STREAM)
    try:
        handle.bind((address, 0))
    except (IOError, OSError):
        pytest.skip('no ' + address)
    port = handle.getsockname()[1]
    try:
        assert looks(port, os.getuid()) == (['java', 'said'], 1)
        handle.listen(1)
        assert looks(port, os.getuid()) == (['reset-failed repmgr-health'], 0)
        assert looks(port, os.getuid() + 1) == (['java', 'said'], 1)
    finally:
        handle.close()


def test_a_run_that_changes_nothing_does_not_look(host):
    check = host.load('health', 'tasks', 'install.yml')[-1]
    assert check['ansible.builtin.include_tasks'] == 'listening.yml'

    def seen(check_mode=False, **more):
        found = dict(__repmgr_health_written={'changed': False},
                     __repmgr_health_started={'changed': False, 'status': {'NRestarts': '0'}}, ansible_check_mode=check_mode)
        found.update(more)
        return host.rendered('{{ %s }}' % check['when'], **found) in (True, 'True')

    assert not seen() and not seen(__repmgr_health_started={'changed': False, 'status': {}}) and not seen(__repmgr_health_started={'skipped': True})
    for name in ('__repmgr_health_written', '__repmgr_health_started'):
        assert seen(**{name: {'changed': True}}) and not seen(True, **{name: {'changed': True}})
    # Where a run has failed at that before.
    assert seen(__repmgr_health_started={'changed': False, 'status': {'NRestarts': '3'}})


def test_it_looks_for_longer_than_a_program_stays_that_cannot_listen(host):
    taken, = [line for line in host.file('health', 'files', 'health.py').split('\n') if line.startswith('TAKEN = ')]
    assert host.load('health', 'vars', 'main.yml')['__repmgr_health_looks'] * 0.25 >= int(taken.split()[-1]) + 5
