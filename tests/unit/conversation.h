#ifndef TESTS_CONVERSATION_H
#define TESTS_CONVERSATION_H
/* Runs a script against one smtp_session. A line of a script is one of:
 *   S: TEXT     the server says it (CRLF is added). Lines in a row arrive together, or byte by byte
 *   S| TEXT     the same, without CRLF
 *   C: TEXT     the client's next line must be this; "C: *" is any line; "C. N" the next N octets, whatever they are
 *   > mail W    a mail is submitted, behind those in hand; words: two, three (recipients), utf8, 8bit, dsn,
 *               require_tls (needed of the relay), reject (partial), big (100 kB), dots, from=ADDRESS, to=ADDRESS (the
 *               first one), id=ENVID ("_" is a space, nothing is none), ret=full, ret=hdrs, notify=never,
 *               notify=success,failure,delay
 *   ! EVENT     must be next: ready | start_tls | done CODE DELIVERY STAGE | dead CODE DELIVERY STAGE | quit;
 *               "! done …" is of the oldest mail that is not done yet; "! done … #2" of the second submitted;
 *               "! rcpt N CODE" looks at a recipient's outcome of that mail
 *               "! text TEXT" at the text of the reply that the session died of, "! one_flight on | off" at that;
 *               "! whose WORD" at the last mail's outcome; "! doubted yes | no": did the session's end cast
 *               doubt on its last verdict;
 *               "! nothing": no event is there yet; "! room yes | no": may another mail be submitted;
 *               "! worn yes | no": were too many refused
 *   x tls       the handshake is done
 *   x close     the server is gone
 *   x wait MS   time passes, and the deadline is looked at
 *   x hold      what the client writes stays with it, until "x let"
 *   x take      what the client writes is on its way, but not with the kernel, until "x let"
 *   x forget    the mails so far are done, the next one is #1; "x anew": another session with the same relay
 *   x quit; x give_up TRUE | FALSE, also "… #2"
 * At the end nothing may be left: no output, no event. "$PIPE" in a script is replaced by "250-PIPELINING" in a
 * pipelined run and left out, with its line, in a lock-step one. */
#include "smtp/session.h"

enum conversation_modes {
    LOCK_STEP = 1,
    PIPELINED = 2,
    BOTH = 3,
    WHOLE = 4 /* not byte by byte: what is tested is one piece */
};

struct conversation {
    const char *name;
    int modes;
    struct smtp_session_params params;
    const char *script;
};

void conversation_run(
    const struct conversation *c); /* in each mode, whole and byte by byte; fails the test with the script's line */
#endif
