"""recreate.py NAME...: remove containers and make them again, empty, from their own definition.
recreate.py NAME=ADDRESS: the same for a host that is in no scenario, made like one that is.

Molecule makes all hosts of a scenario or none, and takes its time over it. What a container was made with is
what the engine says it was made with, so one that is gone altogether is made like one of its siblings.
"""

import concurrent.futures
import os
import sys

import docker
import yaml

SCENARIO = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "default", "molecule.yml")


def read_platforms():
    with open(SCENARIO, encoding="utf-8") as stream:
        return {platform["name"]: platform for platform in yaml.safe_load(stream)["platforms"]}


def guest(name, address, platforms):
    """A host of no scenario, in the network of those that are in one."""
    network = next(iter(platforms.values()))["networks"][0]["name"]
    return {"name": name, "networks": [{"name": network, "ipv4_address": address}]}


def inspect(api, name):
    try:
        return api.inspect_container(name)
    except docker.errors.NotFound:
        return None


def definition(like, platform):
    """What to send to the engine for this host, given how it or a sibling was made."""
    config = dict(like["Config"], Hostname=platform["name"], HostConfig=like["HostConfig"])
    config.pop("MacAddress", None)
    config["Image"] = os.environ.get("LAB_IMAGE") or config["Image"]
    config["NetworkingConfig"] = {
        "EndpointsConfig": {
            network["name"]: {"IPAMConfig": {"IPv4Address": network["ipv4_address"]}}
            for network in platform["networks"]
        }
    }
    return config


def main():
    platforms = read_platforms()
    names = []
    for argument in sys.argv[1:]:
        name, dummy, address = argument.partition("=")
        names.append(name)
        if address:
            platforms[name] = guest(name, address, platforms)
    unknown = [name for name in names if name not in platforms]
    if unknown or not names:
        sys.exit("recreate.py: %s; the lab's hosts are %s" % (
            "no host is named " + ", ".join(unknown) if unknown else "no host given", ", ".join(platforms)))

    api = docker.from_env(timeout=120).api
    known = {name: inspect(api, name) for name in platforms}
    siblings = [one for one in known.values() if one]
    if not siblings:
        sys.exit("recreate.py: none of %s exists; run lab.sh up" % ", ".join(platforms))
    definitions = {name: definition(known[name] or siblings[0], platforms[name]) for name in names}

    def recreate(name):
        if known[name]:
            api.remove_container(name, force=True, v=True)
        api.create_container_from_config(definitions[name], name)
        api.start(name)

    with concurrent.futures.ThreadPoolExecutor() as pool:
        list(pool.map(recreate, names))


if __name__ == "__main__":
    main()
