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
short_description: Observe a node of a repmgr cluster and what it can see of its peers
version_added: 0.1.0
description:
  - Reads what one node knows of itself and of its peers in one go, and says what that means for the cluster.
  - Works on a host with nothing installed as well as on a running node. Changes nothing but, where it is asked for, the O(lock) of the run.
  - Starts two processes at most for the node itself, C(pg_controldata) and C(psql), where the server answers at the first try.
extends_documentation_fragment:
  - pgfleet.repmgr.attributes
  - pgfleet.repmgr.attributes.info
  - pgfleet.repmgr.attributes.actiongroup_repmgr
author:
  - The pgfleet authors (@pgfleet)
options:
  name:
    description:
      - The name of the node in the answer, usually that of the inventory. Default is the node name of C(repmgr.conf).
    type: str
  find:
    description:
      - Whether O(config_file), O(bin_dir) and O(data_directory) that are not given are looked for - C(repmgr.conf) where packages have it, the
        others in it or where packages have them - so that no facts of the host are needed.
    type: bool
    default: false
  by_hand:
    description:
      - Whether to look also for what counts only before this collection takes a node over, returned as C(by_hand).
      - C(repmgr.conf) is then looked for in more places, the first of them the command line of a C(repmgrd) that runs.
    type: bool
    default: false
  config_file:
    description:
      - The path of C(repmgr.conf). It need not exist.
    type: path
  bin_dir:
    description:
      - The folder of the programs of PostgreSQL and repmgr. It need not exist.
    type: path
  data_directory:
    description:
      - The data directory. Default is that of C(repmgr.conf).
    type: path
  port:
    description:
      - The port of the local server.
    type: int
    default: 5432
  conninfo:
    description:
      - How to reach the local server. Default is C(conninfo) of C(repmgr.conf).
      - Where that is not answered, the local socket is tried as O(run_as), if the module runs as that user or as root.
    type: str
  passfile:
    description:
      - The password file that connections use, instead of C(~/.pgpass) of the current user.
    type: path
  run_as:
    description:
      - The user that the server runs as. Root becomes this user for C(repmgr) and for the local socket.
    type: str
    default: postgres
  packages:
    description:
      - Packages to look for in the records of dpkg or rpm, which is much cheaper than to ask apt or dnf. What is missing is returned.
    type: list
    elements: str
    default: []
  package_sources:
    description:
      - Whether to read which package sources of the PostgreSQL project (PGDG) the host has, from the files of apt, yum and dnf.
    type: bool
    default: false
  files:
    description:
      - Files whose contents, mode and owner are told by a digest, so that a playbook need not write again what is there.
    type: list
    elements: path
    default: []
  blocks:
    description:
      - The same for what stands between two markers of C(ansible.builtin.blockinfile), by the path of the file. Each marker is what follows
        C(# BEGIN) and C(# END).
    type: dict
    default: {}
  settings_file:
    description:
      - The file of PostgreSQL's settings that this collection writes. What it keeps of earlier settings is returned.
    type: path
  contents:
    description:
      - Files whose contents are told. They must hold nothing that is secret.
    type: list
    elements: path
    default: []
  hba:
    description:
      - The rules that this collection writes to the top of C(pg_hba.conf). Told is whether that would change the file, not what is in it.
    type: dict
    suboptions:
      file:
        description: The path of C(pg_hba.conf). It need not exist.
        type: path
        required: true
      rights:
        description: Its mode, owner and group in one string, as O(files) are told.
        type: str
        required: true
      os_user:
        description: The user of the operating system that the socket lets in as the role of the same name.
        type: str
        required: true
      user:
        description: The role of repmgr, which every address of O(peers) is let in as.
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
        description: Further rules, as C(repmgr_pg_hba_extra) has them.
        type: list
        elements: raw
        default: []
  peers:
    description:
      - Hosts whose SSH and PostgreSQL ports are tried, all at once.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: The name of the peer in the answer.
        type: str
        required: true
      address:
        description: Where this node would connect to.
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
      - Whether to log in to O(peers) with the node's own credentials - by SSH as O(run_as) with C(ssh_options) of
        C(repmgr.conf), by SQL and by the replication protocol with its C(conninfo). All at once; needs O(config_file).
      - Of more than five, those five whose names follow the node's own (after the last comes the first). All nodes of a cluster do it at
        the same time, and sshd turns away whom it likes from the eleventh on (its C(MaxStartups)).
    type: bool
    default: false
  tls:
    description:
      - The server's TLS files, looked at as a peer with C(sslmode=verify-full) would.
    type: dict
    suboptions:
      certificate:
        description: The certificate, with what leads up to the authority.
        type: path
        required: true
      key:
        description: Its private key.
        type: path
        required: true
      root:
        description: The authorities that the node trusts.
        type: path
        required: true
      names:
        description: Names and addresses that the certificate must be made out to.
        type: list
        elements: str
        default: []
      authority_key:
        description: Where the private key of the cluster's own authority would be.
        type: path
  lock:
    description:
      - Take the lock of the node, a file in C(/run/pgfleet) that keeps one run of a playbook from working beside another, or renew it. In check mode the
        lock is only read.
      - While another run has the lock, nothing else is observed.
    type: dict
    suboptions:
      run:
        description: Which run this is. The controller fills it in.
        type: dict
      override:
        description: Runs whose locks are taken, because they are known to be dead.
        type: list
        elements: str
        default: []
      before:
        description: The C(observed.run_lock.boot) of the run's own observation before this one. A lock that was lost in between is not taken again.
        type: str
        default: ''
      release:
        description:
          - Release the lock of this run instead, and return nothing but what O(show) and O(ask) want.
          - V(end) is for the end of a run. V(refused) is for a run that has changed nothing; it puts back the lock of a run that had fallen silent.
        type: str
        choices: [end, refused]
  observe_peers:
    description:
      - Observe every registered node and every peer over SQL too. Needed for a verdict on the whole cluster.
    type: bool
    default: false
  connect_timeout:
    description:
      - Seconds to wait for a connection. Peers are asked at the same time, so any number of dead ones costs this once.
    type: int
    default: 3
  events:
    description:
      - How many of repmgr's latest events to return.
    type: int
    default: 0
  show:
    description:
      - Texts of repmgr's own to return, as a person would see them.
    type: list
    elements: str
    choices: [cluster, event, service, crosscheck]
    default: []
  ask:
    description:
      - Answers of repmgr's own to return as data. A line that is not understood is returned too, and warned of.
      - V(matrix) and V(crosscheck) make repmgr go to every node over SSH.
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
  description: What the node sees. Passwords never appear.
  returned: unless O(lock.release) is set
  type: dict
  contains:
    name:
      description: The name of the node.
      type: str
      returned: always
    installed:
      description: Whether the programs of PostgreSQL are there.
      type: bool
      returned: always
    missing_packages:
      description: Those of O(packages) that are not installed. V(none) where there are no records of dpkg or rpm.
      type: list
      elements: str
      returned: always
    package_sources:
      description:
        - With O(package_sources), the sources of PGDG, also disabled ones, each with C(file), C(line) and C(enabled). Those of apt have C(uris),
          C(suites), C(components), C(architectures), C(signed), C(keys) and C(missing_keys), those of yum and dnf C(id) and C(urls).
          C(ours) tells whether role C(pgdg_repo) has written it.
      type: list
      elements: dict
      returned: always
    files:
      description:
        - Each of O(files) and O(blocks) that is there, as SHA-256, mode, owner and group in one string. Of a folder, the word C(folder) and the rest.
      type: dict
      returned: always
    contents:
      description: The text of each of O(contents) that can be read.
      type: dict
      returned: always
    hba:
      description:
        - With O(hba), as C(due) those of V(socket), V(add) and V(remove) that would change the file - the rule for the socket, all missing rules, and
          the removal of those that are not asked for any more - as C(file) its path, as C(exists) whether it is there, and as C(other) the file that
          the server reads in its place, or V(none).
      type: dict
      returned: always
    repmgr_installed:
      description: Whether the programs of repmgr are there.
      type: bool
      returned: always
    deployed:
      description: Whether the unit of repmgrd is there that role C(repmgrd) writes once a node has its data.
      type: bool
      returned: always
    repmgr_version:
      description: The version of the installed repmgr as V(MAJOR.MINOR), or V(none) where it is not installed or its extension is not in the usual place.
      type: str
      returned: always
    config:
      description: The settings of C(repmgr.conf), or V(none) where there is no such file.
      type: dict
      returned: always
    elsewhere:
      description:
        - Configuration files of this host that are for another data directory than the one that was looked at, each with C(file), C(data_directory) and
          C(major), the version of what is there or V(none). Of C(repmgr.conf) also C(node_id), of a cluster of Debian C(version).
      type: list
      elements: dict
      returned: always
    data:
      description:
        - The data directory. C(state) is V(missing), V(empty), V(partial), V(valid), V(unrecognised) or V(unknown).
        - C(clone_begun) tells of one that is missing or empty whether a clone into it was begun and never finished.
        - C(timeline), C(cluster_state) and C(system_identifier) are those of the control file.
      type: dict
      returned: always
    server:
      description:
        - The server. C(state) is V(running), V(stopped), V(starting) or V(unknown); C(sql) tells whether it answered.
        - C(timeline) is that of the WAL being written or received, which the control data follow at the next checkpoint only.
        - C(configured) has the settings that this collection sets and that the server's files say, each with C(setting), C(unit), C(default) and
          C(file). C(kept) has those of earlier settings that O(settings_file) keeps, V(none) where this collection has not written it.
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
      description: Whether the database is there, the version of the extension, the registered nodes, and repmgrd's state.
      type: dict
      returned: always
    daemons:
      description:
        - Every C(repmgrd) process of this node, each with C(pid), and C(unit), the systemd service that runs it or V(none). More than one watch the same
          node twice.
      type: list
      elements: dict
      returned: always
    guard:
      description:
        - Whether repmgr-guard is C(running) and C(enabled), and C(stopped), a dictionary where it has stopped the server, with C(code), C(peers) that
          were the reason and C(since) as far as it wrote them down, V(none) where it has not. C(peers) have a C(node_id) and a C(conninfo).
        - C(fuse) is C(running) and C(enabled) of its fuse, V(none) where that is not installed.
      type: dict
      returned: where it is installed
    run_lock:
      description:
        - The lock of the run that works on this node, V(none) where there is none. C(state) is V(held), V(refused) where another run has it, V(lost)
          where this run had it, V(seen) without O(lock), or V(unavailable) with the C(reason).
        - With V(held) C(boot), for O(lock.before). Of another run C(run), C(playbook), C(user), C(controller), and its C(process) there;
          C(for_seconds) since it began, C(renewed_seconds) since it was seen last, and whether its SSH connection is open, C(connected).
      type: dict
      returned: always
    disks:
      description:
        - The file systems of the data directory and, where it has one of its own, of its WAL, each with C(path), C(total_bytes) and
          C(free_bytes), which is what the server may use.
      type: list
      elements: dict
      returned: always
    reach:
      description:
        - Each peer as seen from here. C(ssh) and C(postgresql) are V(open), V(refused), V(timeout), V(unreachable),
          V(unresolved) or V(error). C(addresses) are what its address resolves to, C(sources) the addresses of this host that it sees.
      type: list
      elements: dict
      returned: always
    tls:
      description:
        - What a peer would say of the server's certificate. C(error) is empty where it would accept it; C(days) are left until it
          expires, C(authority_days) until its authority does; C(names) are those it is made out to; C(root) is the SHA-256 of the file of
          authorities; C(authority_key) tells whether the authority's own key is on this host. V(none) without O(tls).
      type: dict
      returned: always
    logins:
      description:
        - With O(log_in), for each peer that was tried and has an open port C(ssh), C(sql) and C(replication), each empty where it worked, else
          why not.
      type: dict
      returned: always
    peers:
      description: The observation of each peer by name, V(none) where it did not answer.
      type: dict
      returned: always
    events:
      description: The latest events, and the last promotion where it is not among them.
      type: list
      elements: dict
      returned: always
cluster:
  description: What this node's observations say of the cluster.
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
        - Would an automatic failover succeed if the primary died now. Needs O(observe_peers=true).
        - The answer is worked out as C(repmgrd) would elect - by the active nodes below the primary, of which more than half must
          be in sight, one of them in the primary's location.
      type: dict
      returned: always
      contains:
        ready:
          description: Whether it would. V(true) exactly where there are no reasons.
          type: bool
          returned: always
        reasons:
          description:
            - Why it would not, or would leave a node behind, each with the node, what was seen, what was expected and what to type.
          type: list
          elements: str
          returned: always
        candidates:
          description:
            - The standbys of the primary that answer, the one that would be elected first, each with C(name), C(node_id), C(priority),
              C(location), C(lag_bytes), and C(obstacles) that keep it from being promoted.
          type: list
          elements: dict
          returned: always
    summary:
      description: One line.
      type: str
      returned: always
by_hand:
  description:
    - What the playbook C(adopt) asks for. C(config_file), C(bin_dir), C(data_directory) and C(config_directory) are where they were found;
      C(settings) is what C(repmgr.conf) says, without passwords; C(other_configs) are configuration files for other data directories.
    - C(cron) has the lines of crontabs that start C(repmgrd), each with C(file) and C(line), and C(trust) the rules of C(pg_hba.conf) by which other
      hosts log in without a password.
    - C(password) tells where there is one - C(in_conninfo), C(in_conf) the names of settings, and C(in_passfile) the path of the file.
  returned: when O(by_hand) is true
  type: dict
status_text:
  description: What repmgr itself says, by the names of O(show).
  returned: when O(show) is not empty
  type: dict
answers:
  description:
    - What repmgr itself answers, by the names of O(ask), each with C(rows), the exit code C(rc), C(warnings), and the lines that were
      not understood as C(unknown). V(25) as exit code only says that there are warnings.
    - C(error) in place of these where repmgr could not answer.
  returned: when O(ask) is not empty
  type: dict
"""

import threading

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.pgfleet.repmgr.plugins.module_utils import _by_hand, _login, _observe, _reach, _run_lock, _settings, _tls, _verdict
from ansible_collections.pgfleet.repmgr.plugins.module_utils._command import CommandError, Runner, redacted
from ansible_collections.pgfleet.repmgr.plugins.module_utils._psql import Psql
from ansible_collections.pgfleet.repmgr.plugins.module_utils._repmgr import Repmgr, warnings
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


def status_texts(module, repmgr):
    texts = {}
    for what in module.params['show']:
        try:
            answer = repmgr.show(what)
            # What repmgr warns of belongs to the table above it: "node is not attached" is nowhere else.
            texts[what] = redacted('\n'.join([answer.stdout.rstrip()] + warnings(answer.stderr)) + '\n')
        except CommandError as exc:
            texts[what] = redacted(exc.result.stderr or exc.message)
            module.warn('repmgr could not show "%s": %s' % (what, exc.message))
    return texts


def answers(module, repmgr):
    found = {}
    for what in module.params['ask']:
        try:
            found[what] = redacted_all(repmgr.ask(what))
        except CommandError as exc:
            found[what] = {'error': redacted(exc.result.stderr or exc.message)}
            module.warn('repmgr could not answer "%s": %s' % (what, exc.message))
            continue
        for line in found[what]['unknown']:
            module.warn('repmgr answered "%s" with a line that is not understood: %s' % (what, line))
    return found


def redacted_all(value):
    if isinstance(value, dict):
        return dict((key, redacted_all(item)) for key, item in value.items())
    if isinstance(value, list):
        return [redacted_all(item) for item in value]
    return redacted(value) if hasattr(value, 'lower') else value


def run_lock(module):
    """What is to be told of the lock of the node, taken first where it is to be taken."""
    lock = module.params['lock']
    if not lock or not lock['run'] or module.check_mode:
        return _run_lock.seen()
    found = _run_lock.take(lock['run'], lock['override'], lock['before'])
    if found['state'] == 'unavailable':
        module.warn('%s: cannot take the lock of the run (%s). Nothing keeps another run from working on this node at the same time.' % (
            module.params['name'], found['reason']))
    return found


def asked(module, runner, place, observed=None):
    """What is returned only where it is wanted: what repmgr itself says, and what counts before a node is taken over."""
    result = {}
    if module.params['by_hand'] and observed is not None:
        result['by_hand'] = _by_hand.look(place, observed, module.params['passfile'])
    repmgr = Repmgr(runner, place.bin_dir or '', place.config_file or '', module.params['passfile'], module.params['run_as'])
    if module.params['show']:
        result['status_text'] = status_texts(module, repmgr)
    if module.params['ask']:
        result['answers'] = answers(module, repmgr)
    return result


def main():
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    params = module.params
    runner = Runner(module)
    place = _observe.Place(
        params['name'] or '', params['config_file'], params['bin_dir'], params['data_directory'], params['port'],
        params['conninfo'], params['run_as'])
    if params['by_hand']:
        _by_hand.locate(place)
    if params['find']:
        _observe.find(place)
    psql = Psql(runner, place.bin_dir or '', params['passfile'], params['connect_timeout'])
    if params['lock'] and params['lock']['release']:
        if params['lock']['run'] and not module.check_mode:
            _run_lock.release(params['lock']['run']['run'], refused=params['lock']['release'] == 'refused')
        module.exit_json(changed=False, **asked(module, runner, place))

    # Before anything is looked at: without the lock, that may be another run's work in progress.
    found = run_lock(module)
    if found and found['state'] in ('refused', 'lost'):
        observed = Observed(name=place.name, run_lock=found)
        module.exit_json(changed=False, observed=plain(observed), cluster=_verdict.from_one_node(observed))

    # A peer that is gone costs the timeout, in which this node can be looked at.
    reached, failed = [], []

    def knock():
        try:
            reached.extend(_reach.reach(params['peers'], params['connect_timeout']))
        except Exception as exc:
            failed.append(exc)

    knocking = threading.Thread(target=knock)
    knocking.start()
    observed = _observe.observe_local(runner, psql, place, params['events'])
    observed.name = place.name = place.name or (observed.config or {}).get('node_name') or ''
    observed.files = _observe.files(params['files'], params['blocks'])
    observed.run_lock = found
    observed.contents = _observe.contents(params['contents'])
    observed.server.kept = _settings.kept_in(_observe.contents([params['settings_file'] or '']).get(params['settings_file']))
    observed.missing_packages = _observe.missing_packages(runner, params['packages'])
    observed.package_sources = _observe.package_sources() if params['package_sources'] else []
    knocking.join()
    if failed:
        module.fail_json(msg='%s: cannot ask which peers are in reach: %s' % (observed.name, failed[0]))
    observed.reach = reached
    if params['hba']:
        observed.hba = _observe.hba(params['hba'], reached, (observed.server.settings or {}).get('hba_file'))
    if params['log_in']:
        observed.logins = _login.log_in(
            runner, observed.reach, observed.name, _observe.read_config(place.config_file), params['passfile'], place.bin_dir or '',
            params['run_as'])
    if params['tls']:
        observed.tls = _tls.examine(user=params['run_as'], runner=runner, **params['tls'])
    if params['observe_peers']:
        observed.peers = dict((name, found[0]) for name, found in _observe.observe_peers(
            psql, observed, place, params['peers'], params['connect_timeout']).items())

    module.exit_json(
        changed=False, observed=plain(observed), cluster=_verdict.from_one_node(observed), **asked(module, runner, place, observed))


if __name__ == '__main__':
    main()
