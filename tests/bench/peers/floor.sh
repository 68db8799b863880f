# floor: load/floor.c, HTTP in and pipelined BDAT out without JSON or MIME. Not a peer: the floor for any gateway here.
peer_kind=http
peer_build() {
  [ "$BENCH/bin/floor" -nt "$HERE/load/floor.c" ] && return 0
  gcc -D_GNU_SOURCE -O2 -Wall -o "$BENCH/bin/floor" "$HERE/load/floor.c" -lssl -lcrypto
}
peer_exec() { exec "$BENCH/bin/floor"; }
