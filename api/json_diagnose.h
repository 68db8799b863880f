#ifndef API_JSON_DIAGNOSE_H
#define API_JSON_DIAGNOSE_H
/* The body of POST /v1/relays/{name}/diagnose. */
#include "api/json_mail.h"

struct json_diagnose {
    bool send, tls_versions, all_ports;
};

/* Takes `body` (a block or from malloc; NULL with n 0: nothing is wished) over. *out as for a mail: out->mail has the
 * wished sender and the one recipient, and nothing else. */
void json_diagnose_read(char *body, size_t n, const struct json_mail_params *p, struct json_diagnose *wish_out,
                        struct json_mail_result *out);
#endif
