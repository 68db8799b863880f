#!/bin/sh
# Lays out the root of a container image: image.sh BINARY DIRECTORY
# What a dynamically linked program needs besides itself: its libraries and loader where it looks for them, the system's
# CA certificates (a hashed directory), the resolver's configuration, and a user that is not root.
set -eu
binary=$1
root=$2

mkdir -p "$root/usr/bin" "$root/etc/ssl" "$root/usr/share" "$root/tmp"
chmod 1777 "$root/tmp"
install -m 755 -s "$binary" "$root/usr/bin/mailhatch"

# "libx.so => /path/libx.so (0x…)" and "/lib64/ld-linux….so (0x…)"; the kernel's own vdso has no path.
# The resolver's DNS part needs no file of its own: since glibc 2.34 it is in libc.
libraries=$(ldd "$binary" | sed -n 's/^.* => \(\/[^ ]*\) .*$/\1/p; s/^[[:space:]]*\(\/[^ ]*\) (.*$/\1/p' | sort -u)
[ -n "$libraries" ] || { echo "image.sh: $binary is not dynamically linked" >&2; exit 1; }
for library in $libraries; do
    mkdir -p "$root${library%/*}"
    cp -L "$library" "$root$library"
done

# The names in the hashed directory are links to certificates in /usr/share: take both. The bundle would be all of them
# once more.
cp -a /etc/ssl/certs "$root/etc/ssl/certs"
rm -rf "$root/etc/ssl/certs/ca-certificates.crt" "$root/etc/ssl/certs/java"
cp -a /usr/share/ca-certificates "$root/usr/share/ca-certificates"
# OpenSSL on Debian looks in /usr/lib/ssl, which is links to /etc/ssl.
mkdir -p "$root/usr/lib/ssl"
ln -sf /etc/ssl/certs "$root/usr/lib/ssl/certs"

printf 'mailhatch:x:65532:65532:mailhatch:/:/sbin/nologin\n' >"$root/etc/passwd"
printf 'mailhatch:x:65532:\n' >"$root/etc/group"
printf 'hosts: files dns\n' >"$root/etc/nsswitch.conf"

# What was copied has its own times, and directories the hour of this run.
find "$root" -exec touch -h -d "@${SOURCE_DATE_EPOCH:-0}" {} +
