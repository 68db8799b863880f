#include "api/answer.h"
#include "api/diagnosis_runs.h"
#include "api/hall.h"
#include "api/json_out.h"
#include "api/readiness.h"
#include "api/relays.h"

/* /readyz?relay=deep: does the default relay take us? From the last diagnosis, which is made anew in the background
 * when it is old; a probe never waits for a relay. */

#define FRESH_S 60
/* A refused password is not shown every minute: accounts are locked for less. */
#define FRESH_AFTER_AUTH_S 900

static bool is_stale(const struct diagnosis_last *last)
{
    bool refused = last->code == OUTCOME_AUTH_FAILED || last->code == OUTCOME_AUTH_BASIC_DISABLED ||
                   last->code == OUTCOME_AUTH_APP_PASSWORD_REQUIRED || last->code == OUTCOME_AUTH_TOO_WEAK;

    return !last->known || last->age_s >= (refused && !last->ok ? FRESH_AFTER_AUTH_S : FRESH_S);
}

static void on_done(struct diagnosis_run *run)
{
    struct hall *h = run->ctx;

    h->checking_relay = false;
}

static void check(struct hall *h, size_t place, struct relay_settings *settings)
{
    struct diagnosis_run *run = h->checking_relay ? NULL : diagnosis_run_new();

    if (!run)
        return;
    run->place = place;
    run->settings = relay_settings_ref(settings);
    run->reply_to = h->loop;
    run->on_done = on_done;
    run->ctx = h;
    h->checking_relay = diagnosis_runs_begin(h->runs, run);
}

static void answer(struct hall *h, struct http_request *r, size_t place, const struct diagnosis_last *last)
{
    bool ready = service_is_ready(h->service);
    const char *status = !ready ? "shutting_down" : !last->known ? "checking" : last->ok ? "ready" : "relay_failed";
    struct bytes_buf out;

    bytes_buf_init(&out, 0);
    json_out_member(&out, "{\"status\":", status);
    json_out_member(&out, ",\"relay\":", service_relay_name(h->service, place));
    json_out_member(&out, ",\"code\":", last->known && !last->ok ? outcome_code_name(last->code) : NULL);
    json_out_member(&out, ",\"conclusion\":", last->known ? last->conclusion : NULL);
    relays_add_time(&out, ",\"checked_at\":", last->known ? last->at : 0);
    if (last->known)
        bytes_buf_printf(&out, ",\"age_s\":%u}", last->age_s);
    else
        bytes_buf_add_str(&out, ",\"age_s\":null}");
    answer_json(r, ready && last->known && last->ok ? 200 : 503, &out);
}

void readiness_deep(struct hall *h, struct http_request *r)
{
    struct relay_settings *settings;
    size_t place = service_find_relay(h->service, NULL, &settings);
    struct diagnosis_last last;

    if (place == SIZE_MAX) {
        answer_refusal(r, OUTCOME_NOT_FOUND, "There is no default relay.");
        return;
    }
    diagnosis_runs_get_last(h->runs, place, settings, &last);
    if (is_stale(&last) && service_is_ready(h->service))
        check(h, place, settings);
    relay_settings_unref(settings);
    answer(h, r, place, &last);
}
