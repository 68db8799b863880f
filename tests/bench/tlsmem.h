#ifndef TLSMEM_H
#define TLSMEM_H
/* For the rig's own programs: a byte buffer, and a BIO that reads from memory and appends to such a buffer. */
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <stdlib.h>
#include <string.h>

struct buf {                            /* live bytes are p[off..n) */
    char *p;
    size_t n, off, cap;
};

static inline void buf_add(struct buf *b, const void *p, size_t n)
{
    if (b->off == b->n)
        b->off = b->n = 0;
    if (b->n + n > b->cap) {
        size_t cap = b->cap ? b->cap : 1024;

        while (cap < b->n + n)
            cap *= 2;
        b->p = realloc(b->p, cap);
        if (!b->p)
            abort();
        b->cap = cap;
    }
    if (n)
        memcpy(b->p + b->n, p, n);
    b->n += n;
}

struct tlsmem {
    const char *in;
    size_t inlen;
    struct buf *out;
};

static inline int tm_read(BIO *bio, char *p, int n)
{
    struct tlsmem *t = BIO_get_data(bio);
    size_t k = t->inlen < (size_t)n ? t->inlen : (size_t)n;

    BIO_clear_retry_flags(bio);
    if (!k) {
        BIO_set_retry_read(bio);
        return -1;
    }
    memcpy(p, t->in, k);
    t->in += k;
    t->inlen -= k;
    return (int)k;
}

static inline int tm_write(BIO *bio, const char *p, int n)
{
    struct tlsmem *t = BIO_get_data(bio);

    BIO_clear_retry_flags(bio);
    buf_add(t->out, p, (size_t)n);
    return n;
}

static inline long tm_ctrl(BIO *bio, int command, long number, void *pointer)
{
    (void)bio;
    (void)number;
    (void)pointer;
    return command == BIO_CTRL_FLUSH || command == BIO_CTRL_DUP;
}

static inline int tm_create(BIO *bio)
{
    BIO_set_init(bio, 1);
    return 1;
}

static inline BIO_METHOD *tm_method(void)
{
    static BIO_METHOD *method;

    if (!method) {
        method = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "tlsmem");
        BIO_meth_set_read(method, tm_read);
        BIO_meth_set_write(method, tm_write);
        BIO_meth_set_ctrl(method, tm_ctrl);
        BIO_meth_set_create(method, tm_create);
    }
    return method;
}

static inline void tm_attach(SSL *ssl, struct tlsmem *t)
{
    BIO *bio = BIO_new(tm_method());

    BIO_set_data(bio, t);
    SSL_set_bio(ssl, bio, bio);
}
#endif
