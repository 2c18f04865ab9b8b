#!/usr/bin/python
# -*- coding: utf-8 -*-
# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import absolute_import, division, print_function

__metaclass__ = type

DOCUMENTATION = r"""
---
module: repmgr_cluster_info
short_description: Observe a node of a repmgr cluster, and its peers as seen from there
version_added: 0.1.0
description:
  - Gathers the state of one node and of its peers as seen from there, and derives the state of the cluster from it.
  - Works on a host with nothing installed as well as on a running node. Changes nothing, except for the run lock if O(lock) is set.
  - Starts at most two processes for the node itself, C(pg_controldata) and C(psql), if the server answers at the first attempt.
extends_documentation_fragment:
  - pgfleet.repmgr.attributes
  - pgfleet.repmgr.attributes.info
  - pgfleet.repmgr.attributes.actiongroup_repmgr
author:
  - The pgfleet authors (@pgfleet)
options:
  name:
    description:
      - The name of the node in the result, usually that of the inventory. Default is the node name in C(repmgr.conf).
    type: str
  find:
    description:
      - Whether to search for O(config_file), O(bin_dir) and O(data_directory) if they are not given - C(repmgr.conf) in the places where packages
        install it, the others according to it or in the usual places - so that no facts of the host are needed.
    type: bool
    default: false
  by_hand:
    description:
      - Whether to return in C(by_hand) what the playbook C(adopt) needs about a node that was not deployed by this collection.
      - C(repmgr.conf) is then searched for in more places, beginning with the command line of a running C(repmgrd).
    type: bool
    default: false
  config_file:
    description:
      - The path of C(repmgr.conf). It need not exist.
    type: path
  bin_dir:
    description:
      - The directory with the programs of PostgreSQL and repmgr. It need not exist.
    type: path
  data_directory:
    description:
      - The data directory. Default is that in C(repmgr.conf).
    type: path
  port:
    description:
      - The port of the local server.
    type: int
    default: 5432
  conninfo:
    description:
      - The connection string of the local server. Default is C(conninfo) in C(repmgr.conf).
      - If the server does not answer there, the local socket is tried as O(run_as), if the module runs as that user or as root.
    type: str
  passfile:
    description:
      - The passfile for connections, instead of C(~/.pgpass) of the current user.
    type: path
  run_as:
    description:
      - The user that the server runs as. If the module runs as root, it becomes this user for C(repmgr) and for the local socket.
    type: str
    default: postgres
  packages:
    description:
      - Packages to look up in the database of dpkg or rpm, which is much cheaper than apt or dnf. The missing ones are returned.
    type: list
    elements: str
    default: []
  package_sources:
    description:
      - Whether to return the package sources of the PostgreSQL project (PGDG) on the host, from the configuration of apt, yum and dnf.
    type: bool
    default: false
  files:
    description:
      - Files for which to return a digest of the contents, mode and owner, so that a playbook can skip files that are up to date.
    type: list
    elements: path
    default: []
  blocks:
    description:
      - The same for a block between two markers of C(ansible.builtin.blockinfile), by the path of the file. The value is the text after
        C(# BEGIN) and C(# END).
    type: dict
    default: {}
  settings_file:
    description:
      - The file with PostgreSQL settings that this collection writes. The earlier settings that it keeps are returned.
    type: path
  contents:
    description:
      - Files whose contents are returned. They must not contain secrets.
    type: list
    elements: path
    default: []
  hba:
    description:
      - The rules that this collection writes to the top of C(pg_hba.conf). Returned is whether they would change the file, not its contents.
    type: dict
    suboptions:
      file:
        description: The path of C(pg_hba.conf). It need not exist.
        type: path
        required: true
      rights:
        description: Its mode, owner and group in one string, in the format that is returned for O(files).
        type: str
        required: true
      os_user:
        description: The OS user that may connect over the local socket, as the role of the same name.
        type: str
        required: true
      user:
        description: The role of repmgr, as which all addresses of O(peers) may connect.
        type: str
        required: true
      database:
        description: The database of repmgr.
        type: str
        required: true
      tls:
        description: Whether the nodes connect with TLS.
        type: bool
        required: true
      trust:
        description: Whether they connect without a password.
        type: bool
        required: true
      extra:
        description: Further rules, in the form of C(repmgr_pg_hba_extra).
        type: list
        elements: raw
        default: []
  peers:
    description:
      - Hosts whose SSH and PostgreSQL ports are probed, in parallel.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: The name of the peer in the result.
        type: str
        required: true
      address:
        description: The address that this node would connect to.
        type: str
        required: true
      port:
        description: The port of PostgreSQL.
        type: int
        default: 5432
      ssh_port:
        description: The port of SSH.
        type: int
        default: 22
  log_in:
    description:
      - Whether to log in to O(peers) with the node's own credentials - by SSH as O(run_as) with C(ssh_options) from
        C(repmgr.conf), by SQL, and by the replication protocol with its C(conninfo). This is done in parallel and needs O(config_file).
      - At most five peers are tried, those that follow the node in alphabetical order, wrapping around. All nodes of a cluster do this at
        the same time, and sshd drops connections at random if more than ten are in the login phase (its C(MaxStartups)).
    type: bool
    default: false
  tls:
    description:
      - The TLS files of the server, to be checked as a peer with C(sslmode=verify-full) would.
    type: dict
    suboptions:
      certificate:
        description: The certificate, with the chain up to the CA.
        type: path
        required: true
      key:
        description: Its private key.
        type: path
        required: true
      root:
        description: The CAs that the node trusts.
        type: path
        required: true
      names:
        description: Names and addresses that the certificate must be valid for.
        type: list
        elements: str
        default: []
      authority_key:
        description: The path where the private key of the cluster's own CA would be.
        type: path
  health:
    description:
      - Whether to ask the health endpoint of this node whether it is the primary. An endpoint that does not answer costs a second, twice.
    type: bool
    default: false
  lock:
    description:
      - Take or renew the run lock of the node, a file in C(/run/pgfleet) that prevents two runs of playbooks at the same time. In check mode the lock is
        only read.
      - While another run has the lock, nothing else is observed.
    type: dict
    suboptions:
      run:
        description: The identity of this run. The controller fills it in.
        type: dict
      override:
        description: Ids of runs whose locks are overridden, because these runs are known to have ended.
        type: list
        elements: str
        default: []
      before:
        description: The C(observed.run_lock.boot) of the previous observation by the same run. A lock that was lost in between is not taken again.
        type: str
        default: ''
      release:
        description:
          - Release the lock of this run instead, and return only the results of O(show) and O(ask).
          - V(end) is for the end of a run. V(refused) is for a run that has changed nothing; it restores an expired lock that this run had replaced.
        type: str
        choices: [end, refused]
  observe_peers:
    description:
      - Observe every registered node and every peer over SQL as well. This is needed for a verdict on the whole cluster.
    type: bool
    default: false
  connect_timeout:
    description:
      - Seconds to wait for a connection. Peers are queried in parallel, so any number of dead ones costs this time once.
    type: int
    default: 3
  events:
    description:
      - The number of repmgr's latest events to return.
    type: int
    default: 0
  show:
    description:
      - The output of repmgr commands to return, as text for humans.
    type: list
    elements: str
    choices: [cluster, event, service, crosscheck]
    default: []
  ask:
    description:
      - The output of repmgr commands to return as data. A line that is not understood is returned as well, with a warning.
      - With V(matrix) and V(crosscheck) repmgr logs in to every node by SSH.
    type: list
    elements: str
    choices: [cluster, service, event, matrix, crosscheck, node_status, node_check]
    default: []
seealso:
  - module: pgfleet.repmgr.repmgr_node
"""

EXAMPLES = r"""
- name: Gather the state of a node
  pgfleet.repmgr.repmgr_cluster_info:
    config_file: /etc/repmgr.conf
    bin_dir: /usr/lib/postgresql/15/bin
  become: true
  become_user: postgres
  register: node

- name: Gather the state of the whole cluster from one node, with repmgr's own view
  pgfleet.repmgr.repmgr_cluster_info:
    config_file: /etc/repmgr.conf
    bin_dir: /usr/lib/postgresql/15/bin
    observe_peers: true
    events: 10
    show: [cluster, service]
    ask: [crosscheck]
  become: true
  become_user: postgres
  register: all

- name: Test the logins that repmgr needs, and the certificate
  pgfleet.repmgr.repmgr_cluster_info:
    name: db1
    config_file: /etc/repmgr.conf
    bin_dir: /usr/lib/postgresql/15/bin
    passfile: /var/lib/postgresql/.pgpass
    peers:
      - {name: db1, address: 192.168.56.101}
      - {name: db2, address: 192.168.56.102}
    log_in: true
    tls:
      certificate: /etc/pgfleet/tls/server.crt
      key: /etc/pgfleet/tls/server.key
      root: /etc/pgfleet/tls/root.crt
      names: [192.168.56.101]
  become: true

- name: Check that an automatic failover is possible
  ansible.builtin.assert:
    that: all.cluster.failover_ready.ready
    fail_msg: "{{ all.cluster.failover_ready.reasons }}"

- name: Stop if the cluster is not healthy
  ansible.builtin.assert:
    that: all.cluster.status == 'healthy'
    fail_msg: "{{ all.cluster.problems }}"
"""

RETURN = r"""
observed:
  description: The observation of this node. It never contains passwords.
  returned: unless O(lock.release) is set
  type: dict
  contains:
    name:
      description: The name of the node.
      type: str
      returned: always
    installed:
      description: Whether the programs of PostgreSQL are installed.
      type: bool
      returned: always
    missing_packages:
      description: Those of O(packages) that are not installed. V(none) if there is no database of dpkg or rpm.
      type: list
      elements: str
      returned: always
    package_sources:
      description:
        - With O(package_sources), the sources of PGDG, including disabled ones, each with C(file), C(line) and C(enabled). Sources of apt have
          C(uris), C(suites), C(components), C(architectures), C(signed), C(keys) and C(missing_keys), those of yum and dnf have C(id) and C(urls).
          C(ours) is whether role C(pgdg_repo) wrote it.
      type: list
      elements: dict
      returned: always
    files:
      description:
        - SHA-256, mode, owner and group in one string for each of O(files) and O(blocks) that exists. For a directory, C(folder) instead of the SHA-256.
      type: dict
      returned: always
    contents:
      description: The text of each of O(contents) that can be read.
      type: dict
      returned: always
    hba:
      description:
        - With O(hba), C(due) lists the steps that would change the file - V(socket) adds the rule for the local socket, V(add) all missing rules, and
          V(remove) removes rules that are no longer wanted. C(file) is its path, C(exists) whether it exists, and C(other) the file that the server
          reads instead, or V(none).
      type: dict
      returned: always
    knows_password:
      description: With O(hba), whether O(passfile) has a line for the role of repmgr.
      type: bool
      returned: always
    repmgr_installed:
      description: Whether the programs of repmgr are installed.
      type: bool
      returned: always
    deployed:
      description: Whether the systemd unit exists that role C(repmgrd) writes once a node has its data.
      type: bool
      returned: always
    repmgr_version:
      description: The version of the installed repmgr as V(MAJOR.MINOR), or V(none) if it is not installed or its extension is not in the usual place.
      type: str
      returned: always
    config:
      description: The settings in C(repmgr.conf), or V(none) if there is no such file.
      type: dict
      returned: always
    elsewhere:
      description:
        - Configuration files on this host for another data directory than the observed one, each with C(file), C(data_directory) and C(major), the
          version of the data there or V(none). A C(repmgr.conf) also has C(node_id), and a cluster of Debian's C(postgresql-common) C(version).
      type: list
      elements: dict
      returned: always
    data:
      description:
        - The data directory. C(state) is V(missing), V(empty), V(partial), V(valid), V(unrecognised) or V(unknown).
        - C(clone_begun) is, for a directory that is missing or empty, whether a clone into it was begun and not finished.
        - C(standby_signal) is whether a server that starts with it stays in recovery until it is promoted; C(promotes_itself), whether it recovers from an
          archive and then promotes itself.
        - C(timeline), C(cluster_state) and C(system_identifier) are those of the control file.
      type: dict
      returned: always
    server:
      description:
        - The server. C(state) is V(running), V(stopped), V(starting) or V(unknown); C(sql) is whether it answered.
        - C(timeline) is that of the WAL being written or received. The control file has it only from the next checkpoint on.
        - C(configured) has the settings of this collection that are defined in the server's configuration files, each with C(setting), C(unit),
          C(default) and C(file). C(kept) has the earlier settings that O(settings_file) keeps, V(none) if this collection has not written that file.
          C(foreign) has the names of the settings in it if somebody else has written it.
      type: dict
      returned: always
    receiver:
      description: The row of C(pg_stat_wal_receiver), or V(none).
      type: dict
      returned: always
    replication:
      description: The rows of C(pg_stat_replication), with C(lag_bytes).
      type: list
      elements: dict
      returned: always
    slots:
      description: The replication slots, with C(retained_bytes).
      type: list
      elements: dict
      returned: always
    repmgr:
      description: Whether the database exists, the version of the extension, the registered nodes, and the state of repmgrd.
      type: dict
      returned: always
    daemons:
      description:
        - Every C(repmgrd) process of this node, each with C(pid), and C(unit), the systemd service that runs it or V(none). There should not be more than
          one.
      type: list
      elements: dict
      returned: always
    guard:
      description:
        - Whether repmgr-guard is C(running) and C(enabled). If it has stopped the server, C(stopped) is a dictionary with C(code), the C(peers) that
          were the reason, and C(since), as far as it recorded them, otherwise V(none). C(peers) have a C(node_id) and a C(conninfo).
        - C(fuse) has C(running) and C(enabled) of its fuse, V(none) if that is not installed; C(limit), how many seconds after the guard last reached a
          majority the fuse stops a primary (V(none) if it would not), and C(sight_age), how many seconds ago that was.
      type: dict
      returned: if it is installed
    health:
      description:
        - With O(health), what the health endpoint of this node says. C(installed) and C(answers) are whether it is there and answers; C(primary) is
          whether it answers C(/primary) with 200, V(none) if it does not answer; C(reason) is why it does not; C(error) is why it does not answer.
        - C(settled) is V(false) if the answer has changed while the server was asked.
      type: dict
      returned: always
    run_lock:
      description:
        - The lock of the run that works on this node, V(none) if there is none. C(state) is V(held), V(refused) if another run has it, V(lost) if this
          run had it and no longer has it, V(seen) without O(lock), or V(unavailable) with the C(reason).
        - If V(held), C(boot) is the value for O(lock.before). For another run there are C(run), C(playbook), C(user), C(controller) and its C(process)
          there, C(for_seconds) since it began, C(renewed_seconds) since it last renewed the lock, and C(connected), whether its SSH connection is open.
      type: dict
      returned: always
    backup:
      description:
        - The state of the backup repository, on the primary of a cluster with backups by this collection, otherwise V(none). C(judged) has C(state), which
          is V(ok), V(no_backup), V(no_stanza) or V(unreachable), the C(reason), and the C(last) and C(oldest) backup; C(archiver) is the row of
          C(pg_stat_archiver). The limit for the answer of the repository is ten seconds.
      type: dict
      returned: always
    verified:
      description:
        - On a data node with backups by this collection, the record of restore drills. C(last) is the result of the last one, as
          M(pgfleet.repmgr.repmgr_verify_backup) returns it, or V(none); C(max_age) is the age in hours that it may have, V(0) for any age.
      type: dict
      returned: always
    disks:
      description:
        - The file systems of the data directory and, if it is a different one, of the WAL, each with C(path), C(total_bytes) and
          C(free_bytes), the space available to the server.
      type: list
      elements: dict
      returned: always
    reach:
      description:
        - Each peer as seen from this host. C(ssh) and C(postgresql) are V(open), V(refused), V(timeout), V(unreachable),
          V(unresolved) or V(error). C(addresses) are the IP addresses that its address resolves to, C(sources) the local addresses that connections to
          it come from.
      type: list
      elements: dict
      returned: always
    tls:
      description:
        - The server's certificate as a peer would judge it. C(error) is empty if the peer would accept it. C(days) are the days until it
          expires, C(authority_days) the days until its CA expires. C(names) are its subject alternative names. C(root) is the SHA-256 of the file of
          trusted CAs. C(authority_key) is whether the key of the CA is on this host. V(none) without O(tls).
      type: dict
      returned: always
    logins:
      description:
        - With O(log_in), C(ssh), C(sql) and C(replication) for each peer that was tried and has an open port, each empty if the login worked,
          otherwise the error.
      type: dict
      returned: always
    peers:
      description: The observation of each peer by name, V(none) if it did not answer.
      type: dict
      returned: always
    events:
      description: The latest events, and the last promotion if it is not among them.
      type: list
      elements: dict
      returned: always
cluster:
  description: The state of the cluster according to the observations of this node.
  returned: unless O(lock.release) is set
  type: dict
  contains:
    status:
      description: One of V(absent), V(healthy), V(degraded), V(no_primary), V(split_brain) or V(unknown).
      type: str
      returned: always
    primary:
      description: The name of the live primary, or V(none).
      type: str
      returned: always
    problems:
      description: What is wrong, each with C(node), C(seen), C(expected), C(command), C(code) and C(stop).
      type: list
      elements: dict
      returned: always
    failover_ready:
      description:
        - Whether an automatic failover would succeed if the primary failed now. Needs O(observe_peers=true).
        - The answer follows the rules by which C(repmgrd) elects - the active nodes below the primary vote, and more than half of them must be
          visible, at least one of them in the location of the primary.
      type: dict
      returned: always
      contains:
        ready:
          description: Whether it would. V(true) if and only if C(reasons) is empty.
          type: bool
          returned: always
        reasons:
          description:
            - The reasons why it would fail, or why a node would not follow, each with the node, what was seen, what was expected and the next step.
          type: list
          elements: str
          returned: always
        candidates:
          description:
            - The standbys of the primary that answer, beginning with the one that would be elected, each with C(name), C(node_id), C(priority),
              C(location), C(lag_bytes), and C(obstacles), the reasons why it cannot be promoted.
          type: list
          elements: dict
          returned: always
    summary:
      description: A summary in one line.
      type: str
      returned: always
by_hand:
  description:
    - The input of the playbook C(adopt). C(config_file), C(bin_dir), C(data_directory) and C(config_directory) are the paths that were found;
      C(settings) are those in C(repmgr.conf), without passwords; C(other_configs) are configuration files for other data directories.
    - C(cron) has the lines of crontabs that start C(repmgrd), each with C(file) and C(line), and C(trust) the rules of C(pg_hba.conf) by which other
      hosts log in without a password.
    - C(password) tells where a password was found - C(in_conninfo), C(in_conf) with the names of settings, and C(in_passfile) with the path of the file.
      C(other_passfile) is the path of another passfile in C(repmgr.conf), which is not read.
  returned: when O(by_hand) is true
  type: dict
status_text:
  description: The output of repmgr for each of O(show).
  returned: when O(show) is not empty
  type: dict
answers:
  description:
    - The output of repmgr as data for each of O(ask), with C(rows), the exit code C(rc), C(warnings), and as C(unknown) the lines that were
      not understood. The exit code V(25) only means that there are warnings.
    - If repmgr failed, C(error) instead of these.
  returned: when O(ask) is not empty
  type: dict
"""

import threading

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.pgfleet.repmgr.plugins.module_utils import _by_hand, _endpoint, _host_files, _login, _observe, _place, _reach, _repmgr_output
from ansible_collections.pgfleet.repmgr.plugins.module_utils import _run_lock, _tls, _verdict
from ansible_collections.pgfleet.repmgr.plugins.module_utils._command import Runner
from ansible_collections.pgfleet.repmgr.plugins.module_utils._psql import Psql
from ansible_collections.pgfleet.repmgr.plugins.module_utils._repmgr import Repmgr
from ansible_collections.pgfleet.repmgr.plugins.module_utils._state import Observed, plain

ARGUMENTS = dict(
    name=dict(type='str'),
    find=dict(type='bool', default=False),
    by_hand=dict(type='bool', default=False),
    config_file=dict(type='path'),
    bin_dir=dict(type='path'),
    data_directory=dict(type='path'),
    port=dict(type='int', default=5432),
    conninfo=dict(type='str'),
    passfile=dict(type='path', no_log=False),
    run_as=dict(type='str', default='postgres'),
    packages=dict(type='list', elements='str', default=[]),
    package_sources=dict(type='bool', default=False),
    files=dict(type='list', elements='path', default=[]),
    blocks=dict(type='dict', default={}),
    settings_file=dict(type='path'),
    contents=dict(type='list', elements='path', default=[]),
    hba=dict(type='dict', options=dict(
        file=dict(type='path', required=True),
        rights=dict(type='str', required=True),
        os_user=dict(type='str', required=True),
        user=dict(type='str', required=True),
        database=dict(type='str', required=True),
        tls=dict(type='bool', required=True),
        trust=dict(type='bool', required=True),
        extra=dict(type='list', elements='raw', default=[]),
    )),
    peers=dict(type='list', elements='dict', default=[], options=dict(
        name=dict(type='str', required=True),
        address=dict(type='str', required=True),
        port=dict(type='int', default=5432),
        ssh_port=dict(type='int', default=22),
    )),
    log_in=dict(type='bool', default=False),
    tls=dict(type='dict', options=dict(
        certificate=dict(type='path', required=True),
        key=dict(type='path', required=True, no_log=False),
        root=dict(type='path', required=True),
        names=dict(type='list', elements='str', default=[]),
        authority_key=dict(type='path', no_log=False),
    )),
    health=dict(type='bool', default=False),
    lock=dict(type='dict', options=dict(
        run=dict(type='dict'),
        override=dict(type='list', elements='str', default=[]),
        before=dict(type='str', default=''),
        release=dict(type='str', choices=['end', 'refused']),
    )),
    observe_peers=dict(type='bool', default=False),
    connect_timeout=dict(type='int', default=3),
    events=dict(type='int', default=0),
    show=dict(type='list', elements='str', choices=['cluster', 'event', 'service', 'crosscheck'], default=[]),
    ask=dict(type='list', elements='str', default=[], choices=[
        'cluster', 'service', 'event', 'matrix', 'crosscheck', 'node_status', 'node_check']),
)


def run_lock(module):
    """Take or renew the run lock of the node if that was requested; return its state."""
    lock = module.params['lock']
    if not lock or not lock['run'] or module.check_mode:
        return _run_lock.seen()
    state = _run_lock.take(lock['run'], lock['override'], lock['before'])
    if state['state'] == 'unavailable':
        module.warn('%s: cannot take the run lock (%s). Nothing prevents another run from working on this node at the same time.' % (
            module.params['name'], state['reason']))
    return state


def extra_results(module, runner, place, observed=None):
    """The results that are returned on request only: those of the options by_hand, show and ask."""
    result = {}
    if module.params['by_hand'] and observed is not None:
        result['by_hand'] = _by_hand.look(place, observed, module.params['passfile'])
    repmgr = Repmgr(runner, place.bin_dir or '', place.config_file or '', module.params['passfile'], module.params['run_as'])
    if module.params['show']:
        result['status_text'] = _repmgr_output.texts(repmgr, module.params['show'], module.warn)
    if module.params['ask']:
        result['answers'] = _repmgr_output.answers(repmgr, module.params['ask'], module.warn)
    return result


def observe(module, runner, psql, place):
    """The observation of this node and its peers, with everything that the options ask for."""
    params = module.params
    reached, errors = [], []

    def probe():
        try:
            reached.extend(_reach.reach(params['peers'], params['connect_timeout']))
        except Exception as exc:
            errors.append(exc)

    # An unreachable peer costs the timeout, so observe this node in the meantime.
    probing = threading.Thread(target=probe)
    probing.start()
    health = _endpoint.ask() if params['health'] else None
    observed = _observe.observe_local(runner, psql, place, params['events'])
    if health is not None:
        observed.health = _endpoint.settle(health, observed.server.state == 'running' and observed.server.in_recovery is False)
    observed.name = place.name = place.name or (observed.config or {}).get('node_name') or ''
    _host_files.observe(runner, observed, params)
    probing.join()
    if errors:
        module.fail_json(msg='%s: cannot probe the ports of its peers: %s' % (observed.name, errors[0]))
    observed.reach = reached
    if params['hba']:
        observed.hba = _host_files.hba(params['hba'], reached, (observed.server.settings or {}).get('hba_file'))
    if params['log_in']:
        observed.logins = _login.log_in(
            runner, observed.reach, observed.name, _place.read_config(place.config_file), params['passfile'], place.bin_dir or '',
            params['run_as'])
    observed.backup = _observe.observe_backup(runner, observed, params['run_as'])
    observed.verified = _observe.read_verified()
    if params['tls']:
        observed.tls = _tls.examine(user=params['run_as'], runner=runner, **params['tls'])
    if params['observe_peers']:
        answers = _observe.observe_peers(psql, observed, place, params['peers'], params['connect_timeout'])
        observed.peers = dict((name, answer[0]) for name, answer in answers.items())
    return observed


def main():
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    params = module.params
    runner = Runner(module)
    place = _place.Place(
        params['name'] or '', params['config_file'], params['bin_dir'], params['data_directory'], params['port'],
        params['conninfo'], params['run_as'])
    if params['by_hand']:
        _by_hand.locate(place)
    if params['find']:
        _place.find(place)
    psql = Psql(runner, place.bin_dir or '', params['passfile'], params['connect_timeout'])
    if params['lock'] and params['lock']['release']:
        if params['lock']['run'] and not module.check_mode:
            _run_lock.release(params['lock']['run']['run'], refused=params['lock']['release'] == 'refused')
        module.exit_json(changed=False, **extra_results(module, runner, place))

    # Take the lock before observing: otherwise the observation may be the intermediate state of another run.
    lock = run_lock(module)
    if lock and lock['state'] in ('refused', 'lost'):
        observed = Observed(name=place.name, run_lock=lock)
        module.exit_json(changed=False, observed=plain(observed), cluster=_verdict.from_one_node(observed))
    observed = observe(module, runner, psql, place)
    observed.run_lock = lock
    module.exit_json(
        changed=False, observed=plain(observed), cluster=_verdict.from_one_node(observed), **extra_results(module, runner, place, observed))


if __name__ == '__main__':
    main()
