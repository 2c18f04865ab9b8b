# shellcheck shell=bash
# authority NAME...: in /srv/tls, an authority of the repository host's own, and a certificate from it for these names. Sourced by the scripts
# that build what such a host serves.
authority() {
    install -d -m 0755 /srv/tls
    (
        cd /srv/tls || exit
        # Of the machine's configuration, which differs from openssl to openssl, nothing is wanted.
        openssl req -x509 -newkey rsa:2048 -nodes -days 3650 -subj '/CN=the authority of this repository host' -keyout ca.key -out ca.crt -config <(
            printf '%s\n' '[req]' distinguished_name=name x509_extensions=ca '[name]' '[ca]' basicConstraints=critical,CA:TRUE \
                keyUsage=critical,keyCertSign,cRLSign subjectKeyIdentifier=hash) 2>/dev/null
        openssl req -newkey rsa:2048 -nodes -subj "/CN=$1" -keyout server.key -out server.csr 2>/dev/null
        openssl x509 -req -in server.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 3650 -out server.crt \
            -extfile <(printf 'subjectAltName=%s\n' "$(printf ',DNS:%s' "$@" | cut -c2-)") 2>/dev/null
        rm ca.key server.csr
    )
}
