# mailhatch itself. run.py sources this file, calls peer_build once and peer_exec per run.
#
# Contract for every peers/NAME.sh:
#   peer_kind   http : POST /v1/emails on 127.0.0.1:$PORT, 200 after the SMTP server accepted (synchronous)
#               smtp : SMTP in on 127.0.0.1:$PORT (driven by smtp-source)
#   peer_build  optional; must be quick when there is nothing to do; build output goes under $BENCH
#   peer_exec   must `exec` the server in the foreground: run.py takes that pid for CPU, RSS and SIGTERM.
#               The server must end on SIGTERM (within 5 s, else SIGKILL) and may have children.
# Environment given: HERE (tests/bench), BENCH (work folder), PORT, SMTP_HOST=127.0.0.1, SMTP_PORT, SMTP_USER,
#   SMTP_PASS, SMTP_CA (PEM the sink's certificate chains to; it covers 127.0.0.1, localhost, sink.test),
#   SMTP_SESSIONS (the size of the pool), OURS_BIN (default: build/mailhatch of this checkout).
peer_kind=http
peer_build() { [ -x "$OURS_BIN" ] || { echo "ours: $OURS_BIN is not built" >&2; return 1; }; }
peer_exec() {
  (umask 077 && printf %s "$SMTP_PASS" >"$BENCH/ours.password")
  export MAILHATCH_LISTEN="127.0.0.1:$PORT" MAILHATCH_ADMIN_LISTEN="127.0.0.1:$((PORT + 1000))" \
    MAILHATCH_RELAY_URL="smtp://$SMTP_USER@$SMTP_HOST:$SMTP_PORT" \
    MAILHATCH_RELAY_PASSWORD_FILE="$BENCH/ours.password" MAILHATCH_RELAY_CA_FILE="$SMTP_CA" \
    MAILHATCH_RELAY_MAX_SESSIONS="$SMTP_SESSIONS" MAILHATCH_LOG_LEVEL=warn
  exec "$OURS_BIN"
}
