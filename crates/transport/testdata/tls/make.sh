#!/bin/sh
# Makes the certificates of the TLS tests anew, good for a century: an authority, what it signed, and one that signs itself.
set -eu
cd "$(dirname "$0")"
new="-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 36500"
openssl req -x509 $new -subj /CN=authority -keyout ca.key -out ca.pem -addext basicConstraints=critical,CA:TRUE
for name in server client; do
    openssl req $new -subj "/CN=$name" -keyout "$name.key" -out "$name.csr" 2>/dev/null
    printf 'subjectAltName=DNS:exporter.test,IP:127.0.0.1\n' > ext
    [ "$name" = client ] && printf 'extendedKeyUsage=clientAuth\n' > ext
    openssl x509 -req -in "$name.csr" -CA ca.pem -CAkey ca.key -CAcreateserial -days 36500 -extfile ext -out "$name.pem"
done
openssl req -x509 $new -subj /CN=alone -keyout alone.key -out alone.pem -addext subjectAltName=DNS:alone.test
rm -f ./*.csr ./*.srl ext ca.key
