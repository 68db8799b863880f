# As node, but with nodemailer's default maxMessages=100 (a new TLS session every 100 messages).
. "$HERE/peers/node.sh"
peer_exec() {
  export NODE_MODULES_AT="$BENCH/node/node_modules" NODE_ENV=production MAX_MESSAGES=100
  exec node "$HERE/peers/node/server.mjs"
}
