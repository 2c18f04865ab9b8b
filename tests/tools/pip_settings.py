"""Print the effective configuration of pip, as uv options (one per line) or as a pip.conf.

A machine with its own mirror or certificates has said so to pip, in a file or the environment.
uv reads neither, and ansible-test hides the environment: nobody should have to say it twice.
"""

from __future__ import annotations

import ast
import subprocess
import sys

UV_LISTS = {
    "extra-index-url": "--extra-index-url",
    "find-links": "--find-links",
    "trusted-host": "--allow-insecure-host",
}
PIP_NAMES = ("index-url", "extra-index-url", "find-links", "no-index", "trusted-host", "cert", "client-cert", "proxy", "timeout")


def pip_settings():
    listing = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    ).stdout
    found = {}
    for line in listing.splitlines():
        key, sep, value = line.partition("=")
        section, dot, name = key.rpartition(".")
        if sep and dot:
            found[section, name] = str(ast.literal_eval(value))
    settings = {}
    # pip's own precedence, weakest first
    for wanted in ("global", "install", ":env:"):
        settings.update((name, value) for (section, name), value in found.items() if section == wanted)
    # PIP_DEFAULT_TIMEOUT is the older spelling of PIP_TIMEOUT
    if "default-timeout" in settings:
        settings.setdefault("timeout", settings["default-timeout"])
    return settings


def uv_options(settings):
    options = []
    if "index-url" in settings:
        options += ["--default-index", settings["index-url"]]
    if settings.get("no-index", "").lower() in ("1", "true", "yes", "on"):
        options.append("--no-index")
    for name, option in UV_LISTS.items():
        for value in settings.get(name, "").split():
            options += [option, value]
    if "extra-index-url" in settings:
        # pip takes the best version of all indexes, uv that of the first that knows the name
        options += ["--index-strategy", "unsafe-best-match"]
    return options


def pip_conf(settings):
    lines = ["[global]", "quiet = 2"]
    for name in PIP_NAMES:
        if name in settings:
            lines.append("%s = %s" % (name, "\n    ".join(settings[name].split())))
    return lines


if __name__ == "__main__":
    print("\n".join({"uv": uv_options, "pip": pip_conf}[sys.argv[1]](pip_settings())))
