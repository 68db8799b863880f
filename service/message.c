#include "service/message.h"

#include "smtp/block.h"
#include "smtp/crypto.h"
#include "smtp/engine.h"
#include "smtp/mime.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

/* A mail made ready: its id, its envelope, and its composed form. */

#define RCPT_EXTRA 250                  /* its address, twice, and its part of the answer */

/* FNV-1a; only to make the comparison of a thousand recipients with each other cheap. */
static uint32_t hash(const char *s)
{
    uint32_t h = 2166136261u;

    for (; *s; s++)
        h = (h ^ (unsigned char)*s) * 16777619u;
    return h;
}

/* Local parts are case-sensitive (RFC 5321 §2.4); domains are lower case already. */
static void add_rcpts(struct message *msg, const struct mail_address_list *list, uint32_t *hashes)
{
    for (size_t i = 0; i < list->n; i++) {
        const char *email = list->v[i].email;
        uint32_t h = hash(email);
        size_t k = 0;
        while (k < msg->n_rcpts && (hashes[k] != h || strcmp(msg->rcpts[k], email) != 0))
            k++;
        if (k < msg->n_rcpts)
            continue;
        hashes[k] = h;
        msg->rcpts[k] = email;
        msg->n_rcpts++;
    }
}

static int compose(struct message *msg)
{
    struct mime_params p = {.id = msg->id, .date_unix = (int64_t)time(NULL)};
    struct mime_message composed;

    if (mime_compose(msg->mail, &p, &composed) != 0)
        return -1;
    msg->content = composed.bytes;
    msg->content_n = composed.n;
    msg->message_id = composed.message_id;
    msg->needs_8bit = composed.needs_8bit;
    msg->needs_utf8 = composed.needs_utf8;
    mail_drop_content(msg->mail);
    return 0;
}

struct message *message_new(struct mail *m, size_t relay)
{
    size_t most = m->envelope_to.n ? m->envelope_to.n : m->to.n + m->cc.n + m->bcc.n;
    struct message *msg = calloc(1, sizeof(*msg) + most * sizeof(msg->rcpts[0]));
    uint32_t *hashes = calloc(most + 1, sizeof(*hashes));

    if (!msg || !hashes) {
        free(hashes);
        free(msg);
        mail_free(m);
        return NULL;
    }
    msg->mail = m;
    msg->relay = relay;
    msg->from = m->envelope_from.email ? m->envelope_from.email : m->from.email;
    crypto_uuid7(msg->id);
    if (compose(msg) != 0) {
        free(hashes);
        message_free(msg);
        return NULL;
    }
    if (m->envelope_to.n) {
        add_rcpts(msg, &m->envelope_to, hashes);
    } else {
        add_rcpts(msg, &m->to, hashes);
        add_rcpts(msg, &m->cc, hashes);
        add_rcpts(msg, &m->bcc, hashes);
    }
    free(hashes);
    return msg;
}

size_t message_held(const struct message *m)
{
    return m->content_n + m->n_rcpts * (sizeof(struct smtp_outcome) + RCPT_EXTRA);
}

void message_free(struct message *msg)
{
    if (!msg)
        return;
    mail_free(msg->mail);
    block_free(msg->content);
    free(msg->message_id);
    relay_settings_unref(msg->settings);
    free(msg);
}
