#include "api/answer.h"
#include "api/catalogue.h"
#include "api/routes.h"

#include <string.h>

/* GET /v1/errors and /v1/errors/{code}: the catalogue; a problem's `type` leads here. */

void errors_list(struct hall *h, struct http_request *r)
{
    struct bytes_buf json;

    (void)h;
    bytes_buf_init(&json, 0);
    catalogue_write_all(&json);
    answer_json(r, 200, &json);
}

void errors_get(struct hall *h, struct http_request *r)
{
    enum outcome_code code;
    struct bytes_buf json;
    char name[64];

    (void)h;
    if (r->argument.n < sizeof(name)) {
        memcpy(name, r->argument.p, r->argument.n);
        name[r->argument.n] = '\0';
        if (outcome_code_from_name(name, &code) && code != OUTCOME_SENT) {
            bytes_buf_init(&json, 0);
            catalogue_write(code, &json);
            answer_json(r, 200, &json);
            return;
        }
    }
    answer_refusal(r, OUTCOME_NOT_FOUND, "There is no error code of this name; GET /v1/errors lists them.");
}
