#ifndef SERVICE_RELOAD_H
#define SERVICE_RELOAD_H
/* Settings while it runs: SIGHUP reads all sources anew; files with secrets are watched (smtp/watch.h). On the first
 * loop's thread. */
#include "service/config.h"

struct loop;
struct reload;
struct sandbox;
struct service;

struct reload_params {
    int argc;                           /* as config_load got them */
    char **argv;
    struct config *start;               /* what the service began with; lent for life, as all here */
    struct service *service;
    struct sandbox *sandbox;            /* NULL: none */
    struct loop *loop;
    /* Of the room above. Whether it can take these settings (-1 with a sentence), and that they are in force. */
    int (*may_take)(void *ctx, const struct config *c, char err_out[200]);
    int (*take_keys)(void *ctx, const struct config *c);        /* -1: no memory */
    void (*look_at_tls)(void *ctx);     /* the API's certificate, its key or the clients' authorities changed */
    void *ctx;
};
struct reload *reload_new(const struct reload_params *p) MUST_CHECK;    /* watches files from now on */
void reload_free(struct reload *r);     /* after reload_stop and when the loop was freed */
/* Tells in the log what became of it. Mistakes change nothing. */
void reload_run(struct reload *r);
void reload_stop(struct reload *r);     /* from now on nothing is reloaded */
const struct config *reload_config(const struct reload *r);             /* in force; until the next reload */
#endif
