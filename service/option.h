#ifndef SERVICE_OPTION_H
#define SERVICE_OPTION_H
/* One row of the table of settings (config_table.h) at work: its names, reading a value, writing it back. */
#include "service/config.h"

enum option_type { OPTION_TEXT, OPTION_WORD, OPTION_BOOL, OPTION_UINT, OPTION_SIZE, OPTION_MILLIS, OPTION_LIST };

/* SECRET: never shown. URL: shown without user and password. FILE: must be readable. LISTEN, PINS: form is checked.
 * RESTART: a reload does not change it. */
enum option_flag {
    OPTION_SECRET = 1,
    OPTION_URL = 2,
    OPTION_FILE = 4,
    OPTION_LISTEN = 8,
    OPTION_PINS = 16,
    OPTION_RESTART = 32,
};

struct option_row {
    const char *name;
    enum option_type type;
    size_t offset, count_offset;        /* into struct config or struct config_relay */
    const char *def;                    /* NULL: not set */
    uint64_t min, max;
    const char *words;                  /* "auto|json|text" */
    unsigned flags;
    const char *help;
};

struct option_table {
    const struct option_row *rows;
    size_t n;
    const char *env_prefix, *flag_prefix;       /* "MAILHATCH_RELAY_", "--relay-" */
};
extern const struct option_table option_top, option_relay;

enum option_rank { OPTION_FROM_DEFAULT, OPTION_FROM_URL, OPTION_FROM_FILE, OPTION_FROM_ENV, OPTION_FROM_COMMAND_LINE };

struct option_source {
    enum option_rank rank;
    char *where; /* "mailhatch.yaml:3", "MAILHATCH_LISTEN", "--listen"; owned, NULL for the default */
};

struct option_value {
    const char *const *items;           /* one, or a list's */
    size_t n;
    bool is_list;                       /* false: a list option splits items[0] at its commas */
    enum option_rank rank;
    const char *where;
};

const struct option_row *option_find(const struct option_table *t, const char *name);
const struct option_row *option_find_env(const struct option_table *t, const char *variable);
const struct option_row *option_find_flag(const struct option_table *t, struct bytes_view flag); /* "--max-body" */
void option_env_name(const struct option_table *t, const struct option_row *row, char out[80]);
void option_flag_name(const struct option_table *t, const struct option_row *row, char out[80]);

/* Reads, checks and stores; a mistake is told in errors and changes nothing. */
void option_set(const struct option_table *t, const struct option_row *row, void *base, struct option_source *sources,
                const struct option_value *v, struct config_errors *errors);
void option_set_defaults(const struct option_table *t, void *base);
void option_deinit(const struct option_table *t, void *base, struct option_source *sources);
/* As it would be written in the file; secrets as "(set, not shown)"; nothing when not set. */
void option_write_value(const struct option_row *row, const void *base, struct bytes_buf *out);
bool option_is_equal(const struct option_row *row, const void *base, const void *other);
enum option_rank option_rank_of(const struct option_table *t, const char *name, const struct option_source *sources);

/* "Did you mean": the nearest candidate by spelling so far is in name; empty when none is near. */
enum option_form { OPTION_AS_KEY, OPTION_AS_ENV, OPTION_AS_FLAG };
struct option_guess {
    const char *word;
    size_t best;
    char name[80];
};
void option_guess_start(struct option_guess *g, const char *word);
void option_guess_try(struct option_guess *g, const char *candidate);
void option_guess_table(struct option_guess *g, const struct option_table *t, enum option_form form);

void option_error(struct config_errors *e, const char *where, const char *fmt, ...) PRINTF_LIKE(3, 4);
void option_warn(struct config_errors *e, const char *where, const char *fmt, ...) PRINTF_LIKE(3, 4);
#endif
