#include "service/config.h"
#include "service/config_url.h"
#include "service/option.h"
#include "smtp/crypto.h"

#include <check.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Settings: every source, every type, every refusal, and what is written back. Each test runs in a process of its
 * own. */

static struct config_errors errors;
static struct config *config;
static char dir[] = "/tmp/mailhatch-config-XXXXXX";     /* removed with all it holds */

static void setup(void)
{
    clearenv();
    config_errors_init(&errors);
    ck_assert_ptr_nonnull(mkdtemp(dir));
}

static void teardown(void)
{
    static const char *const names[] = {"mailhatch.yaml", "secret", "keys"};
    char path[100];

    config_free(config);
    config_errors_deinit(&errors);
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        snprintf(path, sizeof(path), "%s/%s", dir, names[i]);
        unlink(path);
    }
    rmdir(dir);
}

/* The path of a new file in dir; lent. */
static const char *write_file(const char *name, const char *text, size_t n)
{
    static char path[3][100];
    static size_t at;
    char *p = path[at++ % 3];
    FILE *f;

    snprintf(p, 100, "%s/%s", dir, name);
    f = fopen(p, "w");
    ck_assert_ptr_nonnull(f);
    ck_assert_uint_eq(fwrite(text, 1, n, f), n);
    fclose(f);
    return p;
}

/* Arguments end with NULL. */
static int load(const char *first, ...)
{
    char *argv[16];
    int argc = 0, rc;
    va_list ap;

    va_start(ap, first);
    for (const char *arg = first; arg; arg = va_arg(ap, const char *))
        argv[argc++] = strdup(arg);
    va_end(ap);
    config_free(config);
    config_errors_deinit(&errors);
    argv[argc] = NULL;
    rc = config_load(argc, argv, &config, &errors);
    while (argc)
        free(argv[--argc]);
    return rc;
}

static int load_yaml(const char *yaml)
{
    return load("--config", write_file("mailhatch.yaml", yaml, strlen(yaml)), NULL);
}

#define assert_text(buf, part) \
    do { \
        ck_assert_uint_gt((buf).n, 0); \
        ck_assert_msg(strstr((buf).p, (part)) != NULL, "\"%s\" is not in: %s", (part), (buf).p); \
    } while (0)
#define assert_fails(call, part) \
    do { \
        ck_assert_int_eq((call), -1); \
        ck_assert_ptr_null(config); \
        assert_text(errors.text, part); \
    } while (0)
#define assert_loads(call) \
    do { \
        int rc = (call); \
        ck_assert_msg(rc == 0, "%s", bytes_buf_view(&errors.text).p); \
    } while (0)

/* ---- what is set without being said ---- */

START_TEST(test_defaults)
{
    struct relay_config d;
    const struct relay_config *c;

    relay_config_init(&d);
    setenv("MAILHATCH_RELAY_URL", "smtp://smtp.example.com", 1);
    assert_loads(load(NULL));
    ck_assert_str_eq(config->listen, "127.0.0.1:8587");
    ck_assert_str_eq(config->admin_listen, "127.0.0.1:8588");
    ck_assert_str_eq(config->default_relay, "default");
    ck_assert_str_eq(config->store, "memory:");
    ck_assert_str_eq(config->log_format, "auto");
    ck_assert_uint_eq(config->request_timeout_ms, 30000);
    ck_assert_uint_eq(config->drain_timeout_ms, 30000);
    ck_assert_uint_eq(config->drain_delay_ms, 0);
    ck_assert_uint_eq(config->max_waiting, 10000);
    ck_assert_uint_eq(config->max_inflight_bytes, 256u << 20);
    ck_assert_uint_eq(config->max_body_bytes, 35u << 20);
    ck_assert_uint_eq(config->max_connections, 2048);
    ck_assert_uint_eq(config->max_recipients, 1000);
    ck_assert(!config->sandbox && !config->log_addresses);
    ck_assert_uint_eq(config->n_relays, 1);
    /* The table says the same as the engine. */
    c = &config->relays[0].c;
    ck_assert_str_eq(c->host, "smtp.example.com");
    ck_assert_uint_eq(c->port, 587);
    ck_assert_int_eq(c->tls_mode, SMTP_TLS_STARTTLS);
    ck_assert_ptr_null(c->user);
    ck_assert_uint_eq(c->max_sessions, d.max_sessions);
    ck_assert_uint_eq(c->dns_ms, d.dns_ms);
    ck_assert_uint_eq(c->connect_ms, d.connect_ms);
    ck_assert_uint_eq(c->connect_total_ms, d.connect_total_ms);
    ck_assert_uint_eq(c->idle_ms, d.idle_ms);
    ck_assert_uint_eq(c->lifetime_ms, d.lifetime_ms);
    ck_assert_uint_eq(c->one_flight_max, d.one_flight_max);
    ck_assert_uint_eq(c->one_flight_idle_ms, d.one_flight_idle_ms);
    ck_assert_mem_eq(&c->timeouts, &d.timeouts, sizeof(d.timeouts));
}
END_TEST

/* ---- the file ---- */

static const char *const whole_file =
    "# a comment\n"
    "listen: \"[::1]:0\"\n"
    "api_keys: [\"web:0123456789abcdef\", fedcba9876543210]\n"
    "allowed_hosts:\n"
    "  - mail.internal\n"
    "max_body: 10MiB\n"
    "request_timeout: 1.5s\n"
    "log_addresses: yes\n"
    "default_relay: main\n"
    "relays:\n"
    "  main: {url: \"smtp://ann%40example.org@smtp.example.org:2525\", password: no, max_sessions: 16, timeout: 2}\n"
    "  bulk:\n"
    "    url: smtps://[2001:db8::1]\n";

START_TEST(test_file)
{
    const struct config_relay *r;

    assert_loads(load_yaml(whole_file));
    ck_assert_str_eq(config->listen, "[::1]:0");
    ck_assert_uint_eq(config->n_api_keys, 2);
    ck_assert_str_eq(config->api_keys[0], "web:0123456789abcdef");
    ck_assert_uint_eq(config->n_allowed_hosts, 1);
    ck_assert_str_eq(config->allowed_hosts[0], "mail.internal");
    ck_assert_uint_eq(config->max_body_bytes, 10u << 20);
    ck_assert_uint_eq(config->request_timeout_ms, 1500);
    ck_assert(config->log_addresses);
    ck_assert_str_eq(config->default_relay, "main");
    r = &config->relays[0];
    ck_assert_str_eq(r->c.user, "ann@example.org");
    ck_assert_str_eq(r->c.password, "no");              /* a word, as the table says: not YAML's false */
    ck_assert_uint_eq(r->c.port, 2525);
    ck_assert_uint_eq(r->c.max_sessions, 16);
    ck_assert_uint_eq(r->c.timeouts.banner, 2000);
    ck_assert_uint_eq(r->c.dns_ms, 2000);
    ck_assert_uint_eq(r->c.one_flight_idle_ms, 5000);   /* not a wait for the relay */
    r = &config->relays[1];
    ck_assert_str_eq(r->c.host, "2001:db8::1");
    ck_assert_uint_eq(r->c.port, 465);
    ck_assert_int_eq(r->c.tls_mode, SMTP_TLS_IMPLICIT);
}
END_TEST

static const struct {
    const char *yaml, *mistake;
} bad_files[] = {
    {"lisen: 127.0.0.1:1\n", "mailhatch.yaml:1: lisen: no such setting; did you mean listen?"},
    {"\n\nzzzzzz: 1\n", "mailhatch.yaml:3: zzzzzz: no such setting\n"},
    {"presets: {a: 1}\n", "presets: not available in this version"},
    {"routes:\n  - {from_domain: example.org, relays: [a]}\n",
     "mailhatch.yaml:2: routes: not available in this version"},
    {"relays: {a: {preset: \"ses:eu-west-1\"}}\n", "preset: not available in this version"},
    {"relays: {a: {uri: \"smtp://h\"}}\n", "did you mean url?"},
    {"relays: [a]\n", "relays must be a map"},
    {"relays: {a: smtp://h}\n", "a relay must be a map"},
    {"relays: {a: {}}\n", "relay a: url is missing"},
    {"relays: {\"a b\": {url: smtp://h}}\n", "a relay's name is"},
    {"relays: {a: {url: smtp://h}, a: {user: u}}\n", "relay a is there twice"},
    {"relays: {a: {url: smtp://h}, b: {url: smtp://h}}\n", "default_relay is missing"},
    {"default_relay: c\nrelays: {a: {url: smtp://h}}\n", "there is no relay \"c\""},
    {"listen: 127.0.0.1:1\nlisten: 127.0.0.1:2\n", "listen is set twice (first at mailhatch.yaml:1)"},
    {"listen: [a, b]\n", "listen takes one value, not a list"},
    {"listen: {a: b}\n", "listen takes a value, not a map"},
    {"listen: \"a\\nb:1\"\n", "line break"},
    {"listen: \"a\\0b:1\"\n", "a value holds a NUL"},
    {"api_keys: [{a: b}]\n", "api_keys takes a value, not a map"},
    {"api_keys: \"a b c d e f g h i j\"\n", "blanks and letters beyond ASCII"},
    {"api_keys: [\"web:\"]\n", "a name or secret is empty"},
    {"listen: *a\n", "anchors and aliases"},
    {"listen: &a 127.0.0.1:1\n", "anchors and aliases"},
    {"- a\n", "the file must be a map of settings"},
    {"listen: 127.0.0.1:1\n---\nlisten: 127.0.0.1:2\n", "a second document"},
    {"listen: \"127.0.0.1:1\n", "mailhatch.yaml:"},
    {"a: b: c\n", "mailhatch.yaml:1:"},
    {"{a: [[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]}\n", "nested too deep"},
    {"listen:\n", "listen is empty"},
    {"listen: 8587\n", "is not HOST:PORT"},
    {"listen: 127.0.0.1:70000\n", "is not HOST:PORT"},
    {"listen: ::1:80\n", "is not HOST:PORT"},
    {"listen: unix:relative\n", "is not HOST:PORT"},
    {"listen: 0.0.0.0:80\n", "callers need keys"},
    {"listen: \"[::]:80\"\n", "callers need keys"},
    {"store: sqlite:/var/lib/mailhatch\n", "not available in this version; only memory: is"},
    {"log_level: loud\n", "is not one of debug|info|warn|error"},
    {"log_level: info|warn\n", "is not one of"},
    {"sandbox: maybe\n", "is not true or false"},
    {"request_timeout: soon\n", "is not a duration"},
    {"request_timeout: -1s\n", "is not a duration"},
    {"request_timeout: 1.s\n", "is not a duration"},
    {"request_timeout: 99ms\n", "is outside 100 ms to 3600000 ms"},
    {"request_timeout: 3601s\n", "is outside"},
    {"max_body: 35 MiB\n", "is not a size"},
    {"max_body: 35M\n", "is not a size"},
    {"max_body: 1023\n", "is outside"},
    {"max_body: 999999999999GiB\n", "is not a size"},
    {"max_waiting: 1.5\n", "is not a number"},
    {"max_waiting: 0\n", "is outside 1 to 1000000"},
    {"smtp_loops: 65\n", "is outside 1 to 64"},
    {"relays: {a: {url: smtp://h, pins: sha256/abc}}\n", "each pin is sha256/"},
    {"relays: {a: {url: smtp://h, ca_file: /nonexistent/ca.pem}}\n", "cannot be read: No such file"},
    {"relays: {a: {url: smtp://h, password_file: /nonexistent}}\n", "cannot be read"},
    {"relays: {a: {url: smtp://h, user: u}}\n", "user is set but no password"},
    {"relays: {a: {url: smtp://h, password: p}}\n", "a password is set but no user"},
    {"relays: {a: {url: smtps://h, tls: starttls}}\n", "contradict each other"},
    {"relays: {a: {url: smtp://h, tls: maybe}}\n", "is not one of starttls|implicit|none"},
    {"relays: {a: {url: smtp://h, ehlo_name: a..b}}\n", "is not a host name"},
    {"relays: {a: {url: smtp://h, timeout: 5ms}}\n", "plain numbers are seconds"},
    {"sandbox: true\nrelays: {a: {url: smtp://h}}\n", "sandbox and a relay (a) are both set"},
    {"", "No relay is configured"},
};

START_TEST(test_bad_file)
{
    assert_fails(load_yaml(bad_files[_i].yaml), bad_files[_i].mistake);
}
END_TEST

START_TEST(test_all_mistakes_at_once)
{
    assert_fails(load_yaml("listen: x\nmax_body: y\nrelays: {a: {url: \"http://h\", user: u}}\n"), "is not HOST:PORT");
    assert_text(errors.text, "mailhatch.yaml:2: max_body");
    assert_text(errors.text, "the url must begin with smtp://");
    assert_text(errors.text, "user is set but no password");
    ck_assert_uint_eq(errors.n, 4);
}
END_TEST

START_TEST(test_file_missing)
{
    assert_fails(load("--config=/nonexistent.yaml", NULL), "/nonexistent.yaml: cannot be read");
    /* What the file may have said about relays is not guessed at. */
    ck_assert_uint_eq(errors.n, 1);
}
END_TEST

/* ---- environment and command line ---- */

START_TEST(test_later_source_wins)
{
    static const char yaml[] = "max_waiting: 5\nmax_connections: 6\nrelays: {default: {url: smtp://a}}\n";

    setenv("MAILHATCH_CONFIG", write_file("mailhatch.yaml", yaml, sizeof(yaml) - 1), 1);
    setenv("MAILHATCH_MAX_WAITING", "7", 1);
    setenv("MAILHATCH_RELAY_URL", "smtp://b", 1);
    setenv("MAILHATCH_RELAY_MAX_SESSIONS", "3", 1);
    assert_loads(load("--max-waiting=9", NULL));
    ck_assert_uint_eq(config->max_waiting, 9);
    ck_assert_uint_eq(config->max_connections, 6);
    ck_assert_str_eq(config->relays[0].c.host, "b");
    ck_assert_uint_eq(config->relays[0].c.max_sessions, 3);
    ck_assert_uint_eq(config->n_relays, 1);
}
END_TEST

START_TEST(test_relay_of_environment_stands_beside_the_file)
{
    setenv("MAILHATCH_RELAY_URL", "smtp://b", 1);
    assert_loads(load_yaml("relays: {a: {url: smtp://a}}\n"));
    ck_assert_uint_eq(config->n_relays, 2);
    ck_assert_str_eq(config->default_relay, "default");
}
END_TEST

START_TEST(test_environment_names)
{
    setenv("MAILHATCH_PORT", "tcp://10.0.0.1:8587", 1);
    setenv("MAILHATCH_PORT_8587_TCP_ADDR", "10.0.0.1", 1);
    setenv("MAILHATCH_SERVICE_HOST", "10.0.0.1", 1);
    setenv("MAILHATCH_RELAY_URL", "smtp://a", 1);
    setenv("MAILHATCH_RELAY_USER", "", 1);              /* compose files write NAME=${X:-} */
    assert_loads(load(NULL));
    ck_assert_uint_eq(errors.n_warnings, 0);
    setenv("MAILHATCH_RELAY_PASWORD_FILE", "/x", 1);
    setenv("MAILHATCH_QWERTYUIOP", "1", 1);
    assert_loads(load(NULL));
    ck_assert_uint_eq(errors.n_warnings, 2);
    assert_text(errors.warnings, "did you mean MAILHATCH_RELAY_PASSWORD_FILE?");
    assert_text(errors.warnings, "MAILHATCH_QWERTYUIOP: no such setting, ignored\n");
}
END_TEST

START_TEST(test_relay_setting_without_url)
{
    setenv("MAILHATCH_RELAY_MAX_SESSIONS", "4", 1);
    assert_fails(load(NULL), "url is missing (MAILHATCH_RELAY_URL");
}
END_TEST

START_TEST(test_command_line)
{
    assert_loads(load("mail.json", "--relay-url", "smtp://h", "--log-addresses", "--max-body", "1MiB",
                      "--request-timeout=500ms", NULL));
    ck_assert_str_eq(config->file_argument, "mail.json");
    ck_assert(config->log_addresses);
    ck_assert_uint_eq(config->max_body_bytes, 1u << 20);
    ck_assert_uint_eq(config->request_timeout_ms, 500);
    assert_loads(load("--sandbox", "-", NULL));
    ck_assert(config->sandbox);
    ck_assert_str_eq(config->file_argument, "-");
    ck_assert_uint_eq(config->n_relays, 0);
    assert_loads(load("--sandbox=false", "--relay-url=smtp://h", NULL));
}
END_TEST

START_TEST(test_bad_command_line)
{
    assert_fails(load("--sandbx", NULL), "--sandbx: no such option; did you mean --sandbox?");
    assert_fails(load("--relay-passwort=geheim", "--sandbox", NULL),
                 "--relay-passwort: no such option; did you mean --relay-password?");
    ck_assert_ptr_null(strstr(errors.text.p, "geheim"));
    assert_fails(load("-x", NULL), "-x: no such option");
    assert_fails(load("--sandbox", "--listen", NULL), "--listen: a value is missing");
    assert_fails(load("--sandbox", "a", "b", NULL), "one argument too many");
    assert_fails(load("--sandbox", "--max-waiting=1", "--max-waiting=2", NULL), "set twice");
    assert_fails(load("--sandbox", "--relay-url=smtp://h", NULL), "both set");
}
END_TEST

/* ---- secrets ---- */

START_TEST(test_password_file)
{
    setenv("MAILHATCH_RELAY_URL", "smtp://ann:from-url@h", 1);
    assert_loads(load(NULL));
    ck_assert_str_eq(config->relays[0].c.password, "from-url");
    setenv("MAILHATCH_RELAY_PASSWORD_FILE", write_file("secret", "from file\r\n", 11), 1);
    assert_loads(load(NULL));
    ck_assert_str_eq(config->relays[0].c.password, "from file");
    setenv("MAILHATCH_RELAY_PASSWORD", "from-environment", 1);
    assert_loads(load(NULL));
    ck_assert_str_eq(config->relays[0].c.password, "from file");
    assert_loads(load("--relay-password=from-command-line", NULL));
    ck_assert_str_eq(config->relays[0].c.password, "from-command-line");
}
END_TEST

static const struct {
    const char *text;
    size_t n;
    const char *mistake;
} bad_secrets[] = {
    {"", 0, "is empty"},
    {"\n", 1, "is empty"},
    {"a\nb\n", 4, "line break"},
    {"a\n\n", 3, "line break"},
    {"a\0b", 3, "control character"},
    {"\xff\xfe", 2, "is not UTF-8"},
};

START_TEST(test_bad_password_file)
{
    setenv("MAILHATCH_RELAY_URL", "smtp://ann@h", 1);
    setenv("MAILHATCH_RELAY_PASSWORD_FILE", write_file("secret", bad_secrets[_i].text, bad_secrets[_i].n), 1);
    assert_fails(load(NULL), bad_secrets[_i].mistake);
    assert_text(errors.text, "/secret");
}
END_TEST

START_TEST(test_password_file_too_large)
{
    static char large[65537];

    memset(large, 'x', sizeof(large));
    setenv("MAILHATCH_RELAY_URL", "smtp://ann@h", 1);
    setenv("MAILHATCH_RELAY_PASSWORD_FILE", write_file("secret", large, sizeof(large)), 1);
    assert_fails(load(NULL), "larger than 64 KiB");
    write_file("secret", large, sizeof(large) - 1);
    assert_loads(load(NULL));
    ck_assert_uint_eq(strlen(config->relays[0].c.password), 65536);
}
END_TEST

START_TEST(test_key_file)
{
    static const char text[] = "# keys\nweb:0123456789abcdef\r\n\nfedcba9876543210";
    unsigned char digest[32];

    setenv("MAILHATCH_SANDBOX", "1", 1);
    setenv("MAILHATCH_LISTEN", "0.0.0.0:8587", 1);
    setenv("MAILHATCH_API_KEYS_FILE", write_file("keys", text, sizeof(text) - 1), 1);
    assert_loads(load(NULL));
    ck_assert_uint_eq(config->n_keys, 2);
    ck_assert_str_eq(config->keys[0].name, "web");
    crypto_sha256(bytes_view_str("0123456789abcdef"), digest);
    ck_assert_mem_eq(config->keys[0].digest, digest, sizeof(digest));
    ck_assert_str_eq(config->keys[1].name, "");
    crypto_sha256(bytes_view_str("fedcba9876543210"), digest);
    ck_assert_mem_eq(config->keys[1].digest, digest, sizeof(digest));
    ck_assert_uint_eq(errors.n_warnings, 0);
    write_file("keys", "# none\n", 7);
    assert_fails(load(NULL), "holds no key");
    write_file("keys", "short\n", 6);
    assert_loads(load(NULL));
    assert_text(errors.warnings, "can be guessed");
}
END_TEST

START_TEST(test_secrets_are_never_shown)
{
    struct bytes_buf out;

    bytes_buf_init(&out, 0);
    setenv("MAILHATCH_RELAY_URL", "smtp://ann:hunter2@smtp.example.com", 1);
    setenv("MAILHATCH_API_KEYS", "web:hunter2hunter2hunter2", 1);
    assert_loads(load("--log-level", "debug", NULL));
    config_write_effective(config, &out);
    ck_assert_ptr_null(strstr(out.p, "hunter2"));
    assert_text(out, "url: smtp://***@smtp.example.com  # MAILHATCH_RELAY_URL\n");
    assert_text(out, "user: ann  # the url\n");
    assert_text(out, "password: (set, not shown)  # the url\n");
    assert_text(out, "api_keys: (1 set, not shown)  # MAILHATCH_API_KEYS\n");
    assert_text(out, "log_level: debug  # --log-level\n");
    assert_text(out, "max_body: 35MiB  # default\n");
    assert_text(out, "drain_timeout: 30s  # default\n");
    bytes_buf_deinit(&out);
    setenv("MAILHATCH_RELAY_URL", "smtp://ann:hunter2/x@smtp.example.com", 1);
    assert_fails(load(NULL), "must be written as %2F");
    ck_assert_ptr_null(strstr(errors.text.p, "hunter2"));
}
END_TEST

/* ---- warnings ---- */

static const struct {
    const char *url, *warning;
} odd_urls[] = {
    {"smtp://h:465", "port 465 usually speaks TLS from the first byte"},
    {"smtps://h:587", "port 587 usually begins in the clear"},
    {"smtp://127.0.0.1?tls=none", "travel in the clear"},
};

START_TEST(test_odd_url)
{
    assert_loads(load("--relay-url", odd_urls[_i].url, NULL));
    assert_text(errors.warnings, odd_urls[_i].warning);
}
END_TEST

START_TEST(test_pipeline_depth)
{
    assert_loads(load("--relay-url=smtp://h", "--relay-pipeline-depth=16", NULL));
    ck_assert_uint_eq(config->relays[0].c.pipeline_depth, 16);
    ck_assert_uint_eq(errors.n_warnings, 0);
}
END_TEST

static const struct {
    const char *option, *warning;
} few_sessions[] = {
    {"--relay-min-idle=9", "relay default: min_idle is 9, but no more than max_sessions (8) are opened"},
    {"--relay-loops=9", "relay default: loops is 9, but only max_sessions (8) can have one each"},
};

START_TEST(test_few_sessions)
{
    assert_loads(load("--relay-url=smtp://h", few_sessions[_i].option, NULL));
    assert_text(errors.warnings, few_sessions[_i].warning);
}
END_TEST

START_TEST(test_tls_wins_over_smtp)
{
    assert_loads(load("--relay-url=smtp://h", "--relay-tls=implicit", NULL));
    ck_assert_int_eq(config->relays[0].c.tls_mode, SMTP_TLS_IMPLICIT);
    ck_assert_uint_eq(config->relays[0].c.port, 465);
}
END_TEST

/* ---- URLs ---- */

static const struct {
    const char *url, *user, *password;
    const char *host;                   /* with a dot at its end: host_is_rooted */
    uint16_t port;
    enum smtp_tls_mode mode;
} good_urls[] = {
    {"smtp://h", NULL, NULL, "h", 0, SMTP_TLS_STARTTLS},
    {"SMTPS://H.example:465/", NULL, NULL, "h.example", 465, SMTP_TLS_IMPLICIT},
    {"smtp://u:p@h:25", "u", "p", "h", 25, SMTP_TLS_STARTTLS},
    {"smtp://ann%40example.com:p%3a%2F%25@h", "ann@example.com", "p:/%", "h", 0, SMTP_TLS_STARTTLS},
    {"smtp://ann@example.com:p@h", "ann@example.com", "p", "h", 0, SMTP_TLS_STARTTLS},
    {"smtp://u:a:b@h", "u", "a:b", "h", 0, SMTP_TLS_STARTTLS},
    {"smtp://u@[::1]:2525", "u", NULL, "::1", 2525, SMTP_TLS_STARTTLS},
    {"smtp://[::1]", NULL, NULL, "::1", 0, SMTP_TLS_STARTTLS},
    {"smtp://127.0.0.1:2525?tls=none", NULL, NULL, "127.0.0.1", 2525, SMTP_TLS_NONE},
    {"smtp://h/?tls=none", NULL, NULL, "h", 0, SMTP_TLS_NONE},
    {"smtp://b\xc3\xbc" "cher.example", NULL, NULL, "xn--bcher-kva.example", 0, SMTP_TLS_STARTTLS},
    {"smtp://u:p\xc3\xa4@h", "u", "p\xc3\xa4", "h", 0, SMTP_TLS_STARTTLS},
    {"smtp://h.", NULL, NULL, "h.", 0, SMTP_TLS_STARTTLS},
    {"smtps://u:p@Smtp.Example.ORG.:2465/", "u", "p", "smtp.example.org.", 2465, SMTP_TLS_IMPLICIT},
    {"smtp://b\xc3\xbc" "cher.example.", NULL, NULL, "xn--bcher-kva.example.", 0, SMTP_TLS_STARTTLS},
};

static void assert_same(const char *is, const char *want)
{
    ck_assert_msg((is == NULL) == (want == NULL) && (!is || strcmp(is, want) == 0), "\"%s\" instead of \"%s\"",
                  is ? is : "(null)", want ? want : "(null)");
}

START_TEST(test_good_url)
{
    struct config_url u;
    char why[200], host[300];

    ck_assert_msg(config_url_parse(good_urls[_i].url, &u, why) == 0, "%s", why);
    assert_same(u.user, good_urls[_i].user);
    assert_same(u.password, good_urls[_i].password);
    snprintf(host, sizeof(host), "%s%s", u.host, u.host_is_rooted ? "." : "");
    assert_same(host, good_urls[_i].host);
    ck_assert_uint_eq(u.port, good_urls[_i].port);
    ck_assert_int_eq(u.tls_mode, good_urls[_i].mode);
    config_url_deinit(&u);
}
END_TEST

static const char *const bad_urls[] = {
    "",
    "h",
    "http://h",
    "smtp:h",
    "smtp://",
    "smtp:///",
    "smtp://:25",
    "smtp://u@",
    "smtp://@h",
    "smtp://:p@h",
    "smtp://u:@h",
    "smtp://h:",
    "smtp://h:0",
    "smtp://h:65536",
    "smtp://h:999999999999",
    "smtp://h:2x",
    "smtp://h:-1",
    "smtp://h:+1",
    "smtp://u%0d%0aRCPT@h",
    "smtp://u:p%00x@h",
    "smtp://u:p%0Ax@h",
    "smtp://u%7f@h",
    "smtp://u%4@h",
    "smtp://u%@h",
    "smtp://u%zz@h",
    "smtp://u%ff@h",
    "smtp://h%0d%0a",
    "smtp://h\r\n",
    "smtp://a b",
    "smtp://a..b",
    "smtp://a..",
    "smtp://.",
    "smtp://..",
    "smtp://.a",
    "smtp://.:25",
    "smtp://127.0.0.1.",
    "smtp://[::1].",
    "smtp://-a.b",
    "smtp://a_b/",
    "smtp://[::1",
    "smtp://::1",
    "smtp://[]",
    "smtp://[x::1]",
    "smtp://[::1]x",
    "smtp://[1.2.3.4]",
    "smtp://[::1]:x",
    "smtp://h/path",
    "smtp://h?tls=no",
    "smtp://h?tls=none&x=1",
    "smtp://h#f",
    "smtps://h?tls=none",
    "smtp://u:a/b@h",
    "smtp://u:a?b@h",
};

START_TEST(test_bad_url)
{
    struct config_url u;
    char why[200];

    ck_assert_msg(config_url_parse(bad_urls[_i], &u, why) == -1, "%s was taken", bad_urls[_i]);
    ck_assert_uint_gt(strlen(why), 0);
    ck_assert_ptr_null(u.host);
    ck_assert_ptr_null(u.user);
}
END_TEST

/* ---- what is written ---- */

static void assert_file_is(const char *path, const struct bytes_buf *want, const char *remedy)
{
    FILE *f = fopen(path, "r");
    struct bytes_buf have;
    char piece[4096];
    size_t n;

    ck_assert_msg(f != NULL, "%s is not there (tests run in the top directory); %s", path, remedy);
    bytes_buf_init(&have, 0);
    while ((n = fread(piece, 1, sizeof(piece), f)) > 0)
        bytes_buf_add(&have, piece, n);
    fclose(f);
    ck_assert_msg(bytes_equal(bytes_buf_view(&have), bytes_buf_view(want)), "%s is out of date: %s", path, remedy);
    bytes_buf_deinit(&have);
}

START_TEST(test_sample)
{
    struct bytes_buf out;

    bytes_buf_init(&out, 0);
    config_write_sample(&out);
    assert_file_is("deploy/mailhatch.example.yaml", &out, "build/mailhatch help sample >deploy/mailhatch.example.yaml");
    assert_loads(load_yaml(out.p));
    ck_assert_uint_eq(errors.n_warnings, 0);
    bytes_buf_deinit(&out);
}
END_TEST

/* With its comments taken off every line must be a setting of that place; only the placeholders can be wrong. */
START_TEST(test_sample_uncommented)
{
    struct bytes_buf out, yaml;

    bytes_buf_init(&out, 0);
    bytes_buf_init(&yaml, 0);
    config_write_sample(&out);
    for (char *line = out.p, *end; (end = strchr(line, '\n')); line = end + 1) {
        char *hash = memchr(line, '#', (size_t)(end - line));
        size_t word = hash ? strspn(hash + 2, "abcdefghijklmnopqrstuvwxyz_") : 0;
        *end = '\0';
        if (hash && word && hash[2 + word] == ':' && !strstr(hash, "...")) {
            bytes_buf_printf(&yaml, "%.*s%s\n", (int)(hash - line), line, hash + 2);
        } else if (!hash) {
            bytes_buf_printf(&yaml, "%s\n", line);
        }
    }
    assert_loads(load_yaml(yaml.p));
    bytes_buf_deinit(&yaml);
    bytes_buf_deinit(&out);
}
END_TEST

/* Each kind of option, equal and not. */
START_TEST(test_is_equal)
{
    static const char *const names[] = {"listen", "log_level", "sandbox", "max_waiting", "max_body", "drain_delay",
                                        "allowed_hosts"};
    char *argv[] = {"--relay-url=smtp://h", "--listen=127.0.0.1:1", "--log-level=warn", "--max-waiting=1",
                    "--max-body=1MiB", "--drain-delay=1s", "--allowed-hosts=a,b", NULL};
    char *argv2[] = {"--relay-url=smtp://h", "--allowed-hosts=a,c", "--sandbox=false", NULL};
    struct config *one, *same, *other;

    ck_assert_int_eq(config_load(7, argv, &one, &errors), 0);
    ck_assert_int_eq(config_load(7, argv, &same, &errors), 0);
    ck_assert_int_eq(config_load(3, argv2, &other, &errors), 0);
    other->sandbox = true;
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        const struct option_row *row = option_find(&option_top, names[i]);
        ck_assert(option_is_equal(row, one, same));
        ck_assert_msg(!option_is_equal(row, one, other), "%s", names[i]);
    }
    ck_assert(option_is_equal(option_find(&option_top, "default_relay"), one, other));
    config_free(one);
    config_free(same);
    config_free(other);
}
END_TEST

START_TEST(test_reference)
{
    struct bytes_buf out;

    bytes_buf_init(&out, 0);
    config_write_reference(&out);
    assert_file_is("docs/configuration.md", &out, "build/mailhatch help reference >docs/configuration.md");
    bytes_buf_deinit(&out);
}
END_TEST

START_TEST(test_help_names_every_option)
{
    const struct option_table *const tables[] = {&option_top, &option_relay};
    struct bytes_buf out;
    char name[80];

    bytes_buf_init(&out, 0);
    config_write_help(&out);
    for (size_t t = 0; t < ARRAY_LEN(tables); t++) {
        for (size_t i = 0; i < tables[t]->n; i++) {
            option_flag_name(tables[t], &tables[t]->rows[i], name);
            assert_text(out, name);
            option_env_name(tables[t], &tables[t]->rows[i], name);
            assert_text(out, name);
        }
    }
    bytes_buf_deinit(&out);
}
END_TEST

/* ---- the rest of the door ---- */

START_TEST(test_admin_listen_alone)
{
    char *argv[] = {NULL};
    char *listen;

    setenv("MAILHATCH_ADMIN_LISTEN", "0.0.0.0:9000", 1);        /* and no relay at all */
    listen = config_load_admin_listen(0, argv, &errors);
    ck_assert_str_eq(listen, "0.0.0.0:9000");
    free(listen);
    setenv("MAILHATCH_ADMIN_LISTEN", "9000", 1);
    ck_assert_ptr_null(config_load_admin_listen(0, argv, &errors));
}
END_TEST

START_TEST(test_add_relay)
{
    assert_loads(load("--sandbox", NULL));
    ck_assert_int_eq(config_add_relay(config, "sandbox", "127.0.0.1", 2525, "u", "p", "PEM"), 0);
    ck_assert_uint_eq(config->n_relays, 1);
    ck_assert_str_eq(config->default_relay, "sandbox");
    ck_assert_str_eq(config->relays[0].c.host, "127.0.0.1");
    ck_assert_str_eq(config->relays[0].c.ca_pem, "PEM");
    ck_assert_str_eq(config->relays[0].c.password, "p");
    ck_assert_int_eq(config_add_relay(config, "sandbox", "127.0.0.1", 2525, "u", "p", "PEM"), -1);
}
END_TEST

START_TEST(test_too_many_relays)
{
    struct bytes_buf yaml;

    bytes_buf_init(&yaml, 0);
    bytes_buf_add_str(&yaml, "default_relay: r0\nrelays:\n");
    for (int i = 0; i < 64; i++)
        bytes_buf_printf(&yaml, "  r%d: {url: smtp://h}\n", i);
    assert_loads(load_yaml(yaml.p));
    bytes_buf_add_str(&yaml, "  r64: {url: smtp://h}\n");
    assert_fails(load_yaml(yaml.p), "more than 64 relays");
    bytes_buf_deinit(&yaml);
}
END_TEST

static Suite *suite(void)
{
    Suite *s = suite_create("config");
    TCase *t = tcase_create("config");

    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, test_defaults);
    tcase_add_test(t, test_file);
    tcase_add_loop_test(t, test_bad_file, 0, (int)ARRAY_LEN(bad_files));
    tcase_add_test(t, test_all_mistakes_at_once);
    tcase_add_test(t, test_file_missing);
    tcase_add_test(t, test_later_source_wins);
    tcase_add_test(t, test_relay_of_environment_stands_beside_the_file);
    tcase_add_test(t, test_environment_names);
    tcase_add_test(t, test_relay_setting_without_url);
    tcase_add_test(t, test_command_line);
    tcase_add_test(t, test_bad_command_line);
    tcase_add_test(t, test_password_file);
    tcase_add_loop_test(t, test_bad_password_file, 0, (int)ARRAY_LEN(bad_secrets));
    tcase_add_test(t, test_password_file_too_large);
    tcase_add_test(t, test_key_file);
    tcase_add_test(t, test_secrets_are_never_shown);
    tcase_add_loop_test(t, test_odd_url, 0, (int)ARRAY_LEN(odd_urls));
    tcase_add_test(t, test_pipeline_depth);
    tcase_add_loop_test(t, test_few_sessions, 0, ARRAY_LEN(few_sessions));
    tcase_add_test(t, test_tls_wins_over_smtp);
    tcase_add_loop_test(t, test_good_url, 0, (int)ARRAY_LEN(good_urls));
    tcase_add_loop_test(t, test_bad_url, 0, (int)ARRAY_LEN(bad_urls));
    tcase_add_test(t, test_sample);
    tcase_add_test(t, test_sample_uncommented);
    tcase_add_test(t, test_reference);
    tcase_add_test(t, test_is_equal);
    tcase_add_test(t, test_help_names_every_option);
    tcase_add_test(t, test_admin_listen_alone);
    tcase_add_test(t, test_add_relay);
    tcase_add_test(t, test_too_many_relays);
    suite_add_tcase(s, t);
    return s;
}

int main(void)
{
    SRunner *r = srunner_create(suite());
    int failed;

    srunner_run_all(r, CK_ENV);
    failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? 1 : 0;
}
