#ifndef API_FAILED_SEND_H
#define API_FAILED_SEND_H
/* "diagnose": true: the answer to a mail that its relay, or the way to it, has failed has a diagnosis in it. */
#include "service/service.h"

struct hall;
struct http_request;

/* Answers now, or once the relay was looked at; not for a mail that was sent. */
void failed_send_answer(struct hall *h, struct http_request *r, const struct send_result *result);
#endif
