#ifndef API_READINESS_H
#define API_READINESS_H
/* Readiness by the relay. */
#include "api/http.h"

struct hall;

void readiness_deep(struct hall *h, struct http_request *r);
#endif
