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
/* A later look at password_file. True: r has another password now. What cannot be read is told once for each change and
 * changes nothing. */
bool config_relay_refresh_password(struct config_relay *r, struct config_errors *errors);
/* ca_file and crl_file, whose contents r does not hold: true is that they differ. keep: they turned out to be of no
 * use. */
bool config_relay_refresh_files(struct config_relay *r);
void config_relay_keep_files(struct config_relay *r, const char *files);
void config_relay_deinit(struct config_relay *r);

/* A file with one secret: a line break at its end is cut; empty, holding control characters (but line breaks when
 * `lines`) or over 64 KiB is a mistake. Owned; NULL and told. */
char *config_relay_read_secret(const char *path, bool lines, const char *where,
                               struct config_errors *errors) MUST_CHECK;
#endif
