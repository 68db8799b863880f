#ifndef SERVICE_CONFIG_TABLE_H
#define SERVICE_CONFIG_TABLE_H
/* Every setting, once. From these rows come defaults, parsing, range checks, redaction, the names in the environment
 * (MAILHATCH_NAME, MAILHATCH_RELAY_NAME) and on the command line (--name, --relay-name), --help and the sample file.
 * X(name, TYPE, member of the struct, default as it would be written (NULL: not set), least, most, allowed words,
 *   flags, help)
 * No option may begin with "port" or "service": Kubernetes injects MAILHATCH_PORT… and MAILHATCH_SERVICE_… for a
 * Service named mailhatch. */

#define CONFIG_TABLE(X) \
    X(listen, TEXT, listen, "127.0.0.1:8587", 0, 0, NULL, OPTION_LISTEN | OPTION_RESTART, \
      "Address of the API: HOST:PORT, [IPV6]:PORT or unix:/path. Not loopback only with api_keys or client_ca_file.") \
    X(listen_mode, TEXT, listen_mode, "0660", 0, 0, NULL, OPTION_RESTART, \
      "Mode of the API's Unix socket: who may call, as of a file that is written to.") \
    X(listen_owner, TEXT, listen_owner, NULL, 0, 0, NULL, OPTION_RESTART, \
      "Owner of that socket: USER, USER:GROUP or :GROUP, by name or number; else who runs mailhatch.") \
    X(admin_listen, TEXT, admin_listen, "127.0.0.1:8588", 0, 0, NULL, OPTION_LISTEN | OPTION_RESTART, \
      "Address of /livez, /readyz, /metrics and /version.") \
    X(tls_cert_file, TEXT, tls_cert_file, NULL, 0, 0, NULL, OPTION_FILE | OPTION_RESTART, \
      "PEM file with the API's certificate and its chain: listen then speaks HTTPS. A changed file is taken within " \
      "seconds.") \
    X(tls_key_file, TEXT, tls_key_file, NULL, 0, 0, NULL, OPTION_FILE | OPTION_RESTART, \
      "PEM file with the key of that certificate.") \
    X(client_ca_file, TEXT, client_ca_file, NULL, 0, 0, NULL, OPTION_FILE | OPTION_RESTART, \
      "PEM file of authorities: callers must show a certificate of one of them (mutual TLS).") \
    X(api_keys, LIST, api_keys, NULL, 0, 0, NULL, OPTION_SECRET, \
      "Keys that callers show as 'Authorization: Bearer KEY'; see docs/keys.md for names, digests and rights.") \
    X(api_keys_file, TEXT, api_keys_file, NULL, 0, 0, NULL, OPTION_FILE, \
      "File with such keys, one a line (`mailhatch key new` makes one). A changed file is taken within seconds.") \
    X(allowed_hosts, LIST, allowed_hosts, NULL, 0, 0, NULL, 0, \
      "Further Host names under which a keyless API, or the admin listener on a loopback address, may be called.") \
    X(allowed_origins, LIST, allowed_origins, NULL, 0, 0, NULL, 0, \
      "Origins of web pages that may call the API from a browser (CORS), such as https://app.example.com.") \
    X(default_relay, TEXT, default_relay, NULL, 0, 0, NULL, 0, \
      "Relay for mails that name none. Needed only with several relays, none of them called 'default'.") \
    X(sandbox, BOOL, sandbox, "false", 0, 0, NULL, OPTION_RESTART, \
      "Run the built-in sandbox relay: it keeps mails in memory and delivers nothing.") \
    X(store, WORD, store, "memory:", 0, 0, "memory:", OPTION_RESTART, \
      "Where records are kept. Only memory: exists in this version.") \
    X(request_timeout, MILLIS, request_timeout_ms, "30s", 100, 3600000, NULL, OPTION_RESTART, \
      "From a request's headers to its answer: upload, waiting for a session and sending.") \
    X(on_temporary_failure, WORD, on_temporary_failure, "fail", 0, 0, "fail|retry", 0, \
      "What a mail gets that fails for the moment, where the request does not say: an error at once, or further " \
      "tries within request_timeout.") \
    X(max_waiting, UINT, max_waiting, "10000", 1, 1000000, NULL, 0, \
      "Sends that may run or wait at once; more are answered 503 overloaded.") \
    X(max_inflight_bytes, SIZE, max_inflight_bytes, "256MiB", 1024, 1ULL << 40, NULL, 0, \
      "Memory for request bodies and the mails made of them; a body over 256KiB counts twice while it is read. More " \
      "requests are answered 503 overloaded.") \
    X(max_body, SIZE, max_body_bytes, "35MiB", 1024, 1ULL << 30, NULL, OPTION_RESTART, \
      "Largest request body.") \
    X(max_recipients, UINT, max_recipients, "1000", 1, 10000, NULL, 0, \
      "Most recipients of one mail: to, cc and bcc together.") \
    X(max_json_values, UINT, max_json_values, "100000", 100, 10000000, NULL, 0, \
      "Most values in a JSON request: strings, numbers, objects, arrays, also in unknown fields. Each takes some 100 " \
      "bytes of memory; more are answered 413 payload_too_large.") \
    X(address_literals, BOOL, address_literals, "false", 0, 0, NULL, 0, \
      "Take addresses whose domain is an IP address in brackets: ann@[192.0.2.1].") \
    X(max_connections, UINT, max_connections, "2048", 1, 1000000, NULL, OPTION_RESTART, \
      "HTTP connections open at once.") \
    X(max_connections_per_address, UINT, max_connections_per_address, "0", 0, 1000000, NULL, OPTION_RESTART, \
      "Connections to the API open at once from one IPv4 address or IPv6 /64; 0: no limit, as is right behind a " \
      "proxy.") \
    X(http_loops, UINT, http_loops, "1", 1, 64, NULL, OPTION_RESTART, \
      "Threads for HTTP; connections are spread over them.") \
    X(smtp_loops, UINT, smtp_loops, "1", 1, 64, NULL, OPTION_RESTART, \
      "Threads for SMTP; a relay lives on one of them, unless its loops says otherwise.") \
    X(drain_delay, MILLIS, drain_delay_ms, "0s", 0, 3600000, NULL, 0, \
      "After SIGTERM: how long sends are still taken while readiness is false already.") \
    X(drain_timeout, MILLIS, drain_timeout_ms, "30s", 0, 3600000, NULL, 0, \
      "After that: how long running sends may take to finish.") \
    X(log_format, WORD, log_format, "auto", 0, 0, "auto|json|text", 0, \
      "How log lines look; auto is text on a terminal, else json.") \
    X(log_level, WORD, log_level, "info", 0, 0, "debug|info|warn|error", 0, \
      "Least important lines that are written.") \
    X(log_addresses, BOOL, log_addresses, "false", 0, 0, NULL, 0, \
      "Write mail addresses whole instead of a***@example.com.")

#define RELAY_TABLE(X) \
    X(url, TEXT, url, NULL, 0, 0, NULL, OPTION_URL, \
      "smtp://USER:PASSWORD@HOST:587 (STARTTLS required) or smtps://HOST:465 (TLS at once); USER and PASSWORD are " \
      "percent-encoded.") \
    X(user, TEXT, user, NULL, 0, 0, NULL, 0, "Account; wins over the url's.") \
    X(password, TEXT, password, NULL, 0, 0, NULL, OPTION_SECRET, "Its password; wins over the url's.") \
    X(password_file, TEXT, password_file, NULL, 0, 0, NULL, OPTION_FILE, \
      "File with the password; wins over password and the url's.") \
    X(tls, WORD, tls, NULL, 0, 0, "starttls|implicit|none", 0, \
      "How TLS begins; wins over smtp:// in the url. none: only to this machine.") \
    X(ca_file, TEXT, ca_file, NULL, 0, 0, NULL, OPTION_FILE, \
      "PEM file of the authorities to trust instead of the system's; the relay's own certificate will do too.") \
    X(crl_file, TEXT, crl_file, NULL, 0, 0, NULL, OPTION_FILE, \
      "PEM file of revocation lists; certificates are then checked against them.") \
    X(pins, TEXT, pins, NULL, 0, 0, NULL, OPTION_PINS, \
      "sha256/BASE64 of public keys, comma separated; one must match.") \
    X(ehlo_name, TEXT, ehlo_name, NULL, 0, 0, NULL, 0, \
      "Name said in EHLO; else this host's full name, else its address.") \
    X(max_sessions, UINT, c.max_sessions, "8", 1, 1000, NULL, 0, "SMTP sessions open at once.") \
    X(mails_per_session, UINT, c.mails_per_session, "0", 0, 1000000, NULL, 0, \
      "Mails before a session is closed; 0: no limit.") \
    X(min_idle, UINT, c.min_idle, "0", 0, 1000, NULL, 0, \
      "Sessions kept open for mails to come: the first one after a quiet time is as fast as any.") \
    X(loops, UINT, c.loops, "1", 1, 64, NULL, 0, \
      "Threads that the sessions are spread over, each with its share of max_sessions.") \
    X(pipeline_depth, UINT, c.pipeline_depth, "1", 1, 64, NULL, 0, \
      "Mails in flight on one session, where the relay offers PIPELINING and CHUNKING. When a session is lost, as " \
      "many mails may end as outcome_unknown.") \
    X(trace, BOOL, c.trace, "false", 0, 0, NULL, 0, \
      "Log each line to and from the relay, without passwords and the mails' text.") \
    X(timeout, MILLIS, timeout_ms, "0", 0, 3600000, NULL, 0, \
      "A cap over every step below: each waits the smaller of the two; 0: none.") \
    X(dns_timeout, MILLIS, c.dns_ms, "5s", 10, 3600000, NULL, 0, "Looking up the relay's address.") \
    X(connect_timeout, MILLIS, c.connect_ms, "5s", 10, 3600000, NULL, 0, "Connecting, for each address.") \
    X(connect_total_timeout, MILLIS, c.connect_total_ms, "15s", 10, 3600000, NULL, 0, \
      "Connecting, all addresses together.") \
    X(banner_timeout, MILLIS, c.timeouts.banner, "15s", 10, 3600000, NULL, 0, "Waiting for the relay's greeting.") \
    X(tls_timeout, MILLIS, c.timeouts.tls, "10s", 10, 3600000, NULL, 0, "The TLS handshake.") \
    X(command_timeout, MILLIS, c.timeouts.command, "15s", 10, 3600000, NULL, 0, \
      "Waiting for the reply to a command.") \
    X(write_timeout, MILLIS, c.timeouts.write_stall, "30s", 10, 3600000, NULL, 0, \
      "The relay takes no bytes of the body.") \
    X(final_reply_timeout, MILLIS, c.timeouts.final_reply, "25s", 10, 3600000, NULL, 0, \
      "Waiting for the reply to the whole mail.") \
    X(idle_timeout, MILLIS, c.idle_ms, "60s", 0, 3600000, NULL, 0, "A session unused for so long is closed.") \
    X(lifetime, MILLIS, c.lifetime_ms, "10m", 1000, 86400000, NULL, 0, \
      "A session older than this is closed when it is idle.") \
    X(one_flight_max, SIZE, c.one_flight_max, "64KiB", 0, 1ULL << 30, NULL, 0, \
      "Mails up to this size go in one round trip, envelope and body together.") \
    X(one_flight_idle, MILLIS, c.one_flight_idle_ms, "5s", 0, 3600000, NULL, 0, \
      "Only on a session used this recently.") \
    X(extensions_off, TEXT, extensions_off, NULL, 0, 0, NULL, 0, \
      "SMTP extensions not to use even if the relay offers them, separated by commas: " SMTP_EXTENSION_NAMES ". For " \
      "a relay, or a proxy in front of it, that offers what it cannot do.")
#endif
