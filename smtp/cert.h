#ifndef SMTP_CERT_H
#define SMTP_CERT_H
/* A throw-away CA in memory and a server certificate it signed, for the sandbox: P-256, SAN localhost, 127.0.0.1,
 * ::1, valid for a year. */
struct cert_set {
    char *ca_pem, *chain_pem, *key_pem;                                 /* owned */
};
int cert_set_make(struct cert_set *out);                                /* 0 or -1 */
void cert_set_deinit(struct cert_set *c);
#endif
