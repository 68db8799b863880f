#include "service/config_key.h"

#include "service/config_relay.h"
#include "service/config_yaml.h"
#include "smtp/address.h"
#include "smtp/crypto.h"
#include "smtp/idn.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* API keys as settings: their lines, their rights, and new ones. */

/* key = [name ":"] secret *(SP word "=" value); secret may be "sha256:" and the 64 hexadecimal digits of its digest.
 * A word that may be repeated makes a list, so that no comma is needed: commas part keys in the environment.
 *
 * A plain SHA-256 is right for what `mailhatch key new` makes: nobody guesses 256 random bits, however fast he tries.
 * Slow hashes are for passwords that people think of, and would cost each request what they cost the thief. */

#define HASH_PREFIX "sha256:"
#define PERIOD_MAX_MS 86400000u
#define RATE_MAX 1000000u

static const struct {
    const char *name;
    unsigned bit;
} scopes[] = {{"send", CONFIG_SCOPE_SEND}, {"read", CONFIG_SCOPE_READ}, {"diagnose", CONFIG_SCOPE_DIAGNOSE}};

struct parse {
    struct config_key *key;
    size_t number;
    const char *where;
    struct config_errors *e;
};

static void add_word(struct config_words *w, char *word)
{
    char **longer = reallocarray(w->v, w->n + 1, sizeof(*longer));

    if (!longer || !word)
        unreachable("no memory for the configuration");
    w->v = longer;
    longer[w->n++] = word;
}

static bool is_name(const char *s, size_t n)
{
    static const char allowed[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-";

    return n >= 1 && n <= 64 && strspn(s, allowed) >= n;
}

/* "@example.com": all of a domain; else one address. Domains become A-labels, as in the mails. */
static void add_address(struct parse *p, struct config_words *w, const char *value)
{
    struct mail_address a;
    const char *why;
    char *domain, *pattern = NULL;

    if (value[0] == '@') {
        if (idn_to_ascii(bytes_view_str(value + 1), &domain, &why) < 0) {
            option_error(p->e, p->where, "key %zu: \"%s\" is no domain: %s", p->number, value, why);
            return;
        }
        if (asprintf(&pattern, "@%s", domain) < 0)
            unreachable("no memory for the configuration");
        free(domain);
        add_word(w, pattern);
    } else if (address_parse(bytes_view_str(value), ADDRESS_BARE | ADDRESS_LITERALS, &a, &why) < 0) {
        option_error(p->e, p->where, "key %zu: \"%s\" is neither an address nor @domain: %s", p->number, value, why);
    } else {
        add_word(w, strdup(a.email));
        mail_address_deinit(&a);
    }
}

static void add_scope(struct parse *p, const char *value)
{
    for (size_t i = 0; i < ARRAY_LEN(scopes); i++)
        if (strcmp(scopes[i].name, value) == 0) {
            p->key->scopes |= scopes[i].bit;
            return;
        }
    option_error(p->e, p->where, "key %zu: scope \"%s\" is none of send, read and diagnose", p->number, value);
}

/* rate = count "/" ("s" / "min" / "h" / "d") */
static void set_rate(struct parse *p, const char *value)
{
    static const struct {
        const char *name;
        uint32_t ms;
    } periods[] = {{"s", 1000}, {"min", 60000}, {"h", 3600000}, {"d", PERIOD_MAX_MS}};
    char *end = NULL;
    unsigned long n = *value >= '1' && *value <= '9' ? strtoul(value, &end, 10) : 0;

    for (size_t i = 0; n >= 1 && n <= RATE_MAX && *end == '/' && i < ARRAY_LEN(periods); i++)
        if (strcmp(end + 1, periods[i].name) == 0) {
            p->key->rate = (unsigned)n;
            p->key->rate_ms = periods[i].ms;
            return;
        }
    option_error(p->e, p->where, "key %zu: rate \"%s\" is not like 100/min: 1 to 1000000 mails in one s, min, h or d",
                 p->number, value);
}

static bool is_right(const char *word)
{
    static const char *const words[] = {"sender", "recipient", "relay", "scope", "rate"};

    for (size_t i = 0; i < ARRAY_LEN(words); i++)
        if (strcmp(word, words[i]) == 0)
            return true;
    return false;
}

static void set_right(struct parse *p, const char *word, const char *value)
{
    struct config_key *k = p->key;

    if (!is_right(word))
        /* It is not shown: it may be half of a secret that has a blank in it, such as base64 with its padding. */
        option_error(p->e, p->where, "key %zu: behind a blank stands none of sender=, recipient=, relay=, scope= and "
                     "rate=", p->number);
    else if (!*value)
        option_error(p->e, p->where, "key %zu: %s= is empty", p->number, word);
    else if (strcmp(word, "sender") == 0)
        add_address(p, &k->senders, value);
    else if (strcmp(word, "recipient") == 0)
        add_address(p, &k->recipients, value);
    else if (strcmp(word, "relay") == 0)
        add_word(&k->relays, strdup(value));
    else if (strcmp(word, "scope") == 0)
        add_scope(p, value);
    else
        set_rate(p, value);
}

/* Its digest, of a secret that is given plainly or as its digest already. */
static bool set_digest(struct parse *p, const char *secret)
{
    const char *hex = secret + strlen(HASH_PREFIX);

    if (strncmp(secret, HASH_PREFIX, strlen(HASH_PREFIX)) != 0) {
        if (strlen(secret) < 16)
            option_warn(p->e, p->where, "key %zu has fewer than 16 characters and can be guessed", p->number);
        crypto_sha256(bytes_view_str(secret), p->key->digest);
        return true;
    }
    for (size_t i = 0; i < 64; i++)
        if (bytes_hex_value(hex[i]) < 0) {
            option_error(p->e, p->where, "key %zu: behind sha256: stand 64 hexadecimal digits", p->number);
            return false;
        }
    for (size_t i = 0; i < 32; i++)
        p->key->digest[i] = (unsigned char)(bytes_hex_value(hex[2 * i]) * 16 + bytes_hex_value(hex[2 * i + 1]));
    if (hex[64])
        option_error(p->e, p->where, "key %zu: behind sha256: stand 64 hexadecimal digits", p->number);
    return !hex[64];
}

/* "web:secret", "web:sha256:…", "sha256:…" or "secret" */
static bool set_secret(struct parse *p, const char *word)
{
    bool nameless = strncmp(word, HASH_PREFIX, strlen(HASH_PREFIX)) == 0;
    const char *colon = nameless ? NULL : strchr(word, ':'), *secret = colon ? colon + 1 : word;

    if (!*secret || colon == word) {
        option_error(p->e, p->where, "key %zu: a name or secret is empty (write SECRET or NAME:SECRET)", p->number);
        return false;
    }
    if (colon && !is_name(word, (size_t)(colon - word))) {
        option_error(p->e, p->where, "key %zu: a name is 1 to 64 letters, digits, '_', '.' and '-'", p->number);
        return false;
    }
    p->key->name = colon ? strndup(word, (size_t)(colon - word)) : strdup("");
    if (!p->key->name)
        unreachable("no memory for the configuration");
    return set_digest(p, secret);
}

/* The words of a line, cut in place; whether each but the first is word=value. */
static void read_words(struct parse *p, char *line)
{
    char *word = line;
    bool first = true;

    while (word) {
        char *next = strchr(word, ' '), *value;
        if (next)
            *next++ = '\0';
        value = strchr(word, '=');
        if (first && !set_secret(p, word)) {
            return;
        } else if (!first && *word && !value) {
            option_error(p->e, p->where, "key %zu: blanks and letters beyond ASCII cannot stand in a header; behind a "
                         "blank come rights, such as sender=@example.com", p->number);
            return;
        } else if (!first && *word) {
            *value = '\0';
            set_right(p, word, value + 1);
        }
        first = false;
        word = next;
    }
}

/* ---- lists of keys ---- */

static void key_deinit(struct config_key *k)
{
    struct config_words *lists[] = {&k->senders, &k->recipients, &k->relays};

    for (size_t i = 0; i < ARRAY_LEN(lists); i++) {
        for (size_t j = 0; j < lists[i]->n; j++)
            free(lists[i]->v[j]);
        free(lists[i]->v);
    }
    free(k->name);
    free(k->secret_file);
}

void config_keys_free(struct config_key *v, size_t n)
{
    for (size_t i = 0; i < n; i++)
        key_deinit(&v[i]);
    free(v);
}

void config_keys_deinit(struct config *c)
{
    config_keys_free(c->keys, c->n_keys);
    c->keys = NULL;
    c->n_keys = 0;
    free(c->key_stamps);
    c->key_stamps = NULL;
}

static bool copy_words(const struct config_words *from, struct config_words *to)
{
    *to = (struct config_words){calloc(from->n + 1, sizeof(*to->v)), 0};
    for (; to->v && to->n < from->n; to->n++)
        if (!(to->v[to->n] = strdup(from->v[to->n])))
            return false;
    return to->v != NULL;
}

static bool key_copy(const struct config_key *from, struct config_key *to)
{
    bool ok;

    *to = *from;
    to->name = strdup(from->name);
    to->secret_file = from->secret_file ? strdup(from->secret_file) : NULL;
    ok = copy_words(&from->senders, &to->senders);
    ok = copy_words(&from->recipients, &to->recipients) && ok;
    ok = copy_words(&from->relays, &to->relays) && ok;
    return ok && to->name && (to->secret_file || !from->secret_file);
}

struct config_key *config_keys_copy(const struct config_key *v, size_t n)
{
    struct config_key *copy = calloc(n + 1, sizeof(*copy));
    bool ok = copy != NULL;

    for (size_t i = 0; copy && i < n; i++)
        ok = key_copy(&v[i], &copy[i]) && ok;
    if (ok)
        return copy;
    config_keys_free(copy, copy ? n : 0);
    return NULL;
}

void config_keys_check(struct config *c, struct config_errors *e)
{
    for (size_t i = 0; i < c->n_keys; i++)
        for (size_t k = 0; k < c->keys[i].relays.n; k++)
            if (!config_relay_get(c, c->keys[i].relays.v[k]) && !c->sandbox)
                option_error(e, "keys", "there is no relay \"%s\", which a key names", c->keys[i].relays.v[k]);
}

void config_key_add(struct config *c, const char *line, size_t number, const char *where, struct config_errors *e)
{
    struct config_key *longer = reallocarray(c->keys, c->n_keys + 1, sizeof(*longer));
    char *words = strdup(line);
    struct parse p = {.number = number, .where = where, .e = e};
    size_t secret_n = strcspn(line, " ");

    if (!longer || !words)
        unreachable("no memory for the configuration");
    c->keys = longer;
    p.key = &longer[c->n_keys++];
    *p.key = (struct config_key){.name = NULL};
    if (!bytes_is_ascii(bytes_view(line, secret_n)))
        option_error(e, where, "key %zu: blanks and letters beyond ASCII cannot stand in a header", number);
    else
        read_words(&p, words);
    if (!p.key->scopes)
        p.key->scopes = CONFIG_SCOPE_SEND | CONFIG_SCOPE_READ | CONFIG_SCOPE_DIAGNOSE;
    crypto_cleanse(words, strlen(line));
    free(words);
}

/* ---- in files ---- */

void config_keys_read_file(struct config *c, struct config_errors *e)
{
    char *text = config_relay_read_secret(c->api_keys_file, true, "api_keys_file", e);
    size_t number = 0;

    if (!text)
        return;
    for (char *p = text; *p;) {
        char *end = p + strcspn(p, "\r\n");
        bool is_last = !*end;
        *end = '\0';
        if (*p && *p != '#') {
            config_key_add(c, p, ++number, "api_keys_file", e);
            c->keys[c->n_keys - 1].is_of_file = true;
        }
        p = is_last ? end : end + 1;
    }
    if (number == 0)
        option_error(e, "api_keys_file", "%s holds no key", c->api_keys_file);
    crypto_cleanse_free(text);
}

static void add_stamp(struct bytes_buf *b, const char *path)
{
    char stamp[FILE_STAMP_SIZE];

    file_stamp(path, stamp);
    bytes_buf_printf(b, "%s/", stamp);
}

/* NULL: no key stands in a file. */
static char *stamp_files(const struct config *c)
{
    struct bytes_buf b;
    size_t n;

    bytes_buf_init(&b, 0);
    if (c->uses_keys_file)
        add_stamp(&b, c->api_keys_file);
    for (size_t i = 0; i < c->n_keys; i++)
        if (c->keys[i].secret_file)
            add_stamp(&b, c->keys[i].secret_file);
    if (b.failed)
        unreachable("no memory for the configuration");
    return b.n ? bytes_buf_take(&b, &n) : NULL;
}

void config_keys_look(struct config *c)
{
    free(c->key_stamps);
    c->key_stamps = stamp_files(c);
}

static void reread_secret(struct config_key *k, size_t number, struct config_errors *e)
{
    char *secret = config_relay_read_secret(k->secret_file, false, "secret_file", e);
    struct parse p = {.key = k, .number = number, .where = "secret_file", .e = e};

    if (secret)
        set_digest(&p, secret);
    crypto_cleanse_free(secret);
}

bool config_keys_refresh(struct config *c, struct config_key **before_out, size_t *n_out, struct config_errors *e)
{
    char *stamps = stamp_files(c);
    bool same = !stamps || (c->key_stamps && strcmp(stamps, c->key_stamps) == 0);
    struct config_key *before = c->keys;
    size_t n = c->n_keys, kept = 0;

    free(c->key_stamps);
    c->key_stamps = stamps;
    if (same)
        return false;
    c->keys = config_keys_copy(before, n);
    if (!c->keys)
        unreachable("no memory for the configuration");
    for (size_t i = 0; i < n; i++) {
        if (c->keys[i].is_of_file) {
            key_deinit(&c->keys[i]);
            continue;
        }
        c->keys[kept] = c->keys[i];
        if (c->keys[kept].secret_file)
            reread_secret(&c->keys[kept], kept + 1, e);
        kept++;
    }
    c->n_keys = kept;
    if (c->uses_keys_file)
        config_keys_read_file(c, e);
    config_keys_check(c, e);
    *before_out = before;
    *n_out = n;
    if (e->n == 0)
        return true;
    config_keys_free(c->keys, c->n_keys);
    c->keys = before;
    c->n_keys = n;
    return false;
}

/* ---- in a YAML file ---- */

static void set_once(char **member, const struct config_yaml_item *item, char *value, struct config_errors *e)
{
    if (*member) {
        option_error(e, item->where, "%s: a key has one name, and one of hash and secret_file", item->key);
        crypto_cleanse_free(value);
    } else {
        *member = value;
    }
}

static void take_secret_file(struct config_key_draft *d, const struct config_yaml_item *item, struct config_errors *e)
{
    char *secret = config_relay_read_secret(item->values[0], false, item->where, e);

    if (!d->secret && secret)
        d->secret_file = strdup(item->values[0]);
    set_once(&d->secret, item, secret, e);
}

/* name, hash, secret_file and rate are single words; the others lists, or one word. */
static void take_single(struct config_key_draft *d, const struct config_yaml_item *item, struct config_errors *e)
{
    const char *value = item->values[0];

    if (strcmp(item->key, "rate") == 0)
        bytes_buf_printf(&d->rights, " rate=%s", value);
    else if (strcmp(item->key, "name") == 0)
        set_once(&d->name, item, strdup(value), e);
    else if (strcmp(item->key, "secret_file") == 0)
        take_secret_file(d, item, e);
    else if (strncmp(value, HASH_PREFIX, strlen(HASH_PREFIX)) == 0)
        set_once(&d->secret, item, strdup(value), e);
    else
        option_error(e, item->where, "hash: write sha256: and 64 hexadecimal digits, as `mailhatch key new` prints it");
}

void config_key_take(struct config_key_draft *d, const struct config_yaml_item *item, struct config_errors *e)
{
    static const char *const singles[] = {"name", "hash", "secret_file", "rate"};
    static const char *const lists[][2] = {
        {"senders", "sender"}, {"recipients", "recipient"}, {"relays", "relay"}, {"scopes", "scope"}};

    for (size_t i = 0; i < item->n; i++)
        if (strchr(item->values[i], ' ') && strcmp(item->key, "secret_file") != 0) {
            option_error(e, item->where, "%s: a blank has no place in it", item->key);
            return;
        }
    for (size_t i = 0; i < ARRAY_LEN(singles); i++) {
        if (strcmp(item->key, singles[i]) != 0)
            continue;
        if (item->kind != CONFIG_YAML_SCALAR)
            option_error(e, item->where, "%s takes one value", item->key);
        else
            take_single(d, item, e);
        return;
    }
    for (size_t i = 0; i < ARRAY_LEN(lists); i++) {
        if (strcmp(item->key, lists[i][0]) != 0)
            continue;
        if (item->kind == CONFIG_YAML_OTHER || item->n == 0)    /* an empty list must not allow everything */
            option_error(e, item->where, "%s takes a list of at least one", item->key);
        for (size_t k = 0; k < item->n; k++)
            bytes_buf_printf(&d->rights, " %s=%s", lists[i][1], item->values[k]);
        return;
    }
    option_error(e, item->where, "%s: no such setting of a key; there are name, hash, secret_file, senders, "
                 "recipients, relays, scopes and rate", item->key);
}

void config_key_draft_begin(struct config_key_draft *d, const char *where)
{
    *d = (struct config_key_draft){.is_open = true};
    bytes_buf_init(&d->rights, 0);
    snprintf(d->where, sizeof(d->where), "%s", where);
}

static void add_draft(struct config_key_draft *d, const char *line, struct config *c, struct config_errors *e)
{
    config_key_add(c, line, c->n_keys + 1, d->where, e);
    c->keys[c->n_keys - 1].secret_file = d->secret_file;
    d->secret_file = NULL;
}

void config_key_draft_finish(struct config_key_draft *d, struct config *c, struct config_errors *e)
{
    struct bytes_buf line;

    if (!d->is_open)
        return;
    bytes_buf_init(&line, 0);
    bytes_buf_printf(&line, "%s:%s%s", d->name ? d->name : "", d->secret ? d->secret : "",
                     d->rights.p ? d->rights.p : "");
    if (!d->name || !d->secret)
        option_error(e, d->where, "a key needs a name, and hash or secret_file");
    else if (!is_name(d->name, strlen(d->name)))
        option_error(e, d->where, "a key's name is 1 to 64 letters, digits, '_', '.' and '-'");
    else if (strchr(d->secret, ' '))
        option_error(e, d->where, "a secret with a blank cannot stand in a header");
    else
        add_draft(d, line.p, c, e);
    if (line.p)
        crypto_cleanse(line.p, line.n);
    bytes_buf_deinit(&line);
    bytes_buf_deinit(&d->rights);
    free(d->name);
    free(d->secret_file);
    crypto_cleanse_free(d->secret);
    d->is_open = false;
}

/* ---- for people ---- */

static void write_words(const char *label, const struct config_words *w, struct bytes_buf *out)
{
    for (size_t i = 0; i < w->n; i++)
        bytes_buf_printf(out, "%s%s", i ? ", " : label, w->v[i]);
    if (w->n)
        bytes_buf_add_char(out, ']');
}

void config_keys_write(const struct config *c, struct bytes_buf *out)
{
    for (size_t i = 0; i < c->n_keys; i++) {
        const struct config_key *k = &c->keys[i];
        const char *between = "";
        bytes_buf_printf(out, "%s  - {name: %s, scopes: [", i ? "" : "keys:\n", *k->name ? k->name : "\"\"");
        for (size_t j = 0; j < ARRAY_LEN(scopes); j++)
            if (k->scopes & scopes[j].bit) {
                bytes_buf_printf(out, "%s%s", between, scopes[j].name);
                between = ", ";
            }
        bytes_buf_add_char(out, ']');
        write_words(", senders: [", &k->senders, out);
        write_words(", recipients: [", &k->recipients, out);
        write_words(", relays: [", &k->relays, out);
        if (k->rate)
            bytes_buf_printf(out, ", rate: %u/%us", k->rate, (unsigned)(k->rate_ms / 1000));
        bytes_buf_add_str(out, "}\n");
    }
}

void config_key_id(const struct config_key *k, char out[CONFIG_KEY_ID_SIZE])
{
    for (size_t i = 0; i < 4; i++)
        snprintf(out + 2 * i, 3, "%02x", k->digest[i]);
}

static bool is_same_words(const struct config_words *a, const struct config_words *b)
{
    for (size_t i = 0; i < a->n && i < b->n; i++)
        if (strcmp(a->v[i], b->v[i]) != 0)
            return false;
    return a->n == b->n;
}

static bool has_same_rights(const struct config_key *a, const struct config_key *b)
{
    return strcmp(a->name, b->name) == 0 && is_same_words(&a->senders, &b->senders) &&
           is_same_words(&a->recipients, &b->recipients) && is_same_words(&a->relays, &b->relays) &&
           a->scopes == b->scopes && a->rate == b->rate && a->rate_ms == b->rate_ms;
}

static const struct config_key *find_digest(const struct config *c, const struct config_key *k)
{
    for (size_t i = 0; i < c->n_keys; i++)
        if (memcmp(c->keys[i].digest, k->digest, sizeof(k->digest)) == 0)
            return &c->keys[i];
    return NULL;
}

void config_keys_list(const struct config *a, const struct config *b, bool changed, char out[512])
{
    size_t n = 0;

    out[0] = '\0';
    for (size_t i = 0; i < a->n_keys && n < 400; i++) {
        const struct config_key *k = &a->keys[i], *other = find_digest(b, k);
        char id[CONFIG_KEY_ID_SIZE];
        if (changed ? !other || has_same_rights(k, other) : other != NULL)
            continue;
        config_key_id(k, id);
        n += (size_t)snprintf(out + n, 512 - n, "%s%s%s(%s)", n ? ", " : "", k->name, *k->name ? " " : "", id);
    }
    if (n >= 400)
        snprintf(out + n, 512 - n, ", ...");
}

static void write_hex(struct bytes_buf *out, const unsigned char p[32])
{
    for (size_t i = 0; i < 32; i++)
        bytes_buf_printf(out, "%02x", p[i]);
}

int config_key_new(const char *name, struct bytes_buf *secret_out, struct bytes_buf *line_out)
{
    unsigned char random[32], digest[32];

    if (!is_name(name, strlen(name)))
        return -1;
    crypto_random(random, sizeof(random));
    bytes_buf_add_str(secret_out, "mh_");   /* so that scanners for leaked secrets find it */
    write_hex(secret_out, random);
    crypto_cleanse(random, sizeof(random));
    crypto_sha256(bytes_buf_view(secret_out), digest);
    bytes_buf_printf(line_out, "%s:" HASH_PREFIX, name);
    write_hex(line_out, digest);
    return secret_out->failed || line_out->failed ? -1 : 0;
}
