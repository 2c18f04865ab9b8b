"""SSH that is written down, or what was written down instead of SSH; ../scale.py says what for.

BENCH_RECORD=FOLDER: commands go over SSH, and each question with its answer becomes a line of FOLDER/ADDRESS.jsonl. A question is a module with
its arguments, or a command.
BENCH_REPLAY=FOLDER: nothing is sent. FOLDER/hosts.json has {"cluster": NAME, "hosts": [[name, address], ...]} of the recorded hosts. A host whose
ansible_host is cNNN-2 answers as the second of them did; where that one named the recorded hosts, it names cNNN-1, cNNN-2 and so on.

What was not asked in the recording has an answer of its own only where names that differ lead to it: files are written, and need no change,
nor do the services that use them. All else is an error, so that nothing is measured but the recorded run.
"""
from __future__ import annotations

import ast
import base64
import functools
import json
import os
import pathlib
import re

from ansible.errors import AnsibleConnectionFailure
from ansible.plugins.connection import ssh

DOCUMENTATION = ssh.DOCUMENTATION.replace("name: ssh", "name: recorded", 1)

PARAMETERS = re.compile(rb"^    ANSIBALLZ_PARAMS = (.*)$", re.M)
MODULE = re.compile(rb"mod_name='([\w.]+)'")
# What differs from run to run: become's marker and the folder for the files of one task.
VOLATILE = re.compile(r"BECOME-SUCCESS-\w+|ansible-tmp-[\d.-]+")
FOLDER_FOR_FILES = re.compile(r"mkdir .*\becho (ansible-tmp-[\d.-]+)=\S* echo (\S+)")
HOME = re.compile(r"\becho ~(root)? ")
ON_FILES = re.compile(r"(chmod u\+\w+|rm -f -r) \S*/ansible-tmp-[\d.-]+/")
FILES = {"ansible.modules.stat": {"changed": False, "stat": {"exists": False}}, "ansible.modules.copy": {"changed": False},
         "ansible.modules.file": {"changed": False}, "ansible.modules.systemd": {"changed": False}}


def question(command, in_data):
    """(module, arguments), or (None, command)."""
    if not in_data:
        return None, VOLATILE.sub("", command)
    parameters = PARAMETERS.search(in_data)
    if not parameters:
        raise AnsibleConnectionFailure("cannot tell what is asked, expected a module as ansible-core 2.16 sends it through a pipe: %.200r" % in_data)
    asked = json.loads(ast.literal_eval(parameters[1].decode()))["ANSIBLE_MODULE_ARGS"]
    wanted = {name: value for name, value in asked.items() if not name.startswith("_ansible_")}
    return MODULE.search(in_data)[1].decode(), json.dumps(wanted, sort_keys=True)


def renamed(text, names):
    """text with every name that is in names replaced by what it stands for there. What comes before a name may be a letter, that of a \\n."""
    pattern = "|".join(re.escape(name) for name in sorted(names, key=len, reverse=True))
    return re.sub(r"(%s)(?!\d)" % pattern, lambda found: names[found[1]], text)


def unrecorded(module, command):
    """(rc, stdout, stderr) of what only writing a file asks, or None."""
    if module in FILES:
        return 0, json.dumps(FILES[module]).encode(), b""
    folder = FOLDER_FOR_FILES.search(command)
    if module is None and folder:
        return 0, ("%s=%s\n" % folder.groups()).encode(), b""
    if module is None and HOME.search(command):
        return 0, b"/root\n", b""
    if module is None and ON_FILES.search(command):
        return 0, b"", b""
    return None


@functools.lru_cache(maxsize=None)
def recorded(folder, address):
    """{(module, what was asked): (rc, stdout, stderr)} of one host; the first answer where it was asked twice."""
    answers = {}
    for line in pathlib.Path(folder, address + ".jsonl").read_text(encoding="utf-8").splitlines():
        module, asked, rc, out, err = json.loads(line)
        answers.setdefault((module, asked), (rc, base64.b64decode(out), base64.b64decode(err)))
    return answers


@functools.lru_cache(maxsize=None)
def cluster_of(folder):
    said = json.loads(pathlib.Path(folder, "hosts.json").read_text(encoding="utf-8"))
    return said["cluster"], said["hosts"]


def replayed(folder, host, command, in_data):
    """What the host that `host` stands for has answered; None where nobody asked."""
    name, hosts = cluster_of(folder)
    cluster, number = host.rsplit("-", 1)
    here = {recorded_name: "%s-%d" % (cluster, place + 1) for place, (recorded_name, dummy) in enumerate(hosts)}
    there = dict({new: old for old, new in here.items()}, **{cluster: name})
    module, asked = question(command, in_data)
    answer = recorded(folder, hosts[int(number) - 1][1]).get((module, renamed(asked, there)))
    if answer is None:
        return unrecorded(module, command)
    return (answer[0],) + tuple(renamed(part.decode(), here).encode() for part in answer[1:])


class Connection(ssh.Connection):
    transport = "recorded"

    def exec_command(self, cmd, in_data=None, sudoable=True):
        host = self._play_context.remote_addr
        if "BENCH_RECORD" in os.environ:
            answer = super().exec_command(cmd, in_data=in_data, sudoable=sudoable)
            line = list(question(cmd, in_data)) + [answer[0]] + [base64.b64encode(part).decode() for part in answer[1:]]
            with open(os.path.join(os.environ["BENCH_RECORD"], host + ".jsonl"), "a", encoding="utf-8") as log:
                log.write(json.dumps(line) + "\n")
            return answer
        answer = replayed(os.environ["BENCH_REPLAY"], host, cmd, in_data)
        if answer is None:
            raise AnsibleConnectionFailure("%s: the recording has no answer to: %.3000s %.3000s" % ((host,) + question(cmd, in_data)))
        return answer

    def put_file(self, in_path, out_path):
        if "BENCH_RECORD" in os.environ:
            return super().put_file(in_path, out_path)
        return 0, b"", b""
