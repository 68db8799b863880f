#ifndef API_HALL_H
#define API_HALL_H
/* What the files of the front hall share. */
#include "api/auth.h"
#include "api/http.h"
#include "api/listen.h"
#include "service/service.h"
#include "smtp/work.h"

struct api {
    struct service *service;
    struct loop *loop;
    struct work *work;                  /* for large bodies */
    bool closing;                       /* what is still being read is not sent */
    struct auth *auth;
    struct http *http;
    struct http_server *server, *admin;
    struct listen_socket listen, admin_listen;
};
#endif
