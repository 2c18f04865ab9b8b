#!/usr/bin/env bash
# host.sh EL_VERSION, inside the image that is built: what says Debian goes, what says EL comes.
set -euo pipefail
el=$1

# The group that has PostgreSQL's number on EL.
groupmod -g 226 tape
install -m 0644 /build/ca.crt /usr/local/share/ca-certificates/repository.crt
update-ca-certificates >/dev/null

rm -rf /etc/debian_version /etc/os-release /usr/lib/os-release /etc/apt /var/lib/apt /var/cache/apt /usr/bin/apt* /usr/bin/dpkg* /etc/lsb-release \
    /etc/dpkg /usr/local/share/lab-*
# By this file a host is known as Debian's.
rm -rf /var/lib/dpkg
rpm --force-debian --nodeps -i /build/release.rpm
ln -s /etc/os-release /usr/lib/os-release
ln -sf dnf /usr/bin/yum
cat >/etc/dnf/dnf.conf <<'CONF'
[main]
gpgcheck=1
installonly_limit=3
best=True
CONF
[ ! -x "/build/el$el.sh" ] || "/build/el$el.sh"
