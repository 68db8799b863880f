#ifndef API_JSON_READER_H
#define API_JSON_READER_H
/* What the readers of fields share: where they are, and the problems found so far. Only json_*.c includes this. */
#include "api/json_mail.h"

#include <cjson/cJSON.h>

struct json_reader {
    const struct json_mail_params *params;
    struct json_mail_result *out;
    struct bytes_buf not_yet;           /* names of fields of the contract that are not built */
    bool no_memory;
};

PRINTF_LIKE(4, 5)
void json_reader_problem(struct json_reader *r, const char *pointer, const char *code, const char *fmt, ...);
/* A string without controls but (text) TAB, CR and LF; NULL with a problem noted otherwise. Lent from the item. */
const char *json_reader_string(struct json_reader *r, const cJSON *item, const char *pointer, bool multi_line);
void json_reader_own_headers(struct json_reader *r, const cJSON *item);
#endif
