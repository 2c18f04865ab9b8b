"""Which values of the documented options are combined, and which combinations the collection itself refuses.

Every option of roles/common/meta/argument_specs.yml is either varied here or named in FIXED with the reason; a unit test compares them.
A set is {parameter: value's name}; inventory() makes an inventory of it. Whether a set may be deployed is asked of contract_problems, with
the records that the tasks of the role `common` make of that inventory: what is refused is said once, in the collection.
"""
import functools
import pathlib
import re

import yaml
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar

from ansible_collections.pgfleet.repmgr.plugins.module_utils._contract import contract_problems

import covering

ROOT = pathlib.Path(__file__).resolve().parents[2]
COMMON = ROOT / "roles/common"

OWN_FILES = "/etc/ssl/own"
APPLICATION = "app"
NETWORK = "192.168.56.0/24"

# {layout: (data nodes, witness)}
LAYOUTS = {
    "3 data + witness": (3, True),
    "2 data + witness": (2, True),
    "3 data": (3, False),
    "2 data": (2, False),
}

# {parameter: {value's name: variables}}; the first value of each is the default. Templates see the host they are for.
PARAMETERS = {
    "layout": {name: {"repmgr_allow_two_nodes": True} if name == "2 data" else {} for name in LAYOUTS},
    "synchronous": {str(number): {"repmgr_synchronous": number} for number in range(3)},
    "tls": {
        "managed": {},
        "off": {"repmgr_tls": "off"},
        "provided": {"repmgr_tls": "provided", "repmgr_tls_certificate": OWN_FILES + "/server.crt", "repmgr_tls_key": OWN_FILES + "/server.key",
                     "repmgr_tls_root": OWN_FILES + "/root.crt"},
        "managed, more names": {"repmgr_tls_names": ["db.example.com", "10.9.8.7"]},
    },
    "profile": {"safe": {}, "wan": {"repmgr_failover_profile": "wan"}, "fast": {"repmgr_failover_profile": "fast"}},
    "failover": {"automatic": {}, "manual": {"repmgr_failover": "manual"}},
    "auto_rejoin": {"rewind": {}, "attach": {"repmgr_auto_rejoin": "attach"}, "off": {"repmgr_auto_rejoin": "off"}},
    # The last data node follows the one before it: inventory() knows which they are.
    "upstream": {"primary": {}, "named": {}},
    "clone_from": {"primary": {}, "standby": {"repmgr_clone_from": "standby"}},
    "clone": {
        "plain": {},
        "gzip, slow": {"repmgr_clone_compress": "gzip", "repmgr_clone_max_rate": "20M"},
        "lz4, fast": {"repmgr_clone_compress": "lz4", "repmgr_clone_max_rate": "1024M", "repmgr_clone_options": ["--fast-checkpoint"]},
        "zstd": {"repmgr_clone_compress": "zstd"},
    },
    "port": {"5432": {}, "1025": {"repmgr_port": 1025}, "65535": {"repmgr_port": 65535}},
    "database": {
        "repmgr": {},
        "own": {"repmgr_user": "Fleet-Repl.1", "repmgr_database": "Fleet-Meta.1"},
        "longest": {"repmgr_user": "u" * 63, "repmgr_database": "d" * 63},
    },
    "data_directory": {"packages'": {}, "own": {"repmgr_data_directory": "/srv/postgresql/data"}},
    "insecure": {
        "nothing": {}, "trust": {"repmgr_insecure": ["trust"]}, "superuser": {"repmgr_insecure": ["superuser"]},
        "all": {"repmgr_insecure": ["trust", "superuser", "unverified_hosts"]},
    },
    "metrics": {
        "none": {}, "default": {"repmgr_metrics": True},
        "own": {"repmgr_metrics": True, "repmgr_metrics_directory": "/srv/metrics/text", "repmgr_metrics_interval": 1},
    },
    "ssh_key": {kind: {"repmgr_ssh_key_type": kind} for kind in ("ed25519", "ecdsa", "rsa")},
    "node_names": {"host names": {}, "own": {"repmgr_node_name": "Node.{{ repmgr_node_id }}-x"}},
    "node_ids": {"1..4": {"repmgr_node_id": "{{ number }}"}, "greatest": {"repmgr_node_id": "{{ 2147483640 + number | int }}"}},
    "address": {"address": {}, "name": {"repmgr_address": "{{ inventory_hostname }}"}},
    "cluster": {"plain": {"repmgr_cluster_name": "options"}, "punctuated": {"repmgr_cluster_name": "Options-EU.1"}},
    "location": {"one": {}, "two": {"repmgr_location": "{{ 'north' if number | int in [2, 3] else 'south' }}"}},
    "priority": {"equal": {}, "different": {"repmgr_priority": "{{ {1: 50, 2: 100, 3: 0}.get(number | int, 100) }}"}},
    "password": {"generated": {}, "given": {"repmgr_password": "it's 50% \"off\":\\ #1 é"}},
    "archive": {
        "none": {},
        "copied": {"repmgr_archive_command": "test ! -f \"/var/lib/postgresql/wal of '%f'\" && cp '%p' \"/var/lib/postgresql/wal of '%f'\""},
    },
    "application": {
        "none": {},
        "over TCP": {"repmgr_pg_hba_extra": [
            {"contype": "host", "databases": APPLICATION, "users": APPLICATION, "address": NETWORK, "method": "scram-sha-256"}]},
    },
    "settings": {
        "none": {},
        "own": {"repmgr_postgresql_settings": {"shared_buffers": "64MB", "max_connections": 60, "log_line_prefix": "%m [%p] it's '%u' ", "jit": False},
                "repmgr_settings": {"log_level": "DEBUG", "log_status_interval": 5}},
    },
    "libraries": {"repmgr": {}, "more": {"repmgr_shared_preload_libraries": ["pg_stat_statements", "repmgr"]}},
    "health": {"https": {}, "plain": {"repmgr_health_tls": False, "repmgr_health_port": 8009}, "off": {"repmgr_health": False}},
    # A set has no other host for a repository; without a witness this is refused.
    "backup": {"none": {}, "on the witness": {"repmgr_backup": "pgbackrest", "repmgr_backup_group": "{{ repmgr_witness_group | default('witness') }}"}},
    "restart": {"never": {}, "allowed": {"repmgr_allow_restart": True}},
    "firewall": {"own": {}, "managed": {"repmgr_manage_firewall": True}},
    "groups": {
        "default": {},
        "own": {"repmgr_primary_group": "pg_first", "repmgr_standby_group": "pg_more", "repmgr_witness_group": "pg_votes",
                "repmgr_hosts": "pg_first:pg_more:pg_votes"},
    },
    "version": {"distribution's": {}, "named": {"repmgr_postgresql_version": 15}},
}

_OF_A_PROXY = "a set has no host for a proxy; tests/acceptance/test_19_routing.py"
_OF_BACKUPS = "tests/unit/plugins/module_utils/test_backup.py draws them"
FIXED = {
    "repmgr_package_source": "the lab's image has Debian's packages and reaches no archive; molecule/ has pgdg and none",
    "repmgr_apt_cache_valid_time": "the package lists are part of the image",
    "repmgr_ssh_port": "sshd of the lab's image listens on 22",
}
FIXED.update(("repmgr_" + name, _OF_A_PROXY) for name in (
    "proxy_group", "rw_port", "ro_port", "ro_lag", "ro_fallback", "proxy_connections", "proxy_stats_address", "proxy_stats_port"))
FIXED.update(("repmgr_verify_" + name, "of a playbook that a set does not run; tests/acceptance/test_22_verify_backup.py") for name in (
    "directory", "queries", "max_age"))
FIXED.update(("repmgr_backup" + name, _OF_BACKUPS) for name in (
    "_repository", "_cipher_pass", "_schedule", "_retention", "_processes", "_archive_queue", "_max_age", "_take_over"))


def _yaml(path):
    return yaml.safe_load((COMMON / path).read_text(encoding="utf-8"))


def variables_of(choice):
    found = {}
    for parameter, value in choice.items():
        found.update(PARAMETERS[parameter][value])
    return found


def hosts_of(choice, prefix, first):
    """{host: its own variables}, in the order in which they are numbered."""
    data_nodes, witness = LAYOUTS[choice["layout"]]
    hosts = {}
    for number in range(1, data_nodes + witness + 1):
        hosts["%s-%d" % (prefix, number)] = {"ansible_host": "192.168.56.%d" % (first + number - 1), "number": number}
    if choice["upstream"] == "named":
        names = list(hosts)[:data_nodes]
        hosts[names[-1]]["repmgr_upstream"] = names[-2]
    return hosts


def groups_of(choice, hosts):
    """{role: names of its hosts}"""
    data_nodes, dummy = LAYOUTS[choice["layout"]]
    names = list(hosts)
    return {"primary": names[:1], "standby": names[1:data_nodes], "witness": names[data_nodes:]}


def inventory(choice, prefix, first, **common):
    """What `ansible-playbook -i` reads."""
    hosts, variables = hosts_of(choice, prefix, first), dict(common, **variables_of(choice))
    return {"all": {"vars": variables, "children": {
        variables.get("repmgr_%s_group" % role, role): {"hosts": {name: hosts[name] for name in names}}
        for role, names in groups_of(choice, hosts).items()}}}


class Records:
    """What the tasks of the role `common` put on record of each host. Rendering is slow and most sets have most values in common, so each value is
    kept by the variables that it depends on."""

    FACTS = {"os_family": "Debian", "distribution": "Debian", "distribution_major_version": "12", "distribution_release": "bookworm",
             "architecture": "x86_64", "service_mgr": "systemd"}

    def __init__(self):
        self.variables = dict(_yaml("defaults/main.yml"), ansible_facts=self.FACTS, **_yaml("vars/Debian.yml"))
        self.variables.update(_yaml("vars/main.yml"))
        # As in inventories/lab/group_vars.
        self.variables.update(repmgr_package_source="distro")
        self.entries = self._tasks("tasks/inventory.yml", {})
        # What is known of a host that answers.
        self.entries.update(self._tasks("tasks/facts.yml", {"__repmgr_record": {}}))
        self.kept, self.names = {}, {}

    @staticmethod
    def _tasks(path, given):
        """{name of a value: (its template, or for those of an expression that names them all, that expression)}"""
        record = next(task["ansible.builtin.set_fact"]["__repmgr_record"] for task in _yaml(path)
                      if "__repmgr_record" in task.get("ansible.builtin.set_fact", {}))
        if not isinstance(record, dict):
            return {"": (record, given)}
        # A filter of the collection would want its loader, and hostvars a run; what the contract asks for that is made of them in a set is in of().
        return {name: value for name, value in record.items() if not re.search(r"pgfleet\.repmgr\.|\bhostvars\b|__repmgr_backup_record", "%s" % (value,))}

    def depends_on(self, value):
        """Names of all variables that come into a template."""
        text = "%s" % (value,)
        if text not in self.names:
            self.names[text] = found = set()
            if "{{" in text or "{%" in text:
                for word in set(re.findall(r"\w+", text)):
                    if word in self.variables or word in ("inventory_hostname", "group_names", "ansible_host", "number"):
                        found |= {word} | self.depends_on(self.variables.get(word))
        return self.names[text]

    def rendered(self, value, variables):
        names = set(self.depends_on(value))
        for name in list(names):
            names |= self.depends_on(variables.get(name))
        key = "%s %s" % (value, [(name, variables.get(name)) for name in sorted(names)])
        if key not in self.kept:
            self.kept[key] = Templar(loader=DataLoader(), variables=variables).template(value)
        return self.kept[key]

    def of(self, choice):
        hosts = hosts_of(choice, "options", 151)
        groups = groups_of(choice, hosts)
        given = dict(self.variables, **variables_of(choice))
        found = []
        for name, own in hosts.items():
            variables = dict(given, inventory_hostname=name, group_names=[
                given["repmgr_%s_group" % role] for role, names in groups.items() if name in names], **own)
            record = {}
            for entry, value in self.entries.items():
                if entry:
                    record[entry] = self.rendered(value, variables)
                else:
                    template, more = value
                    record.update(self.rendered(template, dict(variables, **more)))
            if variables.get("repmgr_backup", "none") != "none":
                record["backup"] = {entry: self.rendered(value, variables) for entry, value in self.variables["__repmgr_backup_record"].items()
                                    if entry not in ("hosts", "data_hosts", "repository")}
                record["backup"].update(
                    hosts=groups["witness"], data_hosts=groups["primary"] + groups["standby"], repository=variables["repmgr_backup_repository"])
            found.append(record)
        return found


@functools.lru_cache(maxsize=None)
def judge():
    """A function that says of a combination whether the collection would deploy it."""
    records, known = Records(), {}

    def allowed(choice):
        key = tuple(choice[name] for name in PARAMETERS)
        if key not in known:
            known[key] = contract_problems(records.of(choice)) == []
        return known[key]

    return allowed


def sets(seed):
    """All sets of a seed, numbered from 1 by their place."""
    return covering.covering_set({name: list(values) for name, values in PARAMETERS.items()}, judge(), seed)


def described(choice):
    """What is not the default."""
    return ", ".join("%s %s" % (name, value) for name, value in choice.items() if value != next(iter(PARAMETERS[name]))) or "defaults"
