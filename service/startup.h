#ifndef SERVICE_STARTUP_H
#define SERVICE_STARTUP_H
/* What the commands do before their own work: descriptors, settings, limits, sandbox. */
#include "service/config.h"
#include "smtp/sandbox.h"

/* Before anything else: those of 0, 1 and 2 that are closed lead to /dev/null, so that no socket gets their number and
 * with it what is meant for stderr. -1: they cannot be opened. */
int startup_descriptors(void) MUST_CHECK;
/* Loads the settings and starts the log; mistakes are told on stderr. NULL: leave with status 2. `quiet`: the log
 * shows errors only, unless a level was asked for. Warnings go to the log. */
struct config *startup_load(int argc, char **argv, bool quiet) MUST_CHECK;
/* Has the log as the settings say, and writes the warnings that came with them to it. */
void startup_log(const struct config *c, bool quiet, struct bytes_buf *warnings);
void startup_memory(void);              /* how malloc keeps memory; before any thread is started */
/* No core dumps (they would hold passwords and mails), no SIGPIPE, and as many descriptors as the hard limit allows. */
void startup_limits(void);
/* When the settings ask for the sandbox: starts it and makes it the default relay. 0, *out NULL when not asked for;
 * -1 and told. */
int startup_sandbox(struct config *c, struct sandbox **out) MUST_CHECK;
int startup_add_sandbox(struct config *c, const struct sandbox *s) MUST_CHECK;  /* its relay, to other settings */
#endif
