# Go: net/http + Debian's gopkg.in/mail.v2 + a pool of persistent sessions.
peer_kind=http
peer_build() {
  [ "$BENCH/bin/peer-go" -nt "$HERE/peers/go/main.go" ] && return 0
  cd "$HERE/peers/go" || return 1
  GO111MODULE=off GOPATH=/usr/share/gocode GOCACHE="$BENCH/gocache" go build -o "$BENCH/bin/peer-go" .
}
peer_exec() { exec "$BENCH/bin/peer-go"; }
