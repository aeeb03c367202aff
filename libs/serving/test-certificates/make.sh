#!/bin/sh
# Makes the certificates that src/tls.spec.ts uses: an authority, a server's and a client's, for a hundred years. They
# protect nothing. Run it here: sh make.sh
set -e
sign() { # name, extension
  openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout "$1.key" -out "$1.csr" -subj "/CN=$1"
  echo "$2" | openssl x509 -req -in "$1.csr" -CA authority.pem -CAkey authority.key -days 36500 -out "$1.pem" -extfile /dev/stdin
  rm "$1.csr"
}
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 36500 -subj /CN=authority \
  -keyout authority.key -out authority.pem
sign server 'subjectAltName=DNS:sampler.test'
sign client 'extendedKeyUsage=clientAuth'
rm -f authority.key authority.srl .srl
