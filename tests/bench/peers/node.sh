# Node.js: fastify + nodemailer (pool, requireTLS), versions of peers/node/package.json, installed under $BENCH/node.
peer_kind=http
peer_build() {
  mkdir -p "$BENCH/node" && cd "$BENCH/node" || return 1
  cmp -s package.json "$HERE/peers/node/package.json" && [ -d node_modules/nodemailer ] && return 0
  cp "$HERE/peers/node/package.json" . && npm install --no-audit --no-fund --ignore-scripts
}
peer_exec() {
  export NODE_MODULES_AT="$BENCH/node/node_modules" NODE_ENV=production
  exec node "$HERE/peers/node/server.mjs"
}
