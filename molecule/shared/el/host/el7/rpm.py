"""The little of rpm's Python 2 module that Ansible's module yum calls, by the command rpm: no Debian has that module."""
import os
import subprocess

RPMTAG_EPOCH, RPMTAG_NAME, RPMTAG_VERSION, RPMTAG_RELEASE, RPMTAG_ARCH = TAGS = ("EPOCH", "NAME", "VERSION", "RELEASE", "ARCH")
_RPMVSF_NOSIGNATURES = 0


class error(Exception):
    """What rpm says when it cannot read a package."""


def ask(arguments):
    """The lines that rpm prints."""
    process = subprocess.Popen(["rpm"] + arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, universal_newlines=True)
    out, err = process.communicate()
    if process.returncode:
        raise error(err or out)
    return out.splitlines()


class TransactionSet(object):
    """Enough of it to read the header of a file."""

    def setVSFlags(self, flags):
        pass

    def hdrFromFdno(self, fd):
        path = os.readlink("/proc/self/fd/%d" % fd)
        line, = ask(["-qp", "--nosignature", "--qf", "\t".join("%%{%s}" % tag for tag in TAGS), path])
        return dict((tag, None if value == "(none)" else value) for tag, value in zip(TAGS, line.split("\t")))
