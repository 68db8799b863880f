#ifndef SERVICE_LOG_H
#define SERVICE_LOG_H
/* One line per fact on stderr, JSON or human. Any thread; never waits for stderr once log_start was called. Secrets,
 * bodies and tokens never come here; addresses are masked unless asked. */
#include "smtp/bytes.h"

enum log_level { LOG_DEBUG_LEVEL, LOG_INFO_LEVEL, LOG_WARN_LEVEL, LOG_ERROR_LEVEL };

struct log_field {
    const char *key;
    const char *str;                    /* NULL: num is meant */
    double num;
    bool if_set;                        /* an empty str is left out */
};
static inline const char *log_text(const char *s) { return s ? s : ""; }
#define LOG_S(k, v) ((struct log_field){.key = (k), .str = log_text(v)})
#define LOG_IF(k, v) ((struct log_field){.key = (k), .str = log_text(v), .if_set = true})
#define LOG_N(k, v) ((struct log_field){.key = (k), .num = (double)(v)})
/* At least one field:
 * log_event(LOG_INFO_LEVEL, "send", "mail accepted", LOG_S("id", id), LOG_N("ms", ms)) */
#define log_event(level, event, msg, ...) \
    log_write((level), (event), (msg), (const struct log_field[]){__VA_ARGS__, {.key = NULL}})

/* From now on nobody who logs waits for stderr: a thread writes the lines (service/log_writer.h). Before that, and
 * where no thread can be started, each line is written at once by whoever logs it. */
void log_start(void);
void log_write_through(void);           /* log_writer_write_through */
/* Waits until all lines are out; gives up when stderr takes nothing for stall_ms. Before words of another kind go to
 * stderr, and before the process ends. */
void log_flush(unsigned stall_ms);
uint64_t log_lines_dropped(void);                       /* since the start: stderr did not take them */
#define LOG_PLAIN_MAX 4096
void log_plain(const char *text);                       /* whole lines for people, among the log's */
int log_init(const char *format, const char *level, bool show_addresses);       /* -1: unknown word */
bool log_is_on(enum log_level level);
void log_write(enum log_level level, const char *event, const char *msg, const struct log_field *fields);
void log_mask_address(const char *email, char out[128]); /* "a***@example.com", or whole when addresses are shown */
void log_mask_text(const char *text, char out[256]);     /* a server's words: each address in it masked likewise; cut */
#endif
