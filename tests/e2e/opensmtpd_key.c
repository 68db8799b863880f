#include <dlfcn.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <stdio.h>

/* Preloaded into OpenSMTPD 6.8 (tests only): it keeps its private key in a process of its own, behind an engine
 * that OpenSSL 3 no longer asks, so every handshake fails. Here each process reads the key itself, before it changes
 * its root. */

static EVP_PKEY *key;

__attribute__((constructor)) static void read_key(void)
{
    FILE *f = fopen("/etc/rsa.key", "r");

    if (!f)
        return;
    key = PEM_read_PrivateKey(f, NULL, NULL, NULL);
    fclose(f);
}

int SSL_CTX_use_PrivateKey(SSL_CTX *ctx, EVP_PKEY *theirs)
{
    static int (*real)(SSL_CTX *, EVP_PKEY *);

    if (!real)
        *(void **)&real = dlsym(RTLD_NEXT, "SSL_CTX_use_PrivateKey");
    return real(ctx, key ? key : theirs);
}
