#!/usr/bin/env bash
# el7.sh, at the end of host.sh: Python 2 is the one that EL 7 has, and Ansible's module yum finds what it imports.
set -euo pipefail
ln -s python2.7 /usr/bin/python2
ln -s python2 /usr/bin/python
cp -R /build/el7/. /usr/lib/python2.7/dist-packages/
