#ifndef API_ANSWER_H
#define API_ANSWER_H
/* Answers to HTTP requests, made of JSON texts and problem objects. */
#include "api/http.h"
#include "api/problem.h"

void answer_json(struct http_request *r, int status, struct bytes_buf *json);   /* takes the text out of json */
void answer_problem(struct http_request *r, const struct problem *p);           /* request_id is filled in */
/* The same in two parts, for who has more to say in it: *a has status and headers, text the whole object. */
void answer_problem_begin(struct http_request *r, const struct problem *p, struct http_answer *a,
                          struct bytes_buf *text);
void answer_problem_end(struct http_request *r, struct http_answer *a, struct bytes_buf *text);
/* A refusal of the request itself. detail: a sentence; NULL: the catalogue's meaning. */
void answer_refusal(struct http_request *r, enum outcome_code code, const char *detail);
void answer_refusal_with(struct http_request *r, enum outcome_code code, const char *detail, const char *hint);
void answer_rate_limited(struct http_request *r, uint32_t retry_after, const char *detail);    /* 429 */
void answer_not_allowed(struct http_request *r, const char *allow);             /* 405 with Allow */
void answer_result(struct http_request *r, const struct send_result *result);   /* what became of a mail */
#endif
