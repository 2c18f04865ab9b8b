#!/usr/bin/env bash
# build.sh SUITE, inside the image that is built: a signed repository of what the lab's image has downloaded, at the paths of PGDG's.
set -euo pipefail
suite=$1
www=/srv/www
arch=$(dpkg --print-architecture)

install -d -m 0755 /srv/tls "$www/media/keys" "$www/pub/repos/apt/pool" "$www/pub/repos/apt/dists/$suite-pgdg/main/binary-$arch"
openssl req -x509 -newkey rsa:2048 -nodes -days 3650 -subj '/CN=apt.postgresql.org' \
    -addext 'subjectAltName=DNS:apt.postgresql.org,DNS:www.postgresql.org' -keyout /srv/tls/server.key -out /srv/tls/server.crt 2>/dev/null
gpg --batch --quiet --pinentry-mode loopback --passphrase '' --quick-generate-key 'PGDG (stand-in) <apt@invalid>' rsa3072 sign never
gpg --armor --export PGDG >"$www/media/keys/ACCC4CF8.asc"

cp /var/cache/apt/archives/*.deb "$www/pub/repos/apt/pool"
cd "$www/pub/repos/apt"
apt-ftparchive packages pool | gzip >"dists/$suite-pgdg/main/binary-$arch/Packages.gz"
apt-ftparchive -o APT::FTPArchive::Release::Origin=apt.postgresql.org -o APT::FTPArchive::Release::Suite="$suite-pgdg" \
    -o APT::FTPArchive::Release::Codename="$suite-pgdg" -o APT::FTPArchive::Release::Architectures="$arch" \
    -o APT::FTPArchive::Release::Components=main release "dists/$suite-pgdg" >/build/Release
gpg --batch --quiet --local-user PGDG --clearsign --output "dists/$suite-pgdg/InRelease" /build/Release
chmod -R a+rX "$www"
find "$www/pub/repos/apt/dists" -type f
