#ifndef SMTP_MAIL_H
#define SMTP_MAIL_H
/* One e-mail as its sender means it: content and envelope, before it is composed. Plain data, shared by all rooms.
 * All strings are UTF-8, NUL-terminated, without CR, LF, NUL or other controls (text, html and calendar may hold line
 * breaks and tabs). Contents are views into blocks that the mail keeps: a body of 30 MB is read where it arrived. */
#include "smtp/bytes.h"

struct mail_address {
    /* checked "local@domain"; the domain as A-labels, lower case; quoted local part as on the wire */
    char *email;
    char *name;                         /* display name, or NULL */
    bool utf8;                          /* the local part is not ASCII: needs SMTPUTF8 (RFC 6531) */
};

struct mail_address_list {
    struct mail_address *v;
    size_t n;
};

struct mail_pair {
    char *name, *value;                 /* value NULL: a tag that is only a word */
};

struct mail_pair_list {
    struct mail_pair *v;
    size_t n;
};

struct mail_attachment {
    char *filename;                     /* NULL: none */
    char *content_type;                 /* checked: "type/subtype" with or without parameters; NULL: by the name */
    char *content_id;                   /* without angle brackets, msg-id characters only; or NULL */
    bool is_inline;                     /* Content-Disposition: inline */
    /* content is base64 in its canonical form (standard alphabet, padded, no line breaks), which the composer may
     * decode where it stands; else the octets themselves */
    bool is_base64;
    struct bytes_view content;
};

enum mail_dsn_ret { MAIL_RET_UNSET, MAIL_RET_FULL, MAIL_RET_HDRS };
enum { MAIL_NOTIFY_NEVER = 1, MAIL_NOTIFY_SUCCESS = 2, MAIL_NOTIFY_FAILURE = 4, MAIL_NOTIFY_DELAY = 8 };

/* What the sender wants when the mail fails for the moment; UNSET: what the setting of that name says. */
enum mail_on_temporary_failure { MAIL_ON_TEMPORARY_UNSET, MAIL_ON_TEMPORARY_FAIL, MAIL_ON_TEMPORARY_RETRY };

struct mail_dsn {                       /* RFC 3461: delivery status notifications asked for */
    bool wanted;                        /* the relay must offer DSN */
    enum mail_dsn_ret ret;
    unsigned notify;                    /* MAIL_NOTIFY_…; 0: the relay's default */
    char *envid;                        /* printable ASCII, at most 100; or NULL */
};

struct mail {
    struct mail_address from;           /* from.email NULL: not set */
    struct mail_address_list to, cc, bcc, reply_to;
    char *subject;                      /* NULL when absent; "" is present and empty */
    struct bytes_view text, html;       /* p NULL when absent; kept */
    struct mail_attachment *attachments;
    size_t n_attachments;
    char *calendar_method;              /* upper-case token: "REQUEST"; NULL: no calendar */
    struct bytes_view calendar;         /* iCalendar text (RFC 5545) */
    /* RFC 2369, RFC 8058: a URI in printable ASCII without "<>" and space, or NULL */
    char *unsubscribe_url, *unsubscribe_mailto;
    /* given by the caller, with its angle brackets; NULL: made from id and From's domain */
    char *message_id;
    struct mail_pair_list headers;      /* the caller's own, in his order; never one that mailhatch owns */
    struct mail_pair_list tags, metadata;       /* not in the mail */
    char *relay;                        /* name, or NULL for the default */
    /* SMTP envelope where it differs from the header. from: email NULL is From's, "" is <>. to: n 0 is to, cc, bcc */
    struct mail_address envelope_from;
    struct mail_address_list envelope_to;
    struct mail_dsn dsn;
    bool require_tls;                   /* RFC 8689 */
    bool diagnose;                      /* a failure's answer is to have a diagnosis of the relay; not in the mail */
    bool partial_reject;                /* partial:"reject": nothing goes out when one recipient is refused */
    enum mail_on_temporary_failure on_temporary_failure;
    /* A finished message (RFC 5322) that raw_check has passed; then only the envelope, message_id, relay, tags,
     * metadata and what stands between them here count. p NULL: to be composed. */
    struct bytes_view raw;
    /* What raw_read found in it (struct raw_facts); message_id is set when it has its own. */
    bool raw_has_date, raw_is_8bit, raw_is_utf8_header;

    void **keeps;                       /* blocks that contents point into */
    size_t n_keeps;
};

struct mail *mail_new(void) MUST_CHECK;
void mail_free(struct mail *m);
/* Frees what a composed mail has in it (text, html, attachments, calendar, raw, the names of recipients). Addresses and
 * so on stay, but those of recipients move. */
void mail_drop_content(struct mail *m);
/* `block` (smtp/block.h, or from malloc) is the mail's, freed with its contents. -1 without memory: it is freed. */
int mail_keep(struct mail *m, void *block) MUST_CHECK;
/* A kept copy, NUL-terminated behind its end; p NULL without memory. */
struct bytes_view mail_keep_copy(struct mail *m, struct bytes_view v) MUST_CHECK;

/* These append, and take the strings of their argument over in every case. 0, or -1 without memory. */
int mail_address_list_add(struct mail_address_list *list, struct mail_address a) MUST_CHECK;
int mail_pair_list_add(struct mail_pair_list *list, struct mail_pair pair) MUST_CHECK;
int mail_add_attachment(struct mail *m, struct mail_attachment a) MUST_CHECK;
int mail_add_header(struct mail *m, const char *name, const char *value) MUST_CHECK;   /* copies */
void mail_address_deinit(struct mail_address *a);
void mail_address_list_deinit(struct mail_address_list *list);
void mail_attachment_deinit(struct mail_attachment *a);
#endif
