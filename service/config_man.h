#ifndef SERVICE_CONFIG_MAN_H
#define SERVICE_CONFIG_MAN_H
/* The manual pages, in mdoc(7), and the shells' completions, from the tables of settings and of commands. */
#include "smtp/bytes.h"

void config_write_man8(struct bytes_buf *out);          /* deploy/man/mailhatch.8 */
void config_write_man5(struct bytes_buf *out);          /* deploy/man/mailhatch.conf.5 */
void config_write_bash(struct bytes_buf *out);          /* deploy/completion/mailhatch.bash */
void config_write_zsh(struct bytes_buf *out);           /* deploy/completion/_mailhatch */
#endif
