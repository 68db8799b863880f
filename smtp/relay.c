#include "smtp/relay.h"

/* The health of one destination: the growing delay, the circuit, and the limit a busy server asks for. */

void relay_config_init(struct relay_config *c)
{
    *c = (struct relay_config){
        .port = 587,
        .tls_mode = SMTP_TLS_STARTTLS,
        .max_sessions = 8,
        .loops = 1,
        .pipeline_depth = 1,
        .dns_ms = 5000,
        .connect_ms = 5000,
        .connect_total_ms = 15000,
        .one_flight_idle_ms = 5000,
        .idle_ms = 60000,
        .lifetime_ms = 600000,
        .timeouts = {.banner = 15000, .command = 15000, .tls = 10000, .write_stall = 30000, .final_reply = 25000},
        .one_flight_max = 64 * 1024,
    };
}

void relay_init(struct relay *r, const struct relay_config *config)
{
    *r = (struct relay){.config = config};
}

static unsigned limit_now(const struct relay *r, uint64_t now)
{
    return now < r->limit_until && r->limit < r->config->max_sessions ? r->limit : r->config->max_sessions;
}

bool relay_may_open(const struct relay *r, unsigned alive, unsigned connecting, uint64_t now, uint64_t *when_out)
{
    *when_out = UINT64_MAX;
    if (alive + connecting >= r->config->max_sessions)
        return false;
    if (alive + connecting >= limit_now(r, now)) {
        *when_out = r->limit_until;
        return false;
    }
    if (!r->failures)
        return connecting < RELAY_CONNECTING_MAX;
    if (connecting)
        return false;
    if (now < r->next_attempt_at) {
        *when_out = r->next_attempt_at;
        return false;
    }
    return true;
}

bool relay_is_circuit_open(const struct relay *r, uint64_t now)
{
    return now < r->circuit_until;
}

uint32_t relay_retry_after_s(const struct relay *r, uint64_t now)
{
    return relay_is_circuit_open(r, now) ? (uint32_t)((r->circuit_until - now + 999) / 1000) : 0;
}

void relay_on_ready(struct relay *r)
{
    r->failures = r->answered = 0;
    r->next_attempt_at = r->circuit_until = 0;
}

uint64_t relay_doubled(uint64_t first, unsigned times, uint64_t most)
{
    uint64_t ms = first;

    for (unsigned i = 0; i < times && ms < most; i++)
        ms *= 2;
    return ms < most ? ms : most;
}

/* A refused password; anything else of AUTH (not offered, temporary) locks no account. */
bool relay_is_password_refused(enum outcome_code code)
{
    return code == OUTCOME_AUTH_FAILED || code == OUTCOME_AUTH_BASIC_DISABLED ||
           code == OUTCOME_AUTH_APP_PASSWORD_REQUIRED || code == OUTCOME_AUTH_TOO_WEAK;
}

/* The relay itself took no part in it: nobody is asked too often when it is tried again soon. A port that takes the
 * connection and drops it before the greeting is a proxy's or a balancer's whose server is away. */
static bool is_unreached(const struct relay *r, const struct smtp_outcome *why)
{
    if (why->stage == STAGE_BANNER)
        return why->code == OUTCOME_CONNECTION_CLOSED && !why->reply_code;
    if (why->stage == STAGE_TLS)
        return why->code == OUTCOME_TLS_CLOSED && r->config->tls_mode == SMTP_TLS_IMPLICIT;
    return why->stage == STAGE_DNS || why->stage == STAGE_CONNECT;
}

/* How long after this failure nothing is tried. A relay that comes back is found within 5 s; one that is there and does
 * not want us is asked less and less. */
static uint64_t circuit_ms(const struct relay *r, const struct smtp_outcome *why)
{
    bool unreached = is_unreached(r, why);
    unsigned n = unreached ? r->failures : r->answered;
    unsigned times = n > RELAY_CIRCUIT_FAILURES ? n - RELAY_CIRCUIT_FAILURES : 0;

    return relay_doubled(RELAY_CIRCUIT_FIRST_MS, times,
                         unreached ? RELAY_CIRCUIT_CONNECT_MAX_MS : RELAY_CIRCUIT_MAX_MS);
}

void relay_on_refused_elsewhere(struct relay *r, const struct smtp_outcome *why, uint64_t until)
{
    r->cause = *why;
    r->failures += !r->failures;
    r->next_attempt_at = r->circuit_until = until;
}

void relay_on_failed(struct relay *r, const struct smtp_outcome *why, unsigned others, uint64_t began, uint64_t now)
{
    if (why->code == OUTCOME_RELAY_BUSY && others > 0) {
        r->limit = others;
        r->limit_until = now + RELAY_LIMIT_LOWERED_MS;
        return;
    }
    r->cause = *why;
    /* Attempts that ran side by side when the relay went away are one failure, not several in a row. */
    if (!r->failures || began > r->failed_at) {
        r->failures++;
        r->answered += !is_unreached(r, why);
    }
    r->failed_at = now;
    r->next_attempt_at = now + relay_doubled(RELAY_DELAY_FIRST_MS, r->failures - 1, RELAY_DELAY_MAX_MS);
    if (relay_is_password_refused(why->code))
        r->circuit_until = now + RELAY_CIRCUIT_AUTH_MS;
    else if (r->failures >= RELAY_CIRCUIT_FAILURES)
        r->circuit_until = now + circuit_ms(r, why);
    /* When the circuit closes half, its one attempt runs at once: the waiting is done. */
    if (r->circuit_until > now)
        r->next_attempt_at = r->circuit_until;
}

void relay_on_session_limit(struct relay *r, unsigned taken, uint64_t now)
{
    r->session_limit = taken ? taken : 1;
    r->session_limit_until = now + RELAY_SESSION_LIMIT_MS;
}

unsigned relay_mails_per_session(const struct relay *r, uint64_t now)
{
    unsigned most = r->config->mails_per_session;

    return now < r->session_limit_until && (!most || r->session_limit < most) ? r->session_limit : most;
}
