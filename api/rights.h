#ifndef API_RIGHTS_H
#define API_RIGHTS_H
/* What a key may do, judged on a request's route and on each mail. Any thread. */
#include "api/json_mail.h"

struct config_key;
struct route_row;

bool rights_has_scope(const struct config_key *k, const struct route_row *row);
/* All addresses of the mail: on a violation r->code, detail and problems (with pointers behind `prefix`) say which,
 * and false. k NULL: everything is allowed. */
bool rights_judge_mail(const struct config_key *k, const char *prefix, struct json_mail_result *r);
/* The relay that was chosen for it. */
bool rights_judge_relay(const struct config_key *k, const char *prefix, const char *relay, struct json_mail_result *r);
#endif
