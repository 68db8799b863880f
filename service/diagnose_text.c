#include "service/diagnose_text.h"

#include "api/diagnosis.h"

#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

/* How a diagnosis looks to a person. */

#define WIDTH_PLAIN 100
#define WIDTH_LEAST 40
#define INDENT 29                       /* of details: behind mark, name and time */

#define RED "31"
#define GREEN "32"
#define YELLOW "33"
#define GREY "90"
#define BOLD "1"

void diagnose_text_init(struct diagnose_text *t, FILE *out)
{
    const char *term = getenv("TERM"), *no_color = getenv("NO_COLOR");
    struct winsize w;

    *t = (struct diagnose_text){.out = out, .width = WIDTH_PLAIN};
    t->terminal = isatty(fileno(out)) == 1 && term && strcmp(term, "dumb") != 0;
    t->colours = t->terminal && (!no_color || !*no_color);
    if (t->terminal && ioctl(fileno(out), TIOCGWINSZ, &w) == 0 && w.ws_col >= WIDTH_LEAST)
        t->width = w.ws_col;
}

static void begin(const struct diagnose_text *t, const char *colour)
{
    if (t->colours)
        fprintf(t->out, "\033[%sm", colour);
}

static void end(const struct diagnose_text *t)
{
    if (t->colours)
        fputs("\033[0m", t->out);
}

static void coloured(const struct diagnose_text *t, const char *colour, const char *text)
{
    begin(t, colour);
    fputs(text, t->out);
    end(t);
}

/* Columns that a word takes; octets would count letters beyond ASCII twice. */
static int columns(const char *p, size_t n)
{
    int c = 0;

    for (size_t i = 0; i < n; i++)
        c += ((unsigned char)p[i] & 0xC0) != 0x80;
    return c;
}

/* `at`: the column where it begins. */
static void wrap(const struct diagnose_text *t, int at, int indent, const char *text)
{
    int column = at;

    while (*text) {
        size_t n = strcspn(text, " ");
        int c = columns(text, n);
        if (column > indent && column + 1 + c > t->width) {
            fprintf(t->out, "\n%*s", indent, "");
            column = indent;
        } else if (column > indent) {
            fputc(' ', t->out);
            column++;
        }
        fwrite(text, 1, n, t->out);
        column += c;
        text += n;
        text += *text == ' ';
    }
    fputc('\n', t->out);
}

void diagnose_text_paragraph(const struct diagnose_text *t, int indent, const char *text)
{
    fprintf(t->out, "%*s", indent, "");
    wrap(t, indent, indent, text);
}

void diagnose_text_head(const struct diagnose_text *t, const struct relay_config *c)
{
    char title[400];

    snprintf(title, sizeof(title), "%s port %u, tls %s%s%s", c->host, c->port, diagnose_mode_name(c->tls_mode),
             c->user ? ", user " : "", c->user ? c->user : "");
    coloured(t, BOLD, title);
    fputs("\n\n", t->out);
    fflush(t->out);
}

/* ---- steps ---- */

static const struct {
    const char *word, *colour;
} marks[] = {
    [DIAGNOSE_RUNNING] = {"....", GREY},
    [DIAGNOSE_OK] = {"ok", GREEN},
    [DIAGNOSE_WARN] = {"warn", YELLOW},
    [DIAGNOSE_FAIL] = {"FAIL", RED},
    [DIAGNOSE_SKIPPED] = {"skip", GREY},
};

static void mark(const struct diagnose_text *t, const struct diagnose_step *s, int width)
{
    char word[8];

    snprintf(word, sizeof(word), "%-4s", marks[s->status].word);
    fputs("  ", t->out);
    coloured(t, marks[s->status].colour, word);
    fprintf(t->out, "  %-*s", width, diagnose_step_name(s->id));
}

void diagnose_text_step(const struct diagnose_text *t, const struct diagnosis *d, unsigned index)
{
    const struct diagnose_step *s = &d->steps[index];

    if (s->status == DIAGNOSE_RUNNING) {
        if (!t->terminal)
            return;
        mark(t, s, 0);
        fflush(t->out);
        return;
    }
    if (t->terminal)
        fputs("\r\033[K", t->out);
    if (s->status == DIAGNOSE_SKIPPED && strncmp(s->detail, "Not reached", 11) == 0) {
        mark(t, s, 0);
        fputc('\n', t->out);
        return;
    }
    mark(t, s, 13);
    fprintf(t->out, "%5u ms  ", s->ms);
    wrap(t, INDENT, INDENT, s->detail);
    fflush(t->out);
}

/* ---- the end ---- */

static void findings(const struct diagnose_text *t, const struct diagnosis *d)
{
    if (!d->n_findings)
        return;
    fputs("\nFound:\n", t->out);
    for (unsigned i = 0; i < d->n_findings; i++) {
        coloured(t, d->findings[i].warning ? YELLOW : GREY, d->findings[i].warning ? "  ! " : "  - ");
        wrap(t, 4, 4, d->findings[i].text);
    }
}

static void lines(const struct diagnose_text *t, const char *text)
{
    for (size_t n; *text; text += n) {
        n = strcspn(text, "\n");
        n += text[n] == '\n';
        fputs("    ", t->out);
        fwrite(text, 1, n, t->out);
    }
}

static void authority(const struct diagnose_text *t, const struct diagnosis *d)
{
    const char *pem = d->chain.anchor_pem;
    struct bytes_buf file;

    bytes_buf_init(&file, 0);
    diagnosis_write_ca_file(d, &file);
    fprintf(t->out,
            "\n  The authority's certificate, in that file; trust it only after its fingerprint (SHA-256)\n    %s\n"
            "  was compared with what the relay's operator says:\n\ncat >%s <<'END'\n%s%sEND\n"
            "openssl x509 -in %s -noout -subject -fingerprint -sha256\n",
            d->suggestion.anchor_sha256, bytes_buf_view(&file).p, pem, pem[strlen(pem) - 1] == '\n' ? "" : "\n",
            bytes_buf_view(&file).p);
    bytes_buf_deinit(&file);
}

static void suggestion(const struct diagnose_text *t, const struct diagnosis *d, const struct diagnosis_setup *setup)
{
    struct bytes_buf yaml, env;

    if (!diagnosis_has_suggestion(d) || !(d->suggestion.changed || d->suggestion.needs_user))
        return;
    bytes_buf_init(&yaml, 0);
    bytes_buf_init(&env, 0);
    diagnosis_write_yaml(d, setup, &yaml);
    diagnosis_write_env(d, setup, &env);
    fputs("\nSuggested configuration.", t->out);
    wrap(t, 24, 0, diagnosis_why(d));
    fputs("\n  In the configuration file:\n", t->out);
    lines(t, yaml.p ? yaml.p : "");
    if (env.n) {
        fputs("\n  Or in the environment:\n", t->out);
        lines(t, env.p);
    }
    if (d->suggestion.needs_ca_file)
        authority(t, d);
    bytes_buf_deinit(&yaml);
    bytes_buf_deinit(&env);
}

void diagnose_text_end(const struct diagnose_text *t, const struct diagnosis *d, const struct diagnosis_setup *setup)
{
    struct bytes_buf conclusion;

    findings(t, d);
    fputc('\n', t->out);
    coloured(t, d->ok ? GREEN : RED, d->ok ? "It works:" : "Conclusion:");
    bytes_buf_init(&conclusion, 0);
    diagnosis_write_conclusion(d, &conclusion);
    wrap(t, 11, 0, bytes_buf_view(&conclusion).p);
    bytes_buf_deinit(&conclusion);
    suggestion(t, d, setup);
    fflush(t->out);
}
