#!/usr/bin/env bash
# build.sh PG_VERSION, inside the image that is built: an apt repository under the paths that PGDG documents, signed, with Debian's packages of
# PostgreSQL and repmgr as higher versions, so that apt takes them from there; a repository of Debian's for the others; an authority for https.
set -euo pipefail
pg=$1
debs=/var/cache/apt/archives
# shellcheck source=/dev/null
suite=$(. /etc/os-release && echo "$VERSION_CODENAME")
architecture=$(dpkg --print-architecture)
ours=("postgresql-$pg" "postgresql-client-$pg" "postgresql-$pg-repmgr" repmgr-common postgresql-common postgresql-client-common libpq5)

# shellcheck source=molecule/shared/el/authority.sh
. /build/authority.sh
authority apt.postgresql.org www.postgresql.org debian.test

# -- the packages

pgdg=/srv/www/pub/repos/apt debian=/srv/www/debian
mkdir -p "$pgdg/pool" "$debian/pool" /srv/www/media/keys
cp "$debs"/*.deb "$debian/pool"
bump=()
for name in "${ours[@]}"; do
    version=$(dpkg-deb -f "$debs/${name}_"*.deb Version)
    bump+=(-e "s/(= ${version//./\\.})/(= $version.pgdg)/g" -e "s/^Version: ${version//./\\.}\$/Version: $version.pgdg/")
done
for name in "${ours[@]}"; do
    rm -rf /build/package
    dpkg-deb -R "$debs/${name}_"*.deb /build/package
    sed -i "${bump[@]}" /build/package/DEBIAN/control
    dpkg-deb -b -Zgzip -z1 --root-owner-group /build/package "$pgdg/pool" >/dev/null
    rm "$debian/pool/${name}_"*.deb
done

# -- the repositories

for name in PGDG Wrong; do
    gpg --batch --quiet --pinentry-mode loopback --passphrase '' --quick-generate-key "$name (stand-in) <apt@invalid>" rsa3072 sign never
done
gpg --armor --export PGDG >/srv/www/media/keys/ACCC4CF8.asc
gpg --armor --export Wrong >/srv/wrong.asc

# repository DIRECTORY SUITE
repository() {
    local binary=dists/$2/main/binary-$architecture
    cd "$1"
    mkdir -p "$binary"
    apt-ftparchive packages pool >"$binary/Packages"
    gzip -9k "$binary/Packages"
    apt-ftparchive -o "APT::FTPArchive::Release::Suite=$2" -o "APT::FTPArchive::Release::Codename=$2" \
        -o "APT::FTPArchive::Release::Components=main" -o "APT::FTPArchive::Release::Architectures=$architecture" release "dists/$2" >/build/Release
    mv /build/Release "dists/$2/Release"
    gpg --batch --local-user PGDG --clearsign -o "dists/$2/InRelease" "dists/$2/Release"
}
repository "$pgdg" "$suite-pgdg"
repository "$debian" "$suite"
