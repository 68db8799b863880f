#ifndef TESTS_SESSION_SCRIPTS_H
#define TESTS_SESSION_SCRIPTS_H
/* Pieces that the sessions' conversations are put together from. */
#include "tests/unit/conversation.h"

#define TIMES .timeouts = {.banner = 1000, .command = 2000, .tls = 1000, .write_stall = 3000, .final_reply = 4000}
#define BARE {.ehlo_name = "me", .tls_mode = SMTP_TLS_NONE, .one_flight_max = 65536, .one_flight_idle = 5000, TIMES}
#define TLS {.ehlo_name = "me", .tls_mode = SMTP_TLS_STARTTLS, .one_flight_max = 65536, .one_flight_idle = 5000, TIMES}
#define IMPLICIT {.ehlo_name = "me", .tls_mode = SMTP_TLS_IMPLICIT, TIMES}
#define AUTH {.ehlo_name = "me", .tls_mode = SMTP_TLS_STARTTLS, .user = "ann", .password = "secret", TIMES}

#define WITHOUT(extensions) {.ehlo_name = "me", .tls_mode = SMTP_TLS_NONE, .one_flight_max = 65536, \
                             .one_flight_idle = 5000, .extensions_off = extensions, TIMES}
#define SLOW {.ehlo_name = "me", .tls_mode = SMTP_TLS_NONE, .one_flight_idle = 5000, \
              .timeouts = {.banner = 15000, .command = 15000, .write_stall = 30000, .final_reply = 25000}}

#define GREETED "S: 220 hi\nC: EHLO me\n"
#define READY(lines) GREETED "S: 250-relay\nS: $PIPE\n" lines "S: 250 HELP\n! ready\n"
#define SECURE(lines)                                                                                                  \
    GREETED "S: 250-relay\nS: 250 STARTTLS\nC: STARTTLS\nS: 220 go\n! start_tls\nx tls\nC: EHLO me\n"                  \
            "S: 250-relay\nS: $PIPE\n" lines "S: 250 HELP\n"
#define BODY "C: Subject: x\nC: \nC: hello\n"
#define SENT_LOCK_STEP                                                                                                 \
    "C: MAIL FROM:<a@x>\nS: 250 ok\nC: RCPT TO:<b@y>\nS: 250 ok\nC: DATA\nS: 354 go\n" BODY                            \
    "C: .\nS: 250 2.0.0 queued\n"                                                                                      \
    "! done sent accepted body\n! ready\n"

/* A refused mail is taken back at once. */
#define CLEAN "C: RSET\nS: 250 reset\n! ready\n"
/* The first mail of a session goes by DATA; behind it the server shows that it discards the chunk of a refused BDAT. */
#define FIRST                                                                                                          \
    "> mail\nC: MAIL FROM:<a@x>\nC: RCPT TO:<b@y>\nC: DATA\n! room no\nS: 250 ok\nS: 250 ok\nS: 354 go\n"              \
    BODY "C: .\n! room no\nS: 250 queued\n! done sent accepted body\n"
#define PROOF "C: BDAT 6 LAST\nC: QUIT\nC: RSET\n! room no\nS: 503 5.5.1 MAIL first\nS: 250 reset\n"
#define FLIES READY("S: 250-CHUNKING\n") FIRST PROOF "! ready\nx forget\n"
#define PIPED(to) "> mail" to "\nC: MAIL FROM:<a@x>\n"
#define TO_BODY "C: *\nC: DATA\nS: 250 ok\nS: 250 ok\nS: 354 go\n"

#define TABLE(name) \
    START_TEST(test_##name) \
    { \
        conversation_run(&name[_i]); \
    } \
    END_TEST
#endif
