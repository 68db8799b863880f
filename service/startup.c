#include "service/startup.h"

#include "service/log.h"

#include <fcntl.h>
#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

/* What the commands do before their own work: descriptors, settings, limits, sandbox. */

#define STARTUP_FLUSH_MS 1000

int startup_descriptors(void)
{
    for (int wanted = STDIN_FILENO; wanted <= STDERR_FILENO; wanted++) {
        int fd;
        if (fcntl(wanted, F_GETFD) >= 0)
            continue;
        fd = open("/dev/null", O_RDWR);         /* the lowest number that is free, which is this one */
        if (fd < 0)
            fd = open("/", O_RDONLY | O_DIRECTORY);     /* a chroot without /dev: it takes and gives nothing either */
        if (fd != wanted)
            return -1;
    }
    return 0;
}

static void log_warnings(struct bytes_buf *warnings)
{
    if (!warnings->n)
        return;
    for (char *p = warnings->p, *end; *p; p = end + 1) {
        end = strchr(p, '\n');
        *end = '\0';
        log_event(LOG_WARN_LEVEL, "config", p, LOG_S("hint", "mailhatch check-config shows what is in force"));
    }
}

void startup_log(const struct config *c, bool quiet, struct bytes_buf *warnings)
{
    if (log_init(c->log_format, quiet && config_is_default(c, "log_level") ? "error" : c->log_level,
                 c->log_addresses) != 0)
        unreachable("a log format or level that the table allows");
    log_warnings(warnings);
}

struct config *startup_load(int argc, char **argv, bool quiet)
{
    struct config_errors errors;
    struct config *c;

    config_errors_init(&errors);
    if (config_load(argc, argv, &c, &errors) != 0) {
        fprintf(stderr, "mailhatch cannot start:\n%s", bytes_buf_view(&errors.text).p);
        config_errors_deinit(&errors);
        return NULL;
    }
    log_start();
    startup_log(c, quiet, &errors.warnings);
    if (quiet)                          /* a command, which says the rest on stderr itself */
        log_flush(STARTUP_FLUSH_MS);
    config_errors_deinit(&errors);
    return c;
}

/* A mail of 20 KB made malloc's heap grow and shrink again, two system calls and as many pages to fetch as it is large.
 * Some megabytes stay with us; what is larger still are blocks (smtp/block.h). */
void startup_memory(void)
{
    mallopt(M_TRIM_THRESHOLD, 4 * 1024 * 1024);
    mallopt(M_TOP_PAD, 256 * 1024);
    mallopt(M_MMAP_THRESHOLD, 1024 * 1024);
}

void startup_limits(void)
{
    struct rlimit none = {0, 0}, files;

    signal(SIGPIPE, SIG_IGN);
    log_write_through();
    setrlimit(RLIMIT_CORE, &none);
#ifndef __SANITIZE_ADDRESS__                            /* whose leak check must be able to trace its own process */
    prctl(PR_SET_DUMPABLE, 0);          /* a core pattern that is a pipe does not ask RLIMIT_CORE */
#endif
    if (getrlimit(RLIMIT_NOFILE, &files) == 0 && files.rlim_cur < files.rlim_max) {
        files.rlim_cur = files.rlim_max;
        setrlimit(RLIMIT_NOFILE, &files);
    }
}

int startup_add_sandbox(struct config *c, const struct sandbox *s)
{
    return config_add_relay(c, "sandbox", "127.0.0.1", sandbox_port(s), sandbox_user(s), sandbox_password(s),
                            sandbox_ca_pem(s));
}

int startup_sandbox(struct config *c, struct sandbox **out)
{
    struct sandbox *s;
    char err[200];

    *out = NULL;
    if (!c->sandbox)
        return 0;
    s = sandbox_start(err);
    if (!s) {
        log_event(LOG_ERROR_LEVEL, "start", "the sandbox relay cannot be started", LOG_S("why", err));
        return -1;
    }
    if (startup_add_sandbox(c, s) != 0) {
        sandbox_stop(s);
        return -1;
    }
    log_event(LOG_WARN_LEVEL, "sandbox", "the sandbox relay keeps mails in memory and delivers nothing",
              LOG_N("port", sandbox_port(s)));
    *out = s;
    return 0;
}
