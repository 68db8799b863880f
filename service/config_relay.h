#ifndef SERVICE_CONFIG_RELAY_H
#define SERVICE_CONFIG_RELAY_H
/* A relay's settings: takes them up by name, then judges them as a whole and fills what the engine reads. */
#include "service/option.h"

struct config_relay *config_relay_get(struct config *c, const char *name);      /* NULL: none of that name */
/* Appends one with all defaults; earlier pointers into c->relays are no longer valid. NULL and told when it cannot. */
struct config_relay *config_relay_add(struct config *c, const char *name, const char *where,
                                      struct config_errors *errors);
/* When all sources have spoken: URL, secrets, time caps; then r->c is ready. */
void config_relay_finish(struct config_relay *r, struct config_errors *errors);
char *config_relay_stamp_files(const struct config_relay *r) MUST_CHECK;        /* ca_file and crl_file, now */
void config_relay_deinit(struct config_relay *r);

/* A file with one secret: a line break at its end is cut; empty, holding control characters (but line breaks when
 * `lines`) or over 64 KiB is a mistake. Owned; NULL and told. */
char *config_relay_read_secret(const char *path, bool lines, const char *where,
                               struct config_errors *errors) MUST_CHECK;
#endif
