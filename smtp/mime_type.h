#ifndef SMTP_MIME_TYPE_H
#define SMTP_MIME_TYPE_H
/* The media type that a file's name promises. */

/* Static; "application/octet-stream" when the extension is not known. filename may be NULL. */
const char *mime_type_of(const char *filename);
#endif
