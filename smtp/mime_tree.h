#ifndef SMTP_MIME_TREE_H
#define SMTP_MIME_TREE_H
/* The parts of a mail (RFC 2046): multipart/mixed > multipart/related > multipart/alternative, no deeper than the
 * content needs, each part with its own header fields and encoding. */
#include "smtp/mail.h"

struct mime_tree;

/* Chooses types, encodings and boundaries; reads every content once. Borrows from `m`, which must outlive it; `id`
 * becomes part of the boundaries. NULL without memory. */
struct mime_tree *mime_tree_new(struct mail *m, const char *id) MUST_CHECK;
void mime_tree_free(struct mime_tree *t);
size_t mime_tree_size(const struct mime_tree *t);                       /* octets that writing takes, or a few more */
/* From "Content-Type:" of the root to the end of its content. */
void mime_tree_write(struct mime_tree *t, struct bytes_buf *out);
#endif
