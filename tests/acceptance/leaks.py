"""Whether a secret can be found where it must not be: on hosts, among their processes, on the controller."""
import base64
import os
import subprocess

import lab


def spellings(word):
    """The word as it is, in hexadecimal, and what base64 makes of it inside of a longer text, at each of three offsets."""
    found = [word, word.encode().hex()]
    for offset in range(3):
        text = base64.b64encode(b"\0" * offset + word.encode()).decode().rstrip("=")
        # The first and last characters depend on the neighbours as well.
        found.append(text[-(-offset * 8 // 6):-2])
    return "".join(spelling + "\n" for spelling in found)


# A pattern on a command line would be found there; all of them come by standard input, and so does not the journal.
_FILES = ("grep -rlaFs -D skip -f - $(find / -mindepth 1 -maxdepth 1 -type d ! -name proc ! -name sys);"
          " true")
_PROCESSES = "grep -laFs -f - /proc/[0-9]*/cmdline /proc/[0-9]*/environ; true"
_JOURNAL = "grep -caF -f - <(journalctl -q --no-pager --all -o verbose); true"


def on_host(host, word):
    """Every file of the host that has it, every process whose command or environment has it, and 'journal'."""
    found = set(lab.ssh(host, _FILES, stdin=spellings(word)).split("\n")) | set(lab.ssh(host, _PROCESSES, stdin=spellings(word)).split("\n"))
    if int(lab.ssh(host, _JOURNAL, stdin=spellings(word))):
        found.add("journal")
    return found - {""}


def in_folders(word, *folders):
    """Every file below folders of this machine that has it."""
    done = subprocess.run(["grep", "-rlaFs", "-D", "skip", "-f", "-"] + [str(folder) for folder in folders], input=spellings(word),
                          stdout=subprocess.PIPE, universal_newlines=True, timeout=120, check=False)
    return set(done.stdout.splitlines())


class Samples(object):
    """While this context is active, record the command lines on all hosts and on this machine about three times a second, in one file for each."""

    LOOP = "while ps -eo args; do sleep 0.3; done"

    def __init__(self, folder):
        self.folder, self.processes = folder, []

    def __enter__(self):
        self.folder.mkdir()
        for name in lab.HOSTS + ["controller"]:
            command = ["sh", "-c", self.LOOP]
            if name != "controller":
                # A connection of its own, which ends together with its loop.
                command = ["ssh"] + lab._ssh_options() + ["-o", "ControlMaster=no", "-o", "ControlPath=none", "root@" + lab.ADDRESS[name], self.LOOP]
            with open(str(self.folder / name), "w") as output:
                self.processes.append(subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.DEVNULL))
        return self

    def __exit__(self, *dummy):
        ended = [process.poll() for process in self.processes]
        for process in self.processes:
            process.terminate()
            process.wait(timeout=30)
        assert ended == [None] * len(ended), "a sampler ended early: %s" % ended


def environment(folder):
    """Everything that Ansible may write on this machine goes into one folder: log, facts, temporary files."""
    (folder / "tmp").mkdir()
    return dict(
        os.environ, ANSIBLE_LOG_PATH=str(folder / "ansible.log"), ANSIBLE_CACHE_PLUGIN="jsonfile",
        ANSIBLE_CACHE_PLUGIN_CONNECTION=str(folder / "facts"), ANSIBLE_LOCAL_TEMP=str(folder / "tmp" / "ansible"),
        TMPDIR=str(folder / "tmp"), ANSIBLE_NOCOLOR="1", PATH="%s:%s" % (lab.ROOT / ".venv/bin", os.environ["PATH"]),
    )
