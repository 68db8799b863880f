#ifndef API_BATCH_H
#define API_BATCH_H
/* Sending a batch: its mails go to the service at once, and their results are one answer. */
#include "api/submission.h"

void batch_send(struct submission *s);          /* takes the messages; answers when the last one has its result */
#endif
