#ifndef API_HTTP_LOBBY_H
#define API_HTTP_LOBBY_H
/* Where a connection waits until its client has said something: it costs a small struct there, and no buffer and no TLS
 * session. Its first bytes tell whether it is for us at all. For http.c; everything is for the loop's own thread. */
#include "smtp/loop.h"

struct http_lobby;
struct sockaddr_storage;

enum http_speech {                      /* what the first bytes are */
    HTTP_SPEECH_HTTP,                   /* or may yet become it */
    HTTP_SPEECH_TLS,
    HTTP_SPEECH_HTTP2,                  /* with prior knowledge (RFC 9113 §3.4) */
    HTTP_SPEECH_PROXY,                  /* the PROXY protocol, either version */
    HTTP_SPEECH_SMTP,
    HTTP_SPEECH_SSH,
    HTTP_SPEECH_SOCKS,
    HTTP_SPEECH_OTHER,
};
enum http_speech http_lobby_speech(struct bytes_view first);    /* pure */
const char *http_lobby_speech_name(enum http_speech speech);    /* as a sentence has it: "TLS", "something else" */

struct http_lobby_guest {
    int fd;
    const struct sockaddr_storage *address;     /* of address_n bytes; valid during the call */
    unsigned address_n;
    uint64_t since;                     /* ms: when it came */
};

struct http_lobby_params {
    struct loop *loop;
    uint32_t wait_ms;                   /* for the first byte */
    void *ctx;
    /* It has spoken; nothing was read. Takes fd over. */
    void (*on_speech)(void *ctx, const struct http_lobby_guest *g, enum http_speech speech);
    /* It left, said nothing in time or was sent away: fd is closed. */
    void (*on_gone)(void *ctx, const struct http_lobby_guest *g);
};
struct http_lobby *http_lobby_new(const struct http_lobby_params *p) MUST_CHECK;
void http_lobby_free(struct http_lobby *l);                     /* sends all away */
/* Takes fd over; may call either callback at once. */
void http_lobby_enter(struct http_lobby *l, int fd, const struct sockaddr_storage *address, unsigned n);
uint64_t http_lobby_oldest(const struct http_lobby *l);         /* ms: since when it waits; UINT64_MAX: nobody does */
void http_lobby_drop_oldest(struct http_lobby *l);              /* there is one */
#endif
