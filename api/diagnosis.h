#ifndef API_DIAGNOSIS_H
#define API_DIAGNOSIS_H
/* A diagnosis (smtp/diagnose.h) for people and machines: as JSON and back, the hint for a step that failed, the
 * configuration that it suggests, and the differences between two of them. */
#include "smtp/diagnose.h"

/* How the relay was configured: a suggestion keeps what it does not change. All borrowed. */
struct diagnosis_setup {
    const struct relay_config *relay;   /* NULL: nothing is kept */
    const char *password_file;          /* NULL: the password is in no file, or nobody knows in which */
    const char *password_from;          /* else the setting it is in: "MAILHATCH_RELAY_PASSWORD"; or NULL */
};

/* The report: {"relay":…,"steps":[…],"findings":[…],"facts":{…},"conclusion":…,"suggested_config":{…}}. */
void diagnosis_write(const struct diagnosis *d, const struct diagnosis_setup *setup, struct bytes_buf *out);
/* A saved report back into its facts, as far as diagnosis_compare looks at them. json (from malloc) is taken over.
 * -1: *why_out (static) says what it is not. */
int diagnosis_read(char *json, size_t n, struct diagnosis *d, const char **why_out) MUST_CHECK;

/* The one thing to do first about a step that failed, by the hints of the catalogue; nothing when it did not. */
void diagnosis_write_hint(const struct diagnosis *d, const struct diagnose_step *step, struct bytes_buf *out);

/* One sentence for the cause and one for what to do first, or that it works. */
void diagnosis_write_conclusion(const struct diagnosis *d, struct bytes_buf *out);

/* Something can be suggested: it is known to work, or only the login is missing. */
bool diagnosis_has_suggestion(const struct diagnosis *d);
const char *diagnosis_why(const struct diagnosis *d);           /* what it changes and how that is known */
/* The suggestion as lines of a configuration file, or of an environment (only for the relay "default", else nothing).
 * Never a password: its file, or where it stays. */
void diagnosis_write_yaml(const struct diagnosis *d, const struct diagnosis_setup *setup, struct bytes_buf *out);
void diagnosis_write_env(const struct diagnosis *d, const struct diagnosis_setup *setup, struct bytes_buf *out);
/* Where the suggestion wants facts.chain.anchor_pem to be: the value of ca_file. */
void diagnosis_write_ca_file(const struct diagnosis *d, struct bytes_buf *out);

/* Into a report that is written: the lines as its last member, "differences":[…]. */
void diagnosis_add_differences(struct bytes_buf *report, const char *lines);

/* One line for each difference in what was found, "there" being the other report; and what it means where that is
 * known. Returns how many. */
unsigned diagnosis_compare(const struct diagnosis *there, const struct diagnosis *here, const char *there_name,
                           const char *here_name, struct bytes_buf *out);
#endif
