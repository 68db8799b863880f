#ifndef TESTS_UNIT_JSON_CASE_H
#define TESTS_UNIT_JSON_CASE_H
/* What the tests of requests' readers share: documents with ' for ", and problems as one line. */
#include "api/json_mail.h"

/* Three recipients, and one relay, "default". */
extern const struct json_mail_params json_case_params;

/* Fails the test unless the result is whole in itself: a mail or problems, a detail, all of it UTF-8. */
void json_case_check_result(const struct json_mail_result *r);
/* n octets as they are, in a block of exactly that size, so that AddressSanitizer sees a read past the end. */
struct json_mail_result json_case_read(const char *json, size_t n) MUST_CHECK;
/* A mail with from, to, text and these fields; ' stands for ". */
struct json_mail_result json_case_read_fields(const char *fields) MUST_CHECK;
char *json_case_quoted(const char *text) MUST_CHECK;            /* a copy with " for ' */

/* "pointer code;" of each problem, in order. */
void json_case_expect(const struct json_mail_result *r, const char *what, const char *problems);
#endif
