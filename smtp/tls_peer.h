#ifndef SMTP_TLS_PEER_H
#define SMTP_TLS_PEER_H
/* Reads the peer's certificates out of a connection. For tls.c only. */
#include "smtp/tls_chain.h"

struct ssl_st;

void tls_peer_read_chain(struct ssl_st *ssl, const char *host, bool host_is_ip, struct tls_chain *out);
#endif
