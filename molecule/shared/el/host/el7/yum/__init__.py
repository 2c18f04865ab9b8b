"""The little of yum's Python 2 module that Ansible's module yum calls to install packages, by the commands rpm and dnf.

What else it would call is not here, and fails by its name: groups, downgrades, and state latest.
"""
import collections
import subprocess

import rpm

from . import misc

__version_info__ = (3, 4, 3)

ENVRA = "%{epoch}:%{name}-%{version}-%{release}.%{arch}"


class Errors(object):
    """yum.Errors is a module of its own."""

    class YumBaseError(Exception):
        pass


class Package(collections.namedtuple("Package", "epoch name version release arch")):
    """One that is installed, or could be."""

    @property
    def ui_envra(self):
        return "%s:%s-%s-%s.%s" % self

    def names(self):
        """All that a user may call it."""
        epoch, name, version, release, arch = self
        full = "%s-%s-%s" % (name, version, release)
        return (name, name + "." + arch, full, full + "." + arch, self.ui_envra)


def packages(lines):
    """Package objects of lines with tabs; rpm's word for no epoch is (none)."""
    return [Package(*line.replace("(none)", "0").split("\t")) for line in lines if line]


FORM = "\t".join("%%{%s}" % field for field in Package._fields)


class Installed(object):
    """The database of rpm."""

    def matchPackageNames(self, specs):
        found = [package for package in packages(rpm.ask(["-qa", "--qf", FORM + "\\n"])) if set(package.names()) & set(specs)]
        return found, [], [] if found else specs


class Available(object):
    """What the repositories have."""

    def ask(self, arguments):
        process = subprocess.Popen(["dnf", "-q", "-y", "repoquery", "--qf", FORM] + arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                   universal_newlines=True)
        out, err = process.communicate()
        if process.returncode:
            raise Errors.YumBaseError(err or out)
        return packages(out.splitlines())

    def matchPackageNames(self, specs):
        found = self.ask(list(specs))
        return found, [], [] if found else specs


class Anything(object):
    """Settings that nobody here reads."""

    def __init__(self, **known):
        self.__dict__.update(known)


class YumBase(object):
    """yum, without plugins."""

    def __init__(self):
        self.preconf = Anything()
        self.conf = Anything(proxy=None)
        self.repos = Anything(repos={})
        self.rpmdb = Installed()
        self.pkgSack = Available()

    def returnInstalledPackagesByDep(self, dependency):
        try:
            return packages(rpm.ask(["-q", "--whatprovides", "--qf", FORM + "\\n", dependency]))
        except rpm.error:
            return []

    def returnPackagesByDep(self, dependency):
        return self.pkgSack.ask(["--whatprovides", dependency])
