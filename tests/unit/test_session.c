#include "tests/unit/session_scripts.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

/* The session core, conversation by conversation. */

static const struct conversation opening[] = {
    {"plain, no TLS wanted", BOTH, BARE, READY("")},
    {"banner of several lines", BOTH, BARE, "S: 220-hi\nS: 220-\nS: 220 there\nC: EHLO me\nS: 250 relay\n! ready\n"},
    {"banner 554", BOTH, TLS, "S: 554 5.7.1 go away\nC: QUIT\n! dead banner_rejected not_sent banner\n"},
    {"banner 421", BOTH, TLS, "S: 421 too many connections\nC: QUIT\n! dead relay_busy not_sent banner\n"},
    {"banner 354", BOTH, TLS, "S: 354 what\n! dead protocol_error not_sent banner\n"},
    {"no banner", BOTH, TLS, "x wait 999\n! nothing\nx wait 1\n! dead timeout not_sent banner\n"},
    {"closed before the banner", BOTH, TLS, "x close\n! dead connection_closed not_sent banner\n"},
    {"half a banner does not prolong the wait", BOTH, TLS,
     "x wait 900\nS| 220 h\nx wait 99\nS| i\n! nothing\nx wait 1\n! dead timeout not_sent banner\n"},
    {"banner of HTTP", BOTH, TLS, "S: HTTP/1.1 400 Bad Request\n! dead protocol_error not_sent banner\n"},
    {"EHLO refused", BOTH, TLS, GREETED "S: 502 5.5.1 what\nC: QUIT\n! dead ehlo_rejected not_sent ehlo\n"},
    {"EHLO refused, HELO taken", BOTH, BARE, GREETED "S: 502 what\nC: HELO me\nS: 250 relay\n! ready\n"},
    {"closed at EHLO", BOTH, TLS, GREETED "x close\n! dead connection_closed not_sent ehlo\n"},
    {"421 at EHLO", BOTH, TLS, GREETED "S: 421 bye\n! dead service_closing not_sent ehlo\n"},
    {"no STARTTLS offered", BOTH, TLS,
     GREETED "S: 250-relay\nS: 250 AUTH PLAIN\nC: QUIT\n! dead starttls_not_offered not_sent ehlo\n"},
    {"STARTTLS garbled by a firewall", BOTH, TLS,
     GREETED "S: 250-relay\nS: 250 XXXXXXXA\nC: QUIT\n! dead starttls_not_offered not_sent ehlo\n"},
    {"STARTTLS refused", BOTH, TLS,
     GREETED "S: 250-relay\nS: 250 STARTTLS\nC: STARTTLS\nS: 454 4.7.0 no\nC: QUIT\n"
             "! dead starttls_refused not_sent starttls\n"},
    {"STARTTLS 250 is not 220", BOTH, TLS,
     GREETED "S: 250-relay\nS: 250 STARTTLS\nC: STARTTLS\nS: 250 ok\n"
             "! dead starttls_refused not_sent starttls\n"},
    {"injection behind the 220", BOTH, TLS,
     GREETED "S: 250-relay\nS: 250 STARTTLS\nC: STARTTLS\nS: 220 go\nS: 250 injected\n"
             "! dead starttls_injection not_sent starttls\n"},
    {"closed in the handshake", BOTH, TLS,
     GREETED "S: 250-relay\nS: 250 STARTTLS\nC: STARTTLS\nS: 220 go\n! start_tls\nx close\n"
             "! dead tls_closed not_sent tls\n"},
    {"all is forgotten after TLS", BOTH, TLS,
     GREETED "S: 250-relay\nS: 250-SIZE 1\nS: 250 STARTTLS\nC: STARTTLS\nS: 220 go\n! start_tls\nx tls\n"
             "C: EHLO me\nS: 250-relay\nS: 250 HELP\n! ready\n> mail\n" SENT_LOCK_STEP},
};

static const struct conversation login[] = {
    {"PLAIN", BOTH, AUTH, SECURE("S: 250-AUTH LOGIN PLAIN\n") "C: AUTH PLAIN AGFubgBzZWNyZXQ=\nS: 235 ok\n! ready\n"},
    {"LOGIN", BOTH, AUTH,
     SECURE("S: 250-AUTH=LOGIN\n") "C: AUTH LOGIN\nS: 334 VXNlcm5hbWU6\nC: YW5u\nS: 334 UGFzc3dvcmQ6\nC: c2VjcmV0\nS: "
                                   "235 ok\n! ready\n"},
    {"not offered", BOTH, AUTH, SECURE("") "C: QUIT\n! dead auth_not_offered not_sent auth\n"},
    {"no common mechanism", BOTH, AUTH,
     SECURE("S: 250-AUTH GSSAPI\n") "C: QUIT\n! dead auth_mechanism_unsupported not_sent auth\n"},
    {"535", BOTH, AUTH,
     SECURE("S: 250-AUTH PLAIN\n") "C: *\nS: 535 5.7.8 no\nC: QUIT\n! dead auth_failed not_sent auth\n"},
    {"535, then closed", BOTH, AUTH,
     SECURE("S: 250-AUTH PLAIN\n") "C: *\nS: 535 no\nx close\nC: QUIT\n! dead auth_failed not_sent auth\n"},
    {"534", BOTH, AUTH,
     SECURE("S: 250-AUTH PLAIN\n") "C: *\nS: 534 5.7.9x no\nC: QUIT\n! dead auth_too_weak not_sent auth\n"},
    {"Gmail's application password", BOTH, AUTH,
     SECURE("S: 250-AUTH PLAIN\n") "C: *\nS: 534-5.7.9 Application-specific\nS: 534 5.7.9 required\nC: QUIT\n"
                                   "! dead auth_app_password_required not_sent auth\n"},
    {"Microsoft's basic authentication", BOTH, AUTH,
     SECURE("S: 250-AUTH LOGIN\n") "C: AUTH LOGIN\nS: 334 x\nC: *\nS: 334 x\nC: *\n"
                                   "S: 535 5.7.139 disabled\nC: QUIT\n! dead auth_basic_disabled not_sent auth\n"},
    {"454", BOTH, AUTH,
     SECURE("S: 250-AUTH PLAIN\n") "C: *\nS: 454 4.7.0 later\nC: QUIT\n! dead auth_temporary not_sent auth\n"},
    {"one challenge too many", BOTH, AUTH,
     SECURE("S: 250-AUTH PLAIN\n") "C: *\nS: 334 more\n! dead protocol_error not_sent auth\n"},
    {"closed at AUTH", BOTH, AUTH,
     SECURE("S: 250-AUTH PLAIN\n") "C: *\nx close\n! dead connection_closed not_sent auth\n"},
    {"silence at AUTH", BOTH, AUTH,
     SECURE("S: 250-AUTH PLAIN\n") "C: *\nx wait 1999\n! nothing\nx wait 1\n! dead timeout not_sent auth\n"},
    {"421 at AUTH", BOTH, AUTH,
     SECURE("S: 250-AUTH PLAIN\n") "C: *\nS: 421 4.7.0 AGFubgBzZWNyZXQ=\n! dead service_closing not_sent auth\n"
                                   "! text ***\n"},
    {"the line of AUTH comes back", BOTH, AUTH,
     SECURE("S: 250-AUTH PLAIN\n") "C: *\nS: 501 what is AUTH PLAIN AGFubgBzZWNyZXQ=?\nC: QUIT\n"
                                   "! dead auth_failed not_sent auth\n"
                                   "! text what is AUTH PLAIN ***\n"},
    {"a piece of the line of AUTH comes back", BOTH, AUTH,
     SECURE("S: 250-AUTH PLAIN\n") "C: *\nS: 535 bad AGFubgBzZWN...\nC: QUIT\n! dead auth_failed not_sent auth\n"
                                   "! text bad ***\n"},
    {"the password comes back", BOTH, AUTH,
     SECURE("S: 250-AUTH PLAIN\n") "C: *\nS: 535 secret is wrong\nC: QUIT\n! dead auth_failed not_sent auth\n"
                                   "! text *** is wrong\n"},
    {"nothing comes back", BOTH, AUTH,
     SECURE("S: 250-AUTH PLAIN\n") "C: *\nS: 535 5.7.8 Authentication credentials invalid\nC: QUIT\n"
                                   "! dead auth_failed not_sent auth\n! text Authentication credentials invalid\n"},
    {"the banner repeats the password", BOTH, AUTH,
     "S: 554 not with the password secret\nC: QUIT\n! dead banner_rejected not_sent banner\n"
     "! text not with the password ***\n"},
    {"EHLO repeats the password", LOCK_STEP, AUTH,
     SECURE("S: 250-AUTH secret c2VjcmV0\n") "C: QUIT\n! dead auth_mechanism_unsupported not_sent auth\n"
                                             "! text relay AUTH *** *** HELP\n"},
    {"530 at MAIL", LOCK_STEP, BARE,
     READY("") "> mail\nC: MAIL FROM:<a@x>\nS: 530 5.7.0 authenticate first\nx close\n"
               "! done auth_required not_sent mail\nC: RSET\n! dead connection_closed not_sent mail\n"},
};

static const struct conversation lock_step[] = {
    {"a mail", LOCK_STEP, BARE, READY("") "> mail\n" SENT_LOCK_STEP "! rcpt 0 sent\n"},
    {"two mails on one session", LOCK_STEP, BARE, READY("") "> mail\n" SENT_LOCK_STEP "> mail\n" SENT_LOCK_STEP},
    {"dots are stuffed", LOCK_STEP, BARE,
     READY("") "> mail dots\nC: *\nS: 250 ok\nC: *\nS: 250 ok\nC: DATA\nS: 354 go\n"
               "C: Subject: x\nC: \nC: ..\nC: ...a\nC: b\nC: .\nS: 250 ok\n! done sent accepted body\n! ready\n"},
    {"MAIL refused, and RSET before the next", LOCK_STEP, BARE,
     READY("") "> mail\nC: MAIL FROM:<a@x>\nS: 550 5.7.1 no\n"
               "! done sender_rejected rejected mail\n! rcpt 0 sender_rejected\n! nothing\n! room no\n" CLEAN
               "> mail\n" SENT_LOCK_STEP},
    {"RSET refused", LOCK_STEP, BARE,
     READY("") "> mail\nC: *\nS: 450 no\n! done sender_rejected rejected mail\nC: RSET\nS: 500 what\n"
               "! dead protocol_error not_sent mail\n"},
    {"RSET answered late", LOCK_STEP, BARE,
     READY("") "> mail\nC: *\nS: 450 no\n! done sender_rejected rejected mail\nC: RSET\nx wait 1999\n! nothing\n"
               "x wait 1\n! dead timeout not_sent mail\n"},
    {"closed at RSET", LOCK_STEP, BARE,
     READY("") "> mail\nC: *\nS: 450 no\n! done sender_rejected rejected mail\nC: RSET\nx close\n"
               "! dead connection_closed not_sent mail\n"},
    {"one of two refused", LOCK_STEP, BARE,
     READY("") "> mail two\nC: *\nS: 250 ok\nC: *\nS: 550 5.1.1 who\nC: RCPT TO:<c@y>\nS: 250 ok\nC: DATA\nS: 354 "
               "go\n" BODY
               "C: .\nS: 250 ok\n! done sent accepted body\n! rcpt 0 recipients_rejected\n! rcpt 1 sent\n! ready\n"},
    {"one of two refused, partial reject", LOCK_STEP, BARE,
     READY("") "> mail two reject\nC: *\nS: 250 ok\nC: *\nS: 550 5.1.1 who\nC: *\nS: 250 ok\n"
               "! done recipients_rejected not_sent rcpt\n" CLEAN "> mail\n" SENT_LOCK_STEP},
    {"a permanent refusal decides", LOCK_STEP, BARE,
     READY("") "> mail two\nC: *\nS: 250 ok\nC: *\nS: 450 4.2.1 later\nC: *\nS: 550 5.7.1 relaying denied\n"
               "! done relay_denied rejected rcpt\n! rcpt 0 recipients_rejected\n! rcpt 1 relay_denied\n" CLEAN},
    {"mailbox full", LOCK_STEP, BARE,
     READY("") "> mail\nC: *\nS: 250 ok\nC: *\nS: 452 4.2.2 full\n! done mailbox_full rejected rcpt\n" CLEAN},
    {"DATA refused", LOCK_STEP, BARE,
     READY("") "> mail\nC: *\nS: 250 ok\nC: *\nS: 250 ok\nC: DATA\nS: 451 4.3.0 no\n! done data_rejected rejected "
               "data\n" CLEAN},
    {"rate limited", LOCK_STEP, BARE,
     READY("") "> mail\nC: *\nS: 450 4.7.28 slow down\n! done relay_rate_limited not_sent mail\n" CLEAN},
    {"421 at RCPT", LOCK_STEP, BARE,
     READY("") "> mail\nC: *\nS: 250 ok\nC: *\nS: 421 4.3.2 bye\n! done service_closing not_sent rcpt\n"
               "! dead service_closing not_sent rcpt\n"},
    {"an unsolicited reply when idle", BOTH, BARE, READY("") "S: 250 surprise\n! dead protocol_error not_sent mail\n"},
    {"a 421 when idle", BOTH, BARE, READY("") "S: 421 idle too long\n! dead service_closing not_sent mail\n"},
    {"two replies for one command", LOCK_STEP | WHOLE, BARE,
     READY("") "> mail\nC: *\nS: 250 ok\nS: 250 ok\n! done protocol_error not_sent rcpt\n"
               "! dead protocol_error not_sent rcpt\n"},
    {"250 to DATA", LOCK_STEP, BARE,
     READY("") "> mail\nC: *\nS: 250 ok\nC: *\nS: 250 ok\nC: DATA\nS: 250 ok\n! done protocol_error not_sent data\n"
               "! dead protocol_error not_sent data\n"},
    {"QUIT", BOTH, BARE, READY("") "x quit\nC: QUIT\nS: 221 bye\n! quit\n"},
    {"QUIT, closed", BOTH, BARE, READY("") "x quit\nC: QUIT\nx close\n! quit\n"},
    {"QUIT, silence", BOTH, BARE, READY("") "x quit\nC: QUIT\nx wait 2000\n! quit\n"},
};

#define DSN_OFFERED "S: 250-DSN\n"
#define REFUSED(outcome) "! done " outcome " not_sent ehlo\n! rcpt 0 " outcome "\n! ready\n"
/* The envelope is as said, in lock-step and in one flight; then the mail goes its way. */
#define ENVELOPE_LOCK_STEP(mail, rcpt) \
    "C: " mail "\nS: 250 ok\nC: " rcpt "\nS: 250 ok\nC: DATA\nS: 354 go\n" BODY \
    "C: .\nS: 250 ok\n! done sent accepted body\n! ready\n"
#define ENVELOPE_PIPELINED(mail, rcpt) \
    "C: " mail "\nC: " rcpt "\nC: DATA\nS: 250 ok\nS: 250 ok\nS: 354 go\n" BODY \
    "C: .\nS: 250 ok\n! done sent accepted body\n! ready\n"
#define ENVELOPE(name, offers, words, mail, rcpt) \
    {name ", lock-step", LOCK_STEP, BARE, READY(offers) "> mail " words "\n" ENVELOPE_LOCK_STEP(mail, rcpt)}, \
        {name ", pipelined", PIPELINED, BARE, READY(offers) "> mail " words "\n" ENVELOPE_PIPELINED(mail, rcpt)}
#define ENVELOPE_IN_TLS(name, offers, words, mail, rcpt) \
    {name ", lock-step", LOCK_STEP, TLS, \
     SECURE(offers) "! ready\n> mail " words "\n" ENVELOPE_LOCK_STEP(mail, rcpt)}, \
        {name ", pipelined", PIPELINED, TLS, \
         SECURE(offers) "! ready\n> mail " words "\n" ENVELOPE_PIPELINED(mail, rcpt)}

#define A50 "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define PLUS10 "++++++++++"
#define HEX10 "+2B+2B+2B+2B+2B+2B+2B+2B+2B+2B"
#define PLUS50 PLUS10 PLUS10 PLUS10 PLUS10 PLUS10
#define HEX50 HEX10 HEX10 HEX10 HEX10 HEX10

static const struct conversation extensions[] = {
    ENVELOPE("nothing offered, nothing said", "", "ret=full notify=success", "MAIL FROM:<a@x>", "RCPT TO:<b@y>"),
    ENVELOPE("everything offered, nothing needed", "S: 250-8BITMIME\nS: 250-SMTPUTF8\nS: 250-REQUIRETLS\n" DSN_OFFERED,
             "id=", "MAIL FROM:<a@x>", "RCPT TO:<b@y>"),
    ENVELOPE("the order of all", "S: 250-SIZE 1000\nS: 250-8BITMIME\nS: 250-SMTPUTF8\n" DSN_OFFERED,
             "utf8 8bit dsn ret=full notify=success,failure,delay",
             "MAIL FROM:<a@x> SIZE=21 BODY=8BITMIME SMTPUTF8 RET=FULL ENVID=id-1",
             "RCPT TO:<b@y> NOTIFY=SUCCESS,FAILURE,DELAY ORCPT=rfc822;b@y"),

    ENVELOPE("SIZE without a limit", "S: 250-SIZE\n", "", "MAIL FROM:<a@x> SIZE=21", "RCPT TO:<b@y>"),
    ENVELOPE("SIZE 0", "S: 250-SIZE 0\n", "", "MAIL FROM:<a@x> SIZE=21", "RCPT TO:<b@y>"),
    ENVELOPE("SIZE at its limit", "S: 250-SIZE 21\n", "", "MAIL FROM:<a@x> SIZE=21", "RCPT TO:<b@y>"),
    ENVELOPE("SIZE that is no number", "S: 250-SIZE lots\n", "", "MAIL FROM:<a@x> SIZE=21", "RCPT TO:<b@y>"),
    {"too large for the relay", BOTH, BARE,
     READY("S: 250-SIZE 20\n") "> mail\n! done message_too_large not_sent mail\n! rcpt 0 message_too_large\n! ready\n"},

    ENVELOPE("8BITMIME", "S: 250-8BITMIME\n", "8bit", "MAIL FROM:<a@x> BODY=8BITMIME", "RCPT TO:<b@y>"),
    ENVELOPE("8BITMIME offered and not needed", "S: 250-8BITMIME\n", "", "MAIL FROM:<a@x>", "RCPT TO:<b@y>"),
    {"8BITMIME not offered", BOTH, BARE, READY("") "> mail 8bit\n" REFUSED("8bitmime_unsupported")},
    {"8BITMIME offered before TLS only", BOTH, TLS,
     GREETED "S: 250-relay\nS: 250-8BITMIME\nS: 250 STARTTLS\nC: STARTTLS\nS: 220 go\n! start_tls\nx tls\n"
             "C: EHLO me\nS: 250 relay\n! ready\n> mail 8bit\n" REFUSED("8bitmime_unsupported")},
    {"8BITMIME of a server that has HELO only", BOTH, BARE,
     GREETED "S: 502 what\nC: HELO me\nS: 250 relay\n! ready\n> mail 8bit\n" REFUSED("8bitmime_unsupported")},

    ENVELOPE("SMTPUTF8", "S: 250-8BITMIME\nS: 250-SMTPUTF8\n", "utf8 from=\xC3\xA9@x to=\xC3\xB6@y",
             "MAIL FROM:<\xC3\xA9@x> BODY=8BITMIME SMTPUTF8", "RCPT TO:<\xC3\xB6@y>"),
    {"SMTPUTF8 not offered", BOTH, BARE,
     READY("S: 250-8BITMIME\n") "> mail utf8\n" REFUSED("smtputf8_unsupported")},
    {"SMTPUTF8 without 8BITMIME", BOTH, BARE,
     READY("S: 250-SMTPUTF8\n") "> mail utf8\n" REFUSED("smtputf8_unsupported")},

    ENVELOPE("our id as ENVID", DSN_OFFERED, "", "MAIL FROM:<a@x> ENVID=id-1", "RCPT TO:<b@y>"),
    ENVELOPE("no ENVID", DSN_OFFERED, "id=", "MAIL FROM:<a@x>", "RCPT TO:<b@y>"),
    ENVELOPE("DSN needed and offered", DSN_OFFERED, "dsn", "MAIL FROM:<a@x> ENVID=id-1", "RCPT TO:<b@y>"),
    ENVELOPE("the empty sender", DSN_OFFERED, "dsn from= ret=hdrs notify=never",
             "MAIL FROM:<> RET=HDRS ENVID=id-1", "RCPT TO:<b@y> NOTIFY=NEVER ORCPT=rfc822;b@y"),
    ENVELOPE("RET=FULL", DSN_OFFERED, "ret=full id=", "MAIL FROM:<a@x> RET=FULL", "RCPT TO:<b@y>"),
    ENVELOPE("RET=HDRS", DSN_OFFERED, "ret=hdrs", "MAIL FROM:<a@x> RET=HDRS ENVID=id-1", "RCPT TO:<b@y>"),
    ENVELOPE("NOTIFY=SUCCESS", DSN_OFFERED, "id= notify=success", "MAIL FROM:<a@x>",
             "RCPT TO:<b@y> NOTIFY=SUCCESS ORCPT=rfc822;b@y"),
    ENVELOPE("NOTIFY=FAILURE", DSN_OFFERED, "id= notify=failure", "MAIL FROM:<a@x>",
             "RCPT TO:<b@y> NOTIFY=FAILURE ORCPT=rfc822;b@y"),
    ENVELOPE("NOTIFY=DELAY", DSN_OFFERED, "id= notify=delay", "MAIL FROM:<a@x>",
             "RCPT TO:<b@y> NOTIFY=DELAY ORCPT=rfc822;b@y"),
    ENVELOPE("NOTIFY of two", DSN_OFFERED, "id= notify=delay,success", "MAIL FROM:<a@x>",
             "RCPT TO:<b@y> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;b@y"),
    ENVELOPE("NOTIFY=NEVER stands alone", DSN_OFFERED, "id= notify=never,success", "MAIL FROM:<a@x>",
             "RCPT TO:<b@y> NOTIFY=NEVER ORCPT=rfc822;b@y"),
    ENVELOPE("xtext in ENVID and ORCPT", DSN_OFFERED, "id=a+b=c_d~! to=\"b+=\"@y notify=success",
             "MAIL FROM:<a@x> ENVID=a+2Bb+3Dc+20d~!",
             "RCPT TO:<\"b+=\"@y> NOTIFY=SUCCESS ORCPT=rfc822;\"b+2B+3D\"@y"),
    ENVELOPE("xtext at both ends", DSN_OFFERED, "id=_+ to=+b@y+ notify=delay", "MAIL FROM:<a@x> ENVID=+20+2B",
             "RCPT TO:<+b@y+> NOTIFY=DELAY ORCPT=rfc822;+2Bb@y+2B"),
    ENVELOPE("an ENVID at its limit", DSN_OFFERED, "id=" A50 PLUS50, "MAIL FROM:<a@x> ENVID=" A50 HEX50,
             "RCPT TO:<b@y>"),
    {"an ENVID one past its limit", BOTH, BARE,
     READY(DSN_OFFERED) "> mail id=" A50 A50 "a\n! done internal_error not_sent mail\n! ready\n"},
    {"an ENVID with a control character", BOTH, BARE,
     READY(DSN_OFFERED) "> mail id=a\tb\n! done internal_error not_sent mail\n! ready\n"},
    {"an ENVID that is not ASCII", BOTH, BARE,
     READY(DSN_OFFERED) "> mail id=\xC3\xA9\n! done internal_error not_sent mail\n! ready\n"},
    ENVELOPE("no ORCPT for what is not ASCII", "S: 250-8BITMIME\nS: 250-SMTPUTF8\n" DSN_OFFERED,
             "utf8 to=\xC3\xB6@y notify=failure", "MAIL FROM:<a@x> BODY=8BITMIME SMTPUTF8 ENVID=id-1",
             "RCPT TO:<\xC3\xB6@y> NOTIFY=FAILURE"),
    /* 7 of "rfc822;", 164 times "+2B", one "a": 500 */
    ENVELOPE("an ORCPT at its limit", DSN_OFFERED,
             "id= notify=failure to=" PLUS50 PLUS50 PLUS50 PLUS10 "++++a", "MAIL FROM:<a@x>",
             "RCPT TO:<" PLUS50 PLUS50 PLUS50 PLUS10 "++++a> NOTIFY=FAILURE ORCPT=rfc822;" HEX50 HEX50 HEX50 HEX10
             "+2B+2B+2B+2Ba"),
    ENVELOPE("an ORCPT one past its limit", DSN_OFFERED,
             "id= notify=failure to=" PLUS50 PLUS50 PLUS50 PLUS10 "++++aa", "MAIL FROM:<a@x>",
             "RCPT TO:<" PLUS50 PLUS50 PLUS50 PLUS10 "++++aa> NOTIFY=FAILURE"),
    {"DSN for each of three, in one envelope", PIPELINED, BARE,
     READY("S: 250-CHUNKING\n" DSN_OFFERED) "> mail three dsn ret=hdrs notify=failure\n"
                                            "C: MAIL FROM:<a@x> RET=HDRS ENVID=id-1\n"
                                            "C: RCPT TO:<b@y> NOTIFY=FAILURE ORCPT=rfc822;b@y\n"
                                            "C: RCPT TO:<c@y> NOTIFY=FAILURE ORCPT=rfc822;c@y\n"
                                            "C: RCPT TO:<d@y> NOTIFY=FAILURE ORCPT=rfc822;d@y\n"
                                            "C: DATA\nS: 250 ok\nS: 250 ok\nS: 501 5.5.4 no\nS: 250 ok\nS: 354 go\n"
                                            BODY "C: .\nS: 250 ok\n"
                                            "! done sent accepted body\n! rcpt 1 recipients_rejected\n"
                                            PROOF "! ready\n"},
    {"a server that offers DSN and does not know RET", LOCK_STEP, BARE,
     READY(DSN_OFFERED) "> mail dsn ret=full\nC: MAIL FROM:<a@x> RET=FULL ENVID=id-1\nS: 555 5.5.4 what is RET?\n"
                        "! done sender_rejected rejected mail\n" CLEAN},
    {"DSN not offered", BOTH, BARE, READY("") "> mail dsn\n" REFUSED("dsn_unsupported")},
    {"DSN not offered, all of it wanted, for two", BOTH, BARE,
     READY("S: 250-CHUNKING\n") "> mail two dsn ret=full notify=never\n! done dsn_unsupported not_sent ehlo\n"
                                "! rcpt 0 dsn_unsupported\n! rcpt 1 dsn_unsupported\n! ready\n"},
    {"DSN offered before TLS only", BOTH, TLS,
     GREETED "S: 250-relay\nS: 250-DSN\nS: 250 STARTTLS\nC: STARTTLS\nS: 220 go\n! start_tls\nx tls\n"
             "C: EHLO me\nS: 250 relay\n! ready\n> mail dsn\n" REFUSED("dsn_unsupported")},
    {"refused beforehand, then one that needs nothing, without RSET", LOCK_STEP, BARE,
     READY("") "> mail dsn\n" REFUSED("dsn_unsupported") "> mail require_tls\n" REFUSED("requiretls_unsupported")
               "> mail\n" SENT_LOCK_STEP},

    ENVELOPE_IN_TLS("REQUIRETLS", "S: 250-REQUIRETLS\n", "require_tls", "MAIL FROM:<a@x> REQUIRETLS", "RCPT TO:<b@y>"),
    ENVELOPE_IN_TLS("REQUIRETLS offered and not needed", "S: 250-REQUIRETLS\n", "", "MAIL FROM:<a@x>", "RCPT TO:<b@y>"),
    ENVELOPE_IN_TLS("REQUIRETLS and all the rest",
                    "S: 250-REQUIRETLS\nS: 250-SIZE\nS: 250-8BITMIME\nS: 250-SMTPUTF8\n" DSN_OFFERED,
                    "require_tls utf8 ret=hdrs notify=delay",
                    "MAIL FROM:<a@x> SIZE=21 BODY=8BITMIME SMTPUTF8 REQUIRETLS RET=HDRS ENVID=id-1",
                    "RCPT TO:<b@y> NOTIFY=DELAY ORCPT=rfc822;b@y"),
    {"REQUIRETLS on a session that is TLS from its first byte", LOCK_STEP, IMPLICIT,
     READY("S: 250-REQUIRETLS\n") "> mail require_tls\n"
     ENVELOPE_LOCK_STEP("MAIL FROM:<a@x> REQUIRETLS", "RCPT TO:<b@y>")},
    {"REQUIRETLS not offered", BOTH, TLS,
     SECURE("") "! ready\n> mail require_tls\n" REFUSED("requiretls_unsupported")},
    {"REQUIRETLS offered without TLS", BOTH, BARE,
     READY("S: 250-REQUIRETLS\n") "> mail require_tls\n" REFUSED("requiretls_unsupported")},
    {"REQUIRETLS offered before TLS only", BOTH, TLS,
     GREETED "S: 250-relay\nS: 250-REQUIRETLS\nS: 250 STARTTLS\nC: STARTTLS\nS: 220 go\n! start_tls\nx tls\n"
             "C: EHLO me\nS: 250 relay\n! ready\n> mail require_tls\n" REFUSED("requiretls_unsupported")},
    {"REQUIRETLS refused by name", LOCK_STEP, TLS,
     SECURE("S: 250-REQUIRETLS\n") "! ready\n> mail require_tls\nC: MAIL FROM:<a@x> REQUIRETLS\n"
                                   "S: 550 5.7.30 REQUIRETLS support required\n! done sender_rejected rejected mail\n"
                                   CLEAN},
};

static const struct conversation pipelined[] = {
    {"the envelope in one flight", PIPELINED, BARE,
     READY("") PIPED(" two") "C: RCPT TO:<b@y>\nC: RCPT TO:<c@y>\nC: DATA\nS: 250 ok\nS: 250 ok\nS: 550 no\n"
                             "S: 354 go\n" BODY
                             "C: .\nS: 250 ok\n! done sent accepted body\n! rcpt 1 recipients_rejected\n! ready\n"},
    {"354 for nobody", PIPELINED, BARE,
     READY("") PIPED("") "C: *\nC: DATA\nS: 250 ok\nS: 550 5.1.1 no\nS: 354 go\nC: .\nS: 250 what\n"
                         "! done recipients_rejected rejected rcpt\n" CLEAN "> mail\nC: *\nC: *\nC: DATA\nx "
                         "close\n! done connection_closed not_sent mail\n"
                         "! dead connection_closed not_sent mail\n"},
    {"354 for somebody, but not from us", PIPELINED, BARE,
     READY("") PIPED("") "C: *\nC: DATA\nS: 503 nested MAIL\nS: 250 ok\nS: 354 go\n"
                         "! done sender_rejected rejected mail\n! dead protocol_error not_sent data\n"},
    {"503 for nobody", PIPELINED, BARE,
     READY("") PIPED("") "C: *\nC: DATA\nS: 250 ok\nS: 550 5.1.1 no\nS: 503 no recipients\n"
                         "! done recipients_rejected rejected rcpt\n" CLEAN},
    {"MAIL refused with its followers", PIPELINED, BARE,
     READY("") PIPED("") "C: *\nC: DATA\nS: 550 5.7.1 no\nS: 503 first MAIL\nS: 503 first MAIL\n"
                         "! done sender_rejected rejected mail\n" CLEAN "> mail\nC: MAIL FROM:<a@x>\nC: *\nC: "
                         "DATA\nS: 250 ok\nS: 250 ok\nS: 354 go\n" BODY
                         "C: .\nS: 250 ok\n! done sent accepted body\n! ready\n"},
    {"partial reject holds DATA back", PIPELINED, BARE,
     READY("") PIPED(" two reject") "C: *\nC: *\nS: 250 ok\nS: 250 ok\nS: 550 5.1.1 no\n"
                                    "! done recipients_rejected not_sent rcpt\n" CLEAN},
    {"fewer replies than owed", PIPELINED, BARE,
     READY("") PIPED("") "C: *\nC: DATA\nS: 250 ok\nx wait 2000\n! done timeout not_sent rcpt\n"
                         "! dead timeout not_sent rcpt\n"},
    {"one flight", PIPELINED, BARE,
     FLIES
         PIPED("") "C: RCPT TO:<b@y>\nC: BDAT 21 LAST\n" BODY
                   "S: 250 ok\nS: 250 ok\nS: 250 2.0.0 queued\n! done sent accepted body\n! ready\n"},
    {"one flight, nobody accepted, and RSET before the next", PIPELINED, BARE,
     FLIES
         PIPED("") "C: *\nC: *\n" BODY "S: 250 ok\nS: 550 5.1.1 no\nS: 554 no recipients\n! done recipients_rejected "
                   "rejected rcpt\n" CLEAN "> mail\nC: MAIL FROM:<a@x>\nC: *\nC: *\n" BODY
                   "S: 250 ok\nS: 250 ok\nS: 250 ok\n! done sent accepted body\n! ready\n"},
    {"one flight, 2xx to a body whose MAIL was refused", PIPELINED, BARE,
     FLIES PIPED("") "C: *\nC: *\n" BODY
                                          "S: 503 nested MAIL\nS: 250 ok\nS: 250 ok\n! done protocol_error unknown "
                                          "body\n! dead protocol_error not_sent body\n"},
    {"one flight, BDAT not known", PIPELINED, BARE,
     FLIES PIPED("") "C: *\nC: *\n" BODY
                                          "S: 250 ok\nS: 250 ok\nS: 502 what\n! done protocol_error not_sent body\n"
                         "! whose session\n! dead protocol_error not_sent body\n! one_flight off\n"},
    {"one flight, fewer replies than owed", PIPELINED, BARE,
     FLIES PIPED("") "C: *\nC: *\n" BODY "S: 250 ok\nx wait 2000\n"
                                          "! done outcome_unknown unknown body\n"
                                          "! dead outcome_unknown unknown body\n! one_flight off\n"},
    {"one flight, more replies than owed", PIPELINED | WHOLE, BARE,
     FLIES PIPED("") "C: *\nC: *\n" BODY "S: 250 ok\nS: 250 ok\nS: 250 ok\nS: 500 hello?\n"
                     "! done outcome_unknown unknown body\n! whose session\n! dead protocol_error not_sent body\n"
                     "! one_flight off\n"},
    {"one flight, the first reply doubled, and the body refused", PIPELINED | WHOLE, BARE,
     FLIES PIPED("") "C: *\nC: *\n" BODY "S: 250 ok\nS: 250 ok\nS: 250 ok\nS: 554 spam\n"
                     "! done outcome_unknown unknown body\n! dead protocol_error not_sent body\n"},
    {"one flight, the first reply doubled, and 421 to the body", PIPELINED | WHOLE, BARE,
     FLIES PIPED("") "C: *\nC: *\n" BODY "S: 250 ok\nS: 250 ok\nS: 250 ok\nS: 421 bye\n"
                     "! done outcome_unknown unknown body\n! dead protocol_error not_sent body\n"},
    {"one flight, a doubled reply, a refused recipient, and a body that was taken", PIPELINED | WHOLE, BARE,
     FLIES PIPED(" two") "C: *\nC: *\nC: *\n" BODY "S: 250 ok\nS: 250 ok\nS: 250 ok\nS: 550 5.1.1 no\nS: 250 queued\n"
                         "! done outcome_unknown unknown body\n! dead protocol_error not_sent body\n"},
    {"one flight, the verdict behind the one that was taken for it comes late", PIPELINED, BARE,
     FLIES PIPED("") "C: *\nC: *\n" BODY "S: 250 ok\nS: 250 ok\nS: 250 ok\n! done sent accepted body\n! ready\n"
                     "x wait 1000\nS: 554 spam\n! dead protocol_error not_sent mail\n! doubted yes\n"
                     "! one_flight off\n"},
    {"a spare reply behind a verdict to DATA", PIPELINED, BARE,
     READY("") PIPED("") "C: *\nC: DATA\nS: 250 ok\nS: 250 ok\nS: 354 go\n" BODY "C: .\nS: 250 ok\n"
                         "! done sent accepted body\n! ready\nx wait 1\nS: 250 ok\n"
                         "! dead protocol_error not_sent mail\n! doubted yes\n"},
    {"a late goodbye casts no doubt", PIPELINED, BARE,
     READY("") PIPED("") "C: *\nC: DATA\nS: 250 ok\nS: 250 ok\nS: 354 go\n" BODY "C: .\nS: 250 ok\n"
                         "! done sent accepted body\n! ready\nx wait 5001\nS: 451 idle too long\n"
                         "! dead protocol_error not_sent mail\n! doubted no\n! one_flight on\n"},
    {"DATA, the verdict and its goodbye", PIPELINED | WHOLE, BARE,
     READY("") PIPED("") "C: *\nC: DATA\nS: 250 ok\nS: 250 ok\nS: 354 go\n" BODY "C: .\nS: 250 ok\nS: 421 bye\n"
                         "! done sent accepted body\n! ready\n! dead service_closing not_sent mail\n! doubted no\n"},
    {"DATA, and two verdicts", PIPELINED | WHOLE, BARE,
     READY("") PIPED("") "C: *\nC: DATA\nS: 250 ok\nS: 250 ok\nS: 354 go\n" BODY "C: .\nS: 250 ok\nS: 554 spam\n"
                         "! done outcome_unknown unknown body\n! dead protocol_error not_sent body\n"},
    {"one flight, a slow verdict is no reason against it", PIPELINED, BARE,
     FLIES PIPED("") "C: *\nC: *\n" BODY "S: 250 ok\nS: 250 ok\nx wait 4000\n"
                                          "! done outcome_unknown unknown body\n"
                                          "! dead outcome_unknown unknown body\n! one_flight on\n"},
    {"one flight is not for an old session", PIPELINED, BARE,
     FLIES "x wait 5001\n" PIPED("") "C: *\nS: 250 ok\nS: 250 ok\n"
                                                          "C: BDAT 21 LAST\n" BODY
                                                          "S: 250 ok\n! done sent accepted body\n! ready\n"},
    {"one flight is not for partial reject", PIPELINED, BARE,
     FLIES PIPED(" reject") "C: *\nS: 250 ok\nS: 250 ok\n"
                                                 "C: BDAT 21 LAST\n" BODY
                                                 "S: 250 ok\n! done sent accepted body\n! ready\n"},
    {"one flight is not for big ones", PIPELINED, BARE,
     FLIES PIPED(" big") "C: *\nS: 250 ok\nS: 250 ok\nC: BDAT 102400 LAST\nC. 102400\n"
                                              "S: 250 ok\n! done sent accepted body\n! ready\n"},
    {"CHUNKING without PIPELINING is not used", LOCK_STEP, BARE,
     READY("S: 250-CHUNKING\n") "> mail\n" SENT_LOCK_STEP "> mail\n" SENT_LOCK_STEP},
};

static const struct conversation fates[] = {
    {"closed after the body", PIPELINED, BARE,
     READY("") PIPED("") TO_BODY BODY "C: .\nx close\n! done outcome_unknown unknown body\n"
                                      "! dead outcome_unknown unknown body\n"},
    {"half a reply after the body", PIPELINED, BARE,
     READY("") PIPED("") TO_BODY BODY "C: .\nS| 250 ok\nx close\n! done outcome_unknown unknown body\n"
                                      "! dead outcome_unknown unknown body\n"},
    {"silence after the body", PIPELINED, BARE,
     READY("") PIPED("") TO_BODY BODY "C: .\nx wait 3999\n! nothing\nx wait 1\n! done outcome_unknown unknown body\n"
                                      "! dead outcome_unknown unknown body\n"},
    {"nonsense after the body", PIPELINED, BARE,
     READY("") PIPED("") TO_BODY BODY "C: .\nS: 25O ok\n! done protocol_error unknown body\n"
                                      "! dead protocol_error unknown body\n! one_flight on\n"},
    {"closed with the body in our hands", PIPELINED, BARE,
     READY("") PIPED("") "C: *\nC: DATA\nS: 250 ok\nS: 250 ok\nx hold\nS: 354 go\nx close\n"
                         "! done connection_closed not_sent body\n! dead connection_closed not_sent body\n"},
    {"the body does not go out", PIPELINED, BARE,
     READY("") PIPED("") "C: *\nC: DATA\nS: 250 ok\nS: 250 ok\nx hold\nS: 354 go\nx wait 3000\n"
                         "! done timeout not_sent body\n! dead timeout not_sent body\n"},
    {"a body begun late has its whole time to go", PIPELINED, BARE,
     READY("") PIPED("") "C: *\nC: DATA\nS: 250 ok\nS: 250 ok\nx hold\nx wait 1900\nS: 354 go\n"
                         "x wait 2999\n! nothing\nx wait 1\n"
                         "! done timeout not_sent body\n! dead timeout not_sent body\n"},
    {"552 in the middle of the body", PIPELINED, BARE,
     READY("") PIPED(
         " big") "C: *\nC: DATA\nS: 250 ok\nS: 250 ok\nx hold\nS: 354 go\n"
                 "S: 552 5.3.4 too big\n! done message_too_large rejected body\n! dead protocol_error not_sent body\n"},
    {"552 in the middle of the body, then what was on its way is gone", PIPELINED, BARE,
     READY("") PIPED(" big") "C: *\nC: DATA\nS: 250 ok\nS: 250 ok\nx take\nS: 354 go\nS: 552 5.3.4 too big\n"
                             "! done message_too_large rejected body\n! dead protocol_error not_sent body\nx let\n"},
    {"250 in the middle of the body", PIPELINED, BARE,
     READY("")
         PIPED(" big") "C: *\nC: DATA\nS: 250 ok\nS: 250 ok\nx hold\nS: 354 go\n"
                       "S: 250 already\n! done protocol_error unknown body\n! dead protocol_error not_sent body\n"},
    {"body refused for good", PIPELINED, BARE,
     READY("") PIPED("") TO_BODY BODY "C: .\nS: 554 5.6.0 spam\n! done message_rejected rejected body\n"
                                      "! rcpt 0 message_rejected\n" CLEAN},
    {"body refused for now", PIPELINED, BARE,
     READY("") PIPED("") TO_BODY BODY "C: .\nS: 451 later\n! done message_deferred rejected body\n" CLEAN},
    {"421 to the body", PIPELINED, BARE,
     READY("") PIPED("") TO_BODY BODY "C: .\nS: 421 bye\n! done message_deferred rejected body\n"
                                      "! dead service_closing not_sent body\n"},
    {"552 without an enhanced code", PIPELINED, BARE,
     READY("") PIPED("") TO_BODY BODY "C: .\nS: 552 no\n! done message_too_large rejected body\n" CLEAN},
    {"one flight, closed at once", PIPELINED, BARE,
     FLIES PIPED("") "C: *\nC: *\n" BODY "x close\n"
                                          "! done outcome_unknown unknown body\n! dead outcome_unknown unknown body\n"},
    {"one flight, closed before it left", PIPELINED, BARE,
     FLIES "x hold\n> mail\nx close\n"
                                "! done connection_closed not_sent mail\n! dead connection_closed not_sent mail\n"},
    {"one flight, MAIL refused, then closed", PIPELINED, BARE,
     FLIES
         PIPED("") "C: *\nC: *\n" BODY "S: 550 no\nx close\n"
                   "! done sender_rejected rejected mail\n! dead sender_rejected rejected mail\n"},
    {"one flight, 421 in the place of MAIL's reply", PIPELINED, BARE,
     FLIES
         PIPED("") "C: *\nC: *\n" BODY "S: 421 bye\nx close\n"
                   "! done service_closing not_sent mail\n! dead service_closing not_sent mail\n"},
    {"given up before the body", PIPELINED, BARE,
     READY("") PIPED("") "C: *\nC: DATA\nS: 250 ok\nx give_up FALSE\n"
                         "! done deadline_exceeded not_sent rcpt\n! dead deadline_exceeded not_sent rcpt\n"},
    {"given up after the body, answered late", PIPELINED, BARE,
     READY("") PIPED("") TO_BODY BODY "C: .\nx give_up TRUE\nx wait 500000\n! nothing\nS: 250 ok\n"
                                      "! done sent accepted body\n! ready\n"},
    {"given up after the body, never answered", PIPELINED, BARE,
     READY("") PIPED("") TO_BODY BODY "C: .\nx give_up TRUE\nx wait 599999\n! nothing\nx wait 1\n"
                                      "! done outcome_unknown unknown body\n! dead outcome_unknown unknown body\n"},
};

/* RFC 4954 §4: a line of AUTH has 512 octets at most; what is longer waits for the 334. */
START_TEST(test_auth_line_limit)
{
    static const char fits[] = SECURE("S: 250-AUTH PLAIN\n") "C. 509\nS: 235 ok\n! ready\n";
    static const char waits[] = SECURE("S: 250-AUTH PLAIN\n") "C: AUTH PLAIN\nS: 334\nC. 502\nS: 235 ok\n! ready\n";
    char password[369];
    struct conversation c = {"AUTH at its limit", BOTH, AUTH, fits};

    memset(password, 'x', sizeof(password));
    password[367] = '\0';               /* "AUTH PLAIN " and 124 quads; one more makes it 513 */
    c.params.password = password;
    conversation_run(&c);
    password[367] = 'x';
    password[368] = '\0';
    c.script = waits;
    conversation_run(&c);
}
END_TEST

static void run_with_long_line(struct conversation *c, const char *before, const char *head, size_t n,
                               const char *after)
{
    struct bytes_buf script;

    bytes_buf_init(&script, 0);
    bytes_buf_add_str(&script, before);
    bytes_buf_printf(&script, "S: %s", head);
    for (size_t i = strlen(head); i < n - 2; i++)       /* CRLF counts */
        bytes_buf_add_char(&script, 'A');
    bytes_buf_add_str(&script, after);
    c->script = script.p;
    conversation_run(c);
    bytes_buf_deinit(&script);
}

/* RFC 4954 §4: 12288 octets for a challenge; any other reply has 4096 a line. */
START_TEST(test_reply_line_limits)
{
    static const char to_login[] = SECURE("S: 250-AUTH LOGIN\n") "C: AUTH LOGIN\n";
    struct conversation c = {"long replies", BOTH, AUTH, NULL};

    run_with_long_line(&c, to_login, "334 ", 12288, "\nC: YW5u\nS: 334 x\nC: c2VjcmV0\nS: 235 ok\n! ready\n");
    run_with_long_line(&c, to_login, "334 ", 12289, "\n! dead protocol_error not_sent auth\n");
    run_with_long_line(&c, "", "220 ", 4097, "\n! dead protocol_error not_sent banner\n");
    run_with_long_line(&c, "", "220 ", 4096, "\nC: EHLO me\nS: 421 bye\n! dead service_closing not_sent ehlo\n");
}
END_TEST

#define MANY 1000
#define OUTPUT_LIMIT (128 * 1024)

/* Takes all that there is, and looks at the limit of one call. */
static size_t take_all(struct smtp_session *s, uint64_t now)
{
    struct bytes_view out;
    size_t n = 0;

    while ((out = smtp_session_output(s)).n) {
        ck_assert_uint_le(out.n, OUTPUT_LIMIT);
        n += out.n;
        smtp_session_sent(s, out.n, now);
    }
    return n;
}

static void say(struct smtp_session *s, const char *text)
{
    smtp_session_feed(s, bytes_view_str(text), 1);
}

START_TEST(test_many_recipients_go_in_pieces)
{
    static char address[256];
    static const char *to[MANY];
    static struct smtp_outcome results[MANY];
    struct smtp_proofs proofs = {.n = 0};
    struct smtp_session_params params = BARE;
    struct smtp_session *s;
    char *body = calloc(1, 65536);
    struct smtp_transaction t = {.from = "a@x", .rcpts = to, .n_rcpts = MANY, .rcpt_outcomes = results};
    struct smtp_event ev;

    params.one_flight_max = _i ? 65536 : 0;
    params.proofs = &proofs;
    s = smtp_session_new(&params);
    memset(address, 'a', 250);
    for (size_t i = 0; i < MANY; i++)
        to[i] = address;
    memset(body, 'x', 65536);
    memcpy(body + 65534, "\r\n", 2);
    t.content = bytes_view(body, 65536);
    smtp_session_start(s, 1);
    say(s, "220 hi\r\n");
    take_all(s, 1);
    say(s, "250-relay\r\n250-CHUNKING\r\n250 PIPELINING\r\n");
    ck_assert(smtp_session_next_event(s, &ev) && ev.type == SMTP_EV_READY);
    smtp_session_submit(s, &t, 1);
    ck_assert_uint_gt(take_all(s, 1), MANY * 250);
    for (size_t i = 0; i < MANY + 1; i++)
        say(s, i % 2 ? "250 ok\r\n" : i ? "550 no\r\n" : "250 ok\r\n");
    say(s, "354 go\r\n");
    take_all(s, 1);
    ck_assert(smtp_session_body_is_gone(s, &t));
    say(s, "250 queued\r\n");
    ck_assert(smtp_session_next_event(s, &ev) && ev.type == SMTP_EV_DONE);
    ck_assert_int_eq(t.outcome.code, OUTCOME_SENT);
    for (size_t i = 0; i < MANY; i++)
        ck_assert_int_eq(results[i].code, i % 2 ? OUTCOME_RECIPIENTS_REJECTED : OUTCOME_SENT);
    smtp_session_free(s);
    free(body);
}
END_TEST

#define COMMAND_MAX 1000

/* RFC 3461 §4 lets MAIL and RCPT be longer than 512; with everything at its limit they still have less than 1000. */
START_TEST(test_longest_commands)
{
    static char path[255], envid[101];
    const char *to = path;
    struct smtp_proofs proofs = {.n = 0};
    struct smtp_session_params params = IMPLICIT;
    struct smtp_session *s;
    struct smtp_outcome rcpt;
    struct smtp_transaction t = {.from = path, .rcpts = &to, .n_rcpts = 1, .rcpt_outcomes = &rcpt, .envid = envid,
                                 .needs_8bit = true, .needs_utf8 = true, .needs_dsn = true, .require_tls = true,
                                 .dsn_ret = MAIL_RET_FULL, .content = {"x\r\n", 3}};
    struct bytes_view out;
    const char *lf;

    params.proofs = &proofs;
    s = smtp_session_new(&params);
    t.dsn_notify = MAIL_NOTIFY_SUCCESS | MAIL_NOTIFY_FAILURE | MAIL_NOTIFY_DELAY;
    memset(path, 'a', 254);
    memset(path, '+', 119);             /* encoded: 119 * 3 + 135 and "rfc822;" */
    memset(envid, '=', 100);
    smtp_session_start(s, 1);
    say(s, "220 hi\r\n");
    take_all(s, 1);
    say(s, "250-relay\r\n250-PIPELINING\r\n250-SIZE\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n250-REQUIRETLS\r\n"
           "250 DSN\r\n");
    smtp_session_submit(s, &t, 1);
    out = smtp_session_output(s);
    lf = memchr(out.p, '\n', out.n);
    ck_assert(memmem(out.p, out.n, "ENVID=+3D", 9) != NULL && memmem(out.p, out.n, "ORCPT=", 6) != NULL);
    ck_assert_uint_gt((size_t)(lf - out.p), 600);
    ck_assert_uint_lt((size_t)(lf - out.p), COMMAND_MAX);
    ck_assert_uint_gt(out.n - (size_t)(lf - out.p), 700);
    ck_assert_uint_lt(out.n - (size_t)(lf - out.p), COMMAND_MAX);       /* RCPT, with DATA */
    smtp_session_free(s);
}
END_TEST

/* The last line of defence: nothing of such a mail is written. */
START_TEST(test_line_breaks_in_the_envelope)
{
    static const char *const bad[] = {"a@x\r\nRCPT TO:<z@z>", "a\n@x", "a\r@x"};
    static const char *const good[] = {"b@y"};
    struct smtp_proofs proofs = {.n = 0};
    struct smtp_session_params params = BARE;
    struct smtp_session *s;
    struct smtp_outcome rcpt;
    struct smtp_transaction t = {.rcpts = good, .n_rcpts = 1, .rcpt_outcomes = &rcpt, .content = {"x\r\n", 3}};
    struct smtp_event ev;

    params.proofs = &proofs;
    s = smtp_session_new(&params);
    smtp_session_start(s, 1);
    say(s, "220 hi\r\n");
    take_all(s, 1);
    say(s, "250-relay\r\n250 DSN\r\n");
    for (size_t i = 0; i < 3 * ARRAY_LEN(bad); i++) {
        ck_assert(smtp_session_next_event(s, &ev) && ev.type == SMTP_EV_READY);
        t.from = i / 3 == 0 ? bad[i % 3] : "a@x";
        t.rcpts = i / 3 == 1 ? &bad[i % 3] : good;
        t.envid = i / 3 == 2 ? bad[i % 3] : NULL;
        smtp_session_submit(s, &t, 1);
        ck_assert(smtp_session_next_event(s, &ev) && ev.type == SMTP_EV_DONE);
        ck_assert_int_eq(t.outcome.code, OUTCOME_INTERNAL_ERROR);
        ck_assert_int_eq(t.outcome.delivery, DELIVERY_NOT_SENT);
        ck_assert_uint_eq(take_all(s, 1), 0);
    }
    smtp_session_free(s);
}
END_TEST

TABLE(opening)
TABLE(login)
TABLE(lock_step)
TABLE(extensions)
TABLE(pipelined)
TABLE(fates)

int main(void)
{
    Suite *suite = suite_create("session");
    TCase *tc = tcase_create("conversations");
    SRunner *sr = srunner_create(suite);
    int failed;

    tcase_add_loop_test(tc, test_opening, 0, (int)ARRAY_LEN(opening));
    tcase_add_loop_test(tc, test_login, 0, (int)ARRAY_LEN(login));
    tcase_add_loop_test(tc, test_lock_step, 0, (int)ARRAY_LEN(lock_step));
    tcase_add_loop_test(tc, test_extensions, 0, (int)ARRAY_LEN(extensions));
    tcase_add_loop_test(tc, test_pipelined, 0, (int)ARRAY_LEN(pipelined));
    tcase_add_loop_test(tc, test_fates, 0, (int)ARRAY_LEN(fates));
    tcase_add_test(tc, test_auth_line_limit);
    tcase_add_test(tc, test_reply_line_limits);
    tcase_add_loop_test(tc, test_many_recipients_go_in_pieces, 0, 2);
    tcase_add_test(tc, test_longest_commands);
    tcase_add_test(tc, test_line_breaks_in_the_envelope);
    suite_add_tcase(suite, tc);
    srunner_run_all(sr, CK_ENV);
    failed = srunner_ntests_failed(sr);
    srunner_free(sr);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
