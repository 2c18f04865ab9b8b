"""Names and versions of packages."""
import rpm


def splitFilename(filename):
    """'epoch:name-version-release.arch', with .rpm or without: (name, version, release, epoch, arch)."""
    if filename.endswith(".rpm"):
        filename = filename[:-4]
    rest, arch = filename.rsplit(".", 1)
    rest, version, release = rest.rsplit("-", 2)
    epoch, colon, name = rest.rpartition(":")
    return name, version, release, epoch, arch


def compareEVR(one, other):
    """-1, 0 or 1, as rpm itself orders versions."""
    for left, right in zip(one, other):
        order = int(rpm.ask(["--eval", '%%{lua:print(rpm.vercmp("%s", "%s"))}' % (left, right)])[0])
        if order:
            return order
    return 0
