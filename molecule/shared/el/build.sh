#!/usr/bin/env bash
# build.sh EL_VERSION PG_VERSION, inside the image that is built: the RPMs of PostgreSQL and repmgr from Debian's packages, signed, in
# repositories at the paths of PGDG and of an EL mirror, with an authority of its own for https.
set -euo pipefail
el=$1
pg=$2
debs=/var/cache/apt/archives
payload=/build/payload
names=(download.postgresql.org yum-archive.postgresql.org dl.rockylinux.org vault.centos.org)

# -- an authority, the server's certificate, and the key that signs

# shellcheck source=molecule/shared/el/authority.sh
. /build/authority.sh
authority "${names[@]}"
install -d -m 0755 /srv/www/pub/repos/yum/{keys,reporpms}

# RSA is what every rpm reads. "Wrong" signs what nobody should install.
for who in PGDG Wrong; do
    gpg --batch --quiet --pinentry-mode loopback --passphrase '' --quick-generate-key "$who (stand-in) <rpm@invalid>" rsa3072 sign never
done
key=PGDG-RPM-GPG-KEY-RHEL$([ "$el" != 7 ] || echo 7)
gpg --armor --export PGDG >"/srv/www/pub/repos/yum/keys/$key"
gpg --armor --export Wrong >/srv/wrong.key

# -- the packages

mkdir -p "$payload/usr/lib/python2.7/dist-packages"
for wheel in /build/wheels/*.whl; do
    [ ! -e "$wheel" ] || python3 -m zipfile -e "$wheel" "$payload/usr/lib/python2.7/dist-packages"
done
for deb in "postgresql-$pg" "postgresql-client-$pg" "postgresql-$pg-repmgr" libpq5 python3-psycopg2; do
    dpkg-deb -x "$debs/${deb}_"*.deb "$payload"
done
upstream() { dpkg-deb -f "$debs/$1"_*.deb Version | sed -E 's/^[0-9]+://; s/[-+~].*//'; }

macros=(
    --define "_topdir /build/rpm" --define "_dbpath /build/db"
    # Debian's programs as they are: nothing is stripped, compressed or looked into.
    --define "_buildshell /bin/bash" --define "debug_package %{nil}" --define "__os_install_post %{nil}"
    --define "__gpg $(command -v gpg)" --define "_gpg_name PGDG"
    --define "elmajor $el" --define "pgmajor $pg" --define "payload $payload" --define "sources /build/specs" --define "gpgkey $key"
    --define "pgversion $(upstream "postgresql-$pg")" --define "repmgrversion $(upstream "postgresql-$pg-repmgr")"
    --define "psycopgversion $(upstream python3-psycopg2)"
)
build() {
    local to=$1 spec
    mkdir -p "$to"
    shift
    for spec in "$@"; do
        rm -rf /build/rpm
        rpmbuild --quiet "${macros[@]}" -bb "/build/specs/$spec.spec"
        find /build/rpm/RPMS -name '*.rpm' -exec mv -t "$to" {} +
    done
}

repository() {
    local dir=$1
    createrepo_c --quiet "$dir"
    [ -z "${2:-}" ] || modifyrepo_c --mdtype=modules "$2" "$dir/repodata" >/dev/null
    gpg --batch --quiet --yes --local-user PGDG --armor --detach-sign "$dir/repodata/repomd.xml"
}

www=/srv/www
if [ "$el" = 7 ]; then
    # PostgreSQL past its end: PGDG's repository RPM lists it no longer, the archive has it.
    versioned=$www/$pg/redhat/rhel-7-x86_64
    distribution=$www/centos/7/os/x86_64
else
    versioned=$www/pub/repos/yum/$pg/redhat/rhel-$el-x86_64
    distribution=$www/pub/rocky/$el/AppStream/x86_64/os
fi
common=$www/pub/repos/yum/common/redhat/rhel-$el-x86_64
reporpms=$www/pub/repos/yum/reporpms/EL-$el-x86_64

build /build/release release
cp /build/release/*.rpm /build/release.rpm
build "$versioned" postgresql repmgr
build "$reporpms" pgdg-redhat-repo
mv "$reporpms"/pgdg-redhat-repo-*.rpm "$reporpms/pgdg-redhat-repo-latest.noarch.rpm"
build "$distribution" distribution
mkdir -p "$common"
find $www -name '*.rpm' -exec rpmsign "${macros[@]}" --addsign {} + >/dev/null

repository "$versioned"
repository "$common"
# Two documents in one file, which the checks of YAML files do not want to see under that ending.
cp /build/specs/modules.modulemd /build/modules.yaml
repository "$distribution" "$([ "$el" = 7 ] || echo /build/modules.yaml)"
find $www -name '*.rpm' | sort
