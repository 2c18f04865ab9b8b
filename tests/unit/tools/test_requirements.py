# Copyright: (c) The pgfleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which versions of other collections an installation gets: from a stand-in of a Galaxy server, and against those that the tests run with."""

from __future__ import annotations

import hashlib
import http.server
import io
import json
import os
import pathlib
import shutil
import subprocess
import tarfile
import threading

import ansible_collections
import pytest
import yaml
from ansible.galaxy.dependency_resolution.versioning import meets_requirements
from packaging.specifiers import SpecifierSet

ROOT = pathlib.Path(__file__).resolve().parents[3]
# {collection: {version: the ansible-core that its meta/runtime.yml asks for}}, the last of some major versions.
PUBLISHED = {
    "ansible.posix": {"1.6.2": ">=2.15.0", "2.2.0": ">=2.16.0"},
    "community.crypto": {"2.22.3": ">=2.9.10", "2.26.3": ">=2.9.10", "3.0.0": ">=2.17.0", "3.3.0": ">=2.17.0"},
    "community.general": {"8.6.8": ">=2.13.0", "10.7.9": ">=2.15.0", "11.4.8": ">=2.16.0", "12.0.0": ">=2.17.0", "13.4.0": ">=2.18.0"},
    "community.postgresql": {"3.9.0": ">=2.9.10", "3.14.2": ">=2.9.10", "4.0.0": ">=2.9.10", "4.2.0": ">=2.9.10"},
}
# Not tested on Python 2 by those who make it, whatever ansible-core it asks for.
NOT_FOR_PYTHON_2 = {("community.postgresql", "4.0.0"), ("community.postgresql", "4.2.0")}


def requirements(name):
    return {entry["name"]: entry["version"] for entry in yaml.safe_load((ROOT / name).read_text())["collections"]}


CORE216 = requirements("requirements-core-2.16.yml")
DEPENDENCIES = yaml.safe_load((ROOT / "galaxy.yml").read_text())["dependencies"]


def test_the_three_lists_name_the_same():
    assert requirements("requirements.yml") == DEPENDENCIES
    assert set(CORE216) == set(DEPENDENCIES) == set(PUBLISHED)
    for name, versions in DEPENDENCIES.items():
        assert CORE216[name].startswith(versions + ",<"), name


@pytest.mark.parametrize("name", sorted(CORE216))
def test_what_works_with_core_216_is_inside_and_the_rest_is_not(name):
    for version, core in PUBLISHED[name].items():
        works = SpecifierSet(core).contains("2.16.19") and (name, version) not in NOT_FOR_PYTHON_2
        assert meets_requirements(version, CORE216[name]) == works, version
        assert meets_requirements(version, DEPENDENCIES[name]), version


@pytest.mark.parametrize("name", sorted(CORE216))
def test_the_collections_of_the_tests_are_inside(name):
    """Those that the `ansible` package of the core-2.16 line brings, with which the lab and `el7` are tested."""
    from ansible.release import __version__ as core
    if not core.startswith("2.16."):
        pytest.skip("this is ansible-core " + core)
    found = [pathlib.Path(path, *name.split(".")) for path in ansible_collections.__path__ if pathlib.Path(path, *name.split("."), "MANIFEST.json").exists()]
    assert found, "the package ansible is not installed"
    version = json.loads((found[0] / "MANIFEST.json").read_text())["collection_info"]["version"]
    assert meets_requirements(version, CORE216[name])
    assert SpecifierSet(yaml.safe_load((found[0] / "meta" / "runtime.yml").read_text())["requires_ansible"]).contains(core)


# -- a real resolution

def artifact(name, version, dependencies):
    namespace, short = name.split(".")
    files = json.dumps({"files": [{"name": ".", "ftype": "dir", "chksum_type": None, "chksum_sha256": None, "format": 1}], "format": 1}).encode()
    manifest = json.dumps({
        "collection_info": {"namespace": namespace, "name": short, "version": version, "authors": ["x"], "readme": "README.md", "tags": [],
                            "description": None, "license": [], "license_file": None, "dependencies": dependencies, "repository": None,
                            "documentation": None, "homepage": None, "issues": None},
        "file_manifest_file": {"name": "FILES.json", "ftype": "file", "chksum_type": "sha256", "chksum_sha256": hashlib.sha256(files).hexdigest(),
                               "format": 1}, "format": 1}).encode()
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w:gz") as archive:
        for member, content in (("MANIFEST.json", manifest), ("FILES.json", files)):
            entry = tarfile.TarInfo(member)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return made.getvalue()


@pytest.fixture(scope="module")
def galaxy():
    """The address of a server that speaks as much of Galaxy's API as an installation needs."""
    published = {(name, version): artifact(name, version, {}) for name, versions in PUBLISHED.items() for version in versions}
    published["pgfleet.repmgr", "0.1.0"] = artifact("pgfleet.repmgr", "0.1.0", DEPENDENCIES)

    class Handler(http.server.BaseHTTPRequestHandler):
        def log_message(self, *dummy):
            pass

        def do_GET(self):
            base = "http://127.0.0.1:%d" % self.server.server_port
            words = self.path.partition("?")[0].strip("/").split("/")
            answer = None
            if words == ["api"]:
                answer = {"available_versions": {"v3": "v3/"}}
            elif words[0] == "file":
                answer = published.get((words[1], words[2]))
            elif words[:3] == ["api", "v3", "collections"] and "versions" in words:
                name = ".".join(words[3:5])
                versions = [version for known, version in published if known == name]
                if len(words) == 6 and versions:
                    answer = {"meta": {"count": len(versions)}, "links": {"next": None}, "data": [
                        {"version": version, "href": "/api/v3/collections/%s/%s/versions/%s/" % (words[3], words[4], version)} for version in versions]}
                elif len(words) == 7 and words[6] in versions:
                    data = published[name, words[6]]
                    answer = {"namespace": {"name": words[3]}, "collection": {"name": words[4]}, "version": words[6], "signatures": [],
                              "href": base + self.path, "download_url": "%s/file/%s/%s" % (base, name, words[6]),
                              "artifact": {"sha256": hashlib.sha256(data).hexdigest()},
                              "metadata": {"dependencies": DEPENDENCIES if name == "pgfleet.repmgr" else {}}}
            self.send_response(404 if answer is None else 200)
            body = answer if isinstance(answer, bytes) else json.dumps(answer or {}).encode()
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield "http://127.0.0.1:%d/api/" % server.server_port
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def install(tmp_path, galaxy):
    """install(*what) -> {collection: version} of all that is there then."""
    (tmp_path / "ansible.cfg").write_text("")
    environment = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy") and not name.startswith("ANSIBLE_")}
    environment.update(ANSIBLE_CONFIG=str(tmp_path / "ansible.cfg"), ANSIBLE_HOME=str(tmp_path / "home"), ANSIBLE_NOCOLOR="1",
                       ANSIBLE_COLLECTIONS_PATH=str(tmp_path / "installed"), ANSIBLE_COLLECTIONS_SCAN_SYS_PATH="false")

    def run(*what):
        done = subprocess.run(
            ["ansible-galaxy", "collection", "install", "--server", galaxy, "--no-cache", "-p", str(tmp_path / "installed")] + list(what),
            cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, universal_newlines=True, timeout=300, check=False)
        assert done.returncode == 0, done.stdout
        return {".".join(path.parts[-3:-1]): json.loads(path.read_text())["collection_info"]["version"]
                for path in (tmp_path / "installed").glob("ansible_collections/*/*/MANIFEST.json")}
    return run


@pytest.mark.skipif(not shutil.which("ansible-galaxy"), reason="no ansible-galaxy on PATH")
def test_the_file_for_core_216_resolves_and_the_collection_keeps_what_it_chose(install):
    chosen = {"ansible.posix": "2.2.0", "community.crypto": "2.26.3", "community.general": "11.4.8", "community.postgresql": "3.14.2"}
    assert install("-r", str(ROOT / "requirements-core-2.16.yml")) == chosen
    assert install("pgfleet.repmgr") == dict(chosen, **{"pgfleet.repmgr": "0.1.0"})


@pytest.mark.skipif(not shutil.which("ansible-galaxy"), reason="no ansible-galaxy on PATH")
def test_without_it_the_newest_are_taken(install):
    """Which is right for a newer ansible-core. Nothing in Galaxy's resolution looks at the version of ansible-core."""
    assert install("pgfleet.repmgr") == {"pgfleet.repmgr": "0.1.0", "ansible.posix": "2.2.0", "community.crypto": "3.3.0", "community.general": "13.4.0",
                                         "community.postgresql": "4.2.0"}
