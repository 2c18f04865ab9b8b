"""On what was measured: figures without it mean nothing."""
import datetime
import os
import pathlib
import platform
import re
import subprocess
from importlib import metadata

ROOT = pathlib.Path(__file__).resolve().parents[2]


def versions():
    """The controller, which is the hosts' machine, too."""
    model = re.search(r"^model name\s*: (.*)$", pathlib.Path("/proc/cpuinfo").read_text(), re.M)
    return {
        "date": datetime.date.today().isoformat(),
        "commit": subprocess.check_output(["git", "describe", "--always", "--dirty"], cwd=str(ROOT), universal_newlines=True).strip(),
        "processors": os.cpu_count(),
        "processor": model.group(1) if model else platform.machine(),
        "memory_mib": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2 ** 20,
        "ansible_core": metadata.version("ansible-core"),
        "python": platform.python_version(),
    }
