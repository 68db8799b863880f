#ifndef SERVICE_DIAGNOSE_TEXT_H
#define SERVICE_DIAGNOSE_TEXT_H
/* A diagnosis on a terminal, step by step as it happens, or as plain lines when it goes elsewhere. */
#include "smtp/diagnose.h"

#include <stdio.h>

struct diagnosis_setup;

struct diagnose_text {
    FILE *out;
    bool terminal, colours;
    int width;                          /* columns; details are wrapped to it */
};

void diagnose_text_init(struct diagnose_text *t, FILE *out);    /* looks at out, NO_COLOR, TERM and the window */
void diagnose_text_head(const struct diagnose_text *t, const struct relay_config *c);
void diagnose_text_step(const struct diagnose_text *t, const struct diagnosis *d, unsigned index);
/* Findings, the conclusion, and a configuration where one is suggested. */
void diagnose_text_end(const struct diagnose_text *t, const struct diagnosis *d, const struct diagnosis_setup *setup);
void diagnose_text_paragraph(const struct diagnose_text *t, int indent, const char *text);
#endif
