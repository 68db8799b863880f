#!/bin/sh
# mkcert.sh DIRECTORY: a throw-away CA and a P-256 server certificate for localhost, 127.0.0.1 and sink.test.
set -eu
mkdir -p "$1"
cd "$1"
[ -s cert.pem ] && exit 0
openssl ecparam -genkey -name prime256v1 -noout -out ca.key
openssl req -x509 -new -key ca.key -days 365 -subj "/CN=bench CA" -out ca.pem \
    -addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign,cRLSign
openssl ecparam -genkey -name prime256v1 -noout -out key.pem
openssl req -new -key key.pem -subj "/CN=sink.test" -out server.csr
printf 'subjectAltName=DNS:localhost,DNS:sink.test,IP:127.0.0.1\nextendedKeyUsage=serverAuth\n' >server.ext
openssl x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 365 -extfile server.ext -out leaf.pem \
    2>/dev/null
cat leaf.pem ca.pem >cert.pem
