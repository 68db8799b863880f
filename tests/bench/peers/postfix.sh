# Postfix as a store-and-forward relay: SMTP in (plain, loopback), STARTTLS and SASL out to the sink, connection reuse,
# durable queue. Its own configuration, spool and data under $BENCH/postfix; needs Debian's postfix and libsasl2-modules
# (no system instance is used).
peer_kind=smtp
PF_SPOOL=${PF_SPOOL:-$BENCH/postfix/spool}
peer_build() {
  local e="$BENCH/postfix/etc"
  mkdir -p "$e" "$PF_SPOOL" "$BENCH/postfix/data"
  chmod 755 "$BENCH" "$BENCH/postfix"
  chown postfix "$BENCH/postfix/data"
  : >"$BENCH/postfix/maillog"
  cat > "$e/main.cf" <<C
compatibility_level = 3.6
queue_directory = $PF_SPOOL
data_directory = $BENCH/postfix/data
command_directory = /usr/sbin
daemon_directory = /usr/lib/postfix/sbin
mail_owner = postfix
setgid_group = postdrop
myhostname = relay.test
mydestination =
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
mynetworks = 127.0.0.0/8
smtpd_peername_lookup = no
smtpd_relay_restrictions = permit_mynetworks, reject
smtpd_client_connection_count_limit = 0
maillog_file_prefixes = $BENCH
maillog_file = $BENCH/postfix/maillog
in_flow_delay = 0
relayhost = [$SMTP_HOST]:$SMTP_PORT
smtp_tls_security_level = encrypt
smtp_tls_CAfile = $SMTP_CA
smtp_tls_loglevel = 0
smtp_tls_connection_reuse = yes
smtp_connection_cache_on_demand = yes
smtp_connection_cache_destinations = [$SMTP_HOST]:$SMTP_PORT
smtp_sasl_auth_enable = yes
smtp_sasl_password_maps = static:$SMTP_USER:$SMTP_PASS
smtp_sasl_security_options = noanonymous
smtp_destination_concurrency_limit = $SMTP_SESSIONS
initial_destination_concurrency = $SMTP_SESSIONS
default_process_limit = 100
bounce_queue_lifetime = 0
maximal_queue_lifetime = 1h
C
  cat > "$e/master.cf" <<C
127.0.0.1:$PORT inet n - n - - smtpd
pickup    unix  n       -       n       60      1       pickup
cleanup   unix  n       -       n       -       0       cleanup
qmgr      unix  n       -       n       300     1       qmgr
tlsmgr    unix  -       -       n       1000?   1       tlsmgr
tlsproxy  unix  -       -       n       -       0       tlsproxy
rewrite   unix  -       -       n       -       -       trivial-rewrite
bounce    unix  -       -       n       -       0       bounce
defer     unix  -       -       n       -       0       bounce
trace     unix  -       -       n       -       0       bounce
verify    unix  -       -       n       -       1       verify
flush     unix  n       -       n       1000?   0       flush
proxymap  unix  -       -       n       -       -       proxymap
proxywrite unix -       -       n       -       1       proxymap
smtp      unix  -       -       n       -       $SMTP_SESSIONS       smtp
relay     unix  -       -       n       -       $SMTP_SESSIONS       smtp
showq     unix  n       -       n       -       -       showq
error     unix  -       -       n       -       -       error
retry     unix  -       -       n       -       -       error
discard   unix  -       -       n       -       -       discard
anvil     unix  -       -       n       -       1       anvil
scache    unix  -       -       n       -       1       scache
postlog   unix-dgram n  -       n       -       1       postlogd
C
}
peer_exec() {
  # start-fg does not forward SIGTERM to the master: this shell stays as the root of the tree and stops it
  trap 'postfix -c "$BENCH/postfix/etc" stop; exit 0' TERM
  postfix -c "$BENCH/postfix/etc" start-fg & wait
}
