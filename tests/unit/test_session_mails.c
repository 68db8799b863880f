#include "tests/unit/session_scripts.h"

#include <check.h>
#include <stdlib.h>

/* The session core: several mails on one session, what may leave before what is known, and whose a refusal is. */

#define DEPTH(n) \
    {.ehlo_name = "me", .tls_mode = SMTP_TLS_NONE, .one_flight_max = 65536, .one_flight_idle = 5000, .depth = n, TIMES}
/* A whole mail in one flight, and the same behind another one. */
#define FLIGHT "> mail\nC: MAIL FROM:<a@x>\nC: RCPT TO:<b@y>\nC: BDAT 21 LAST\n" BODY
#define BEHIND "> mail\nC: RSET\nC: MAIL FROM:<a@x>\nC: RCPT TO:<b@y>\nC: BDAT 21 LAST\n" BODY
#define TAKEN "S: 250 ok\nS: 250 ok\nS: 250 queued\n"
#define NO_SUCH "> mail\nC: *\nS: 250 ok\nC: *\nS: 550 5.1.1 no\n! done recipients_rejected rejected rcpt\n"
#define NOBODY "S: 250 ok\nS: 550 5.1.1 no\nS: 554 no\n! done recipients_rejected rejected rcpt\n"
#define NOBODY_ALONE FLIGHT NOBODY

/* Several mails in hand: who is told what. */
static const struct conversation transactions[] = {
    {"three in flight", PIPELINED, DEPTH(3),
     FLIES FLIGHT "! room yes\n" BEHIND BEHIND "! room no\n" TAKEN "! done sent accepted body #1\n! room yes\n"
                  "S: 250 reset\n" TAKEN "! done sent accepted body #2\nS: 250 reset\n" TAKEN
                  "! done sent accepted body #3\n! ready\n" FLIGHT TAKEN "! done sent accepted body\n! ready\n"},
    {"room is made by each reply", PIPELINED, DEPTH(2),
     FLIES FLIGHT BEHIND "! room no\n" TAKEN "! done sent accepted body\n! room yes\n" BEHIND "S: 250 reset\n" TAKEN
                  "S: 250 reset\n" TAKEN "! done sent accepted body\n! done sent accepted body\n! ready\n"},
    {"one in flight unless more are allowed", PIPELINED, BARE,
     FLIES FLIGHT "! room no\n" TAKEN "! done sent accepted body\n! ready\n"},
    {"a refused sender in the middle", PIPELINED, DEPTH(3),
     FLIES FLIGHT BEHIND BEHIND TAKEN "! done sent accepted body\nS: 250 reset\nS: 550 5.7.1 no\nS: 503 no\nS: 503 no\n"
                  "! done sender_rejected rejected mail #2\nS: 250 reset\n" TAKEN
                  "! done sent accepted body #3\n! ready\n"},
    {"refused recipients in the middle", PIPELINED, DEPTH(3),
     FLIES FLIGHT BEHIND BEHIND TAKEN "! done sent accepted body\nS: 250 reset\nS: 250 ok\nS: 550 5.1.1 no\nS: 554 no\n"
                  "! done recipients_rejected rejected rcpt #2\nS: 250 reset\n" TAKEN
                  "! done sent accepted body #3\n! ready\n"},
    {"a body put off, the last one: RSET before the next", PIPELINED, DEPTH(2),
     FLIES FLIGHT BEHIND TAKEN "! done sent accepted body\nS: 250 reset\nS: 250 ok\nS: 250 ok\nS: 451 later\n"
                  "! done message_deferred rejected body\n" CLEAN FLIGHT TAKEN "! done sent accepted body\n! ready\n"},
    {"a body put off, another one sent behind it: no RSET", PIPELINED, DEPTH(2),
     FLIES FLIGHT BEHIND "S: 250 ok\nS: 250 ok\nS: 451 later\n! done message_deferred rejected body\n"
                  "S: 250 reset\n" TAKEN "! done sent accepted body\n! ready\n" FLIGHT TAKEN
                  "! done sent accepted body\n! ready\n"},
    {"closed before any reply", PIPELINED, DEPTH(3),
     FLIES FLIGHT BEHIND "x close\n! done outcome_unknown unknown body\n! done outcome_unknown unknown body\n"
                  "! dead outcome_unknown unknown body\n"},
    {"closed after the first", PIPELINED, DEPTH(3),
     FLIES FLIGHT BEHIND BEHIND TAKEN "x close\n! done sent accepted body #1\n! done outcome_unknown unknown body #2\n"
                  "! done outcome_unknown unknown body #3\n! dead outcome_unknown unknown body\n"},
    {"closed with the second in our hands", PIPELINED, DEPTH(3),
     FLIES FLIGHT "x hold\n> mail\nx close\n! done outcome_unknown unknown body #1\n"
                  "! done connection_closed not_sent mail #2\n! dead outcome_unknown unknown body\n"},
    {"closed, the second one's sender refused before", PIPELINED, DEPTH(3),
     FLIES FLIGHT BEHIND BEHIND TAKEN "S: 250 reset\nS: 450 4.7.1 no\nx close\n! done sent accepted body #1\n"
                  "! done sender_rejected rejected mail #2\n! done outcome_unknown unknown body #3\n"
                  "! dead sender_rejected rejected mail\n"},
    {"half a reply to the second", PIPELINED, DEPTH(2),
     FLIES FLIGHT BEHIND TAKEN "S: 250 reset\nS: 250 ok\nS: 250 ok\nS| 250 queu\nx close\n"
                   "! done sent accepted body #1\n"
                  "! done outcome_unknown unknown body #2\n! dead outcome_unknown unknown body\n"},
    {"421 in the place of a reply: what is not answered is not done", PIPELINED, DEPTH(3),
     FLIES FLIGHT BEHIND BEHIND TAKEN "S: 421 4.7.0 enough\nx close\n! done sent accepted body #1\n"
                  "! done service_closing not_sent mail #2\n! done service_closing not_sent mail #3\n"
                  "! dead service_closing not_sent mail\n"},
    {"421 to a body", PIPELINED, DEPTH(2),
     FLIES FLIGHT BEHIND "S: 250 ok\nS: 250 ok\nS: 421 bye\n! done message_deferred rejected body #1\n"
                  "! done service_closing not_sent mail #2\n! dead service_closing not_sent body\n"},
    {"a server that does not swallow a refused BDAT", PIPELINED, DEPTH(3),
     FLIES FLIGHT BEHIND "S: 250 ok\nS: 250 ok\nS: 502 what is BDAT?\n! done protocol_error not_sent body #1\n"
                  "! done outcome_unknown unknown body #2\n! dead protocol_error not_sent body\n! one_flight off\n"},
    {"a body for nobody is accepted", PIPELINED, DEPTH(2),
     FLIES FLIGHT BEHIND "S: 250 ok\nS: 550 5.1.1 no\nS: 250 queued\n! done recipients_rejected rejected rcpt #1\n"
                  "! done outcome_unknown unknown body #2\n! dead protocol_error not_sent body\n"},
    {"RSET refused: whose mail was taken?", PIPELINED, DEPTH(2),
     FLIES FLIGHT BEHIND TAKEN "S: 500 what\n" TAKEN "! done sent accepted body #1\n"
                  "! done protocol_error unknown body #2\n! dead protocol_error not_sent mail\n"},
    {"a reply before its command was sent", PIPELINED | WHOLE, DEPTH(2),
     FLIES FLIGHT "x hold\n> mail\n" TAKEN "S: 250 reset\n! done sent accepted body #1\n"
                  "! done protocol_error not_sent mail #2\n! dead protocol_error not_sent mail\n"},
    {"silence in the middle", PIPELINED, DEPTH(2),
     FLIES FLIGHT BEHIND TAKEN "! done sent accepted body #1\nx wait 1999\n! nothing\nx wait 1\n"
                  "! done outcome_unknown unknown body #2\n! dead outcome_unknown unknown body\n! one_flight off\n"},
    {"a mail behind does not prolong the wait of the first", PIPELINED, DEPTH(2),
     FLIES FLIGHT "x wait 1500\n" BEHIND "x wait 499\n! nothing\nx wait 1\n! done outcome_unknown unknown body #1\n"
                  "! done outcome_unknown unknown body #2\n! dead outcome_unknown unknown body\n! one_flight off\n"},
    {"the first given up, answered late", PIPELINED, DEPTH(2),
     FLIES FLIGHT BEHIND "x give_up TRUE #1\nx wait 500000\n! nothing\n" TAKEN "! done sent accepted body #1\n"
                  "S: 250 reset\n" TAKEN "! done sent accepted body #2\n! ready\n"},
    {"the second given up before it left", PIPELINED, DEPTH(3),
     FLIES FLIGHT "x hold\n> mail\nx give_up FALSE #2\n! done deadline_exceeded not_sent mail #2\nx let\n! room no\n"
                   TAKEN
                  "! done sent accepted body #1\n! dead deadline_exceeded not_sent mail\n"},
    {"the second given up with a third behind it", PIPELINED, DEPTH(3),
     FLIES FLIGHT "x hold\n> mail\n> mail\nx give_up FALSE #2\n! done deadline_exceeded not_sent mail #2\n"
                  "! done connection_closed not_sent mail #3\nx let\nx close\n! done outcome_unknown unknown body #1\n"
                  "! dead outcome_unknown unknown body\n"},
    {"the first given up before it left takes all along", PIPELINED, DEPTH(2),
     FLIES "x hold\n> mail\n> mail\nx give_up FALSE #1\n! done deadline_exceeded not_sent mail #1\n"
           "! done connection_closed not_sent mail #2\n! dead deadline_exceeded not_sent mail\n"},
    {"one that the relay cannot take is told at once", PIPELINED, DEPTH(3),
     FLIES FLIGHT "> mail dsn\n! done dsn_unsupported not_sent ehlo #2\n! room yes\n" BEHIND TAKEN
                  "S: 250 reset\n" TAKEN "! done sent accepted body #1\n! done sent accepted body #3\n! ready\n"},
    {"partial reject waits for its own envelope", PIPELINED, DEPTH(3),
     FLIES FLIGHT "> mail two reject\nC: RSET\nC: MAIL FROM:<a@x>\nC: RCPT TO:<b@y>\nC: RCPT TO:<c@y>\n! room no\n"
                   TAKEN
                  "! done sent accepted body #1\nS: 250 reset\nS: 250 ok\nS: 250 ok\nS: 250 ok\nC: BDAT 21 LAST\n" BODY
                  "! room yes\n" BEHIND "S: 250 queued\n! done sent accepted body #2\nS: 250 reset\n" TAKEN
                  "! done sent accepted body #3\n! ready\n"},
    {"partial reject, refused, and the next one", PIPELINED, DEPTH(3),
     FLIES FLIGHT "> mail two reject\nC: *\nC: *\nC: *\nC: *\n" TAKEN "! done sent accepted body #1\nS: 250 reset\n"
                  "S: 250 ok\nS: 550 5.1.1 no\nS: 250 ok\n! done recipients_rejected not_sent rcpt #2\n" CLEAN
                  FLIGHT TAKEN "! done sent accepted body #3\n! ready\n"},
    {"a big one flies behind its envelope's replies", PIPELINED, DEPTH(3),
     FLIES FLIGHT "> mail big\nC: RSET\nC: *\nC: *\n! room no\n" TAKEN "! done sent accepted body #1\n"
                  "S: 250 reset\nS: 250 ok\nS: 250 ok\nC: BDAT 102400 LAST\nC. 102400\n! room yes\n" BEHIND
                  "S: 250 queued\n! done sent accepted body #2\nS: 250 reset\n" TAKEN
                  "! done sent accepted body #3\n! ready\n"},
    {"two mails in a row refused alike wear a session out", LOCK_STEP, BARE,
     READY("") "> mail\nC: *\nS: 451 4.3.0 no\n! done sender_rejected rejected mail\n" CLEAN "! worn no\n"
               "> mail\nC: *\nS: 451 4.3.0 no\n! done sender_rejected rejected mail\n! ready\n! worn yes\n"},
    {"not those refused otherwise, nor those with one taken between", LOCK_STEP, BARE,
     READY("") "> mail\nC: *\nS: 451 4.3.0 no\n! done sender_rejected rejected mail\n" CLEAN
               "> mail\nC: *\nS: 451 4.7.1 no\n! done sender_rejected rejected mail\n" CLEAN
               "> mail\n" SENT_LOCK_STEP "> mail\nC: *\nS: 451 4.7.1 no\n! done sender_rejected rejected mail\n" CLEAN
               "! worn no\n"},
    {"wrong addresses wear a session out before its server slows down", LOCK_STEP, BARE,
     READY("") NO_SUCH CLEAN NO_SUCH CLEAN NO_SUCH CLEAN NO_SUCH CLEAN NO_SUCH CLEAN NO_SUCH CLEAN NO_SUCH CLEAN
               "! worn no\n" NO_SUCH "! ready\n! worn yes\n"},
    {"each refused command counts, the proof's too", PIPELINED, BARE,
     FLIES NOBODY_ALONE CLEAN NOBODY_ALONE CLEAN NOBODY_ALONE CLEAN "! worn no\n" NOBODY_ALONE "! ready\n! worn yes\n"},
    {"what may all be refused is not too much", PIPELINED, DEPTH(3),
     FLIES FLIGHT NOBODY CLEAN FLIGHT NOBODY CLEAN FLIGHT "! room yes\n" BEHIND "! room no\n! worn no\n" TAKEN
           "! done sent accepted body\n! room yes\nS: 250 reset\n" TAKEN "! done sent accepted body\n! ready\n"},
    {"lock-step has one in hand", LOCK_STEP, DEPTH(3),
     READY("S: 250-CHUNKING\n") "> mail\nC: *\n! room no\nS: 250 ok\nC: *\nS: 250 ok\nC: DATA\nS: 354 go\n" BODY
                                "C: .\n! room no\nS: 250 ok\n! done sent accepted body\n! ready\n"},
};

#define UNPROVEN READY("S: 250-CHUNKING\n") FIRST "C: BDAT 6 LAST\nC: QUIT\nC: RSET\n"
#define BY_DATA                                                                                                        \
    "> mail\nC: *\nC: *\nC: DATA\nS: 250 ok\nS: 250 ok\nS: 354 go\n" BODY                                              \
    "C: .\nS: 250 ok\n! done sent accepted body\n"
#define AGAIN "x quit\nC: QUIT\nS: 221 bye\n! quit\nx forget\nx anew\n"
#define DEAD_OF(code) "! dead " code " not_sent mail\n"

/* Does the server discard the octets of a refused chunk? Until that is shown no text of a mail leaves before its
 * envelope is accepted. */
static const struct conversation chunk_proofs[] = {
    {"the second mail in one flight", PIPELINED, BARE, FLIES FLIGHT TAKEN "! done sent accepted body\n! ready\n"},
    {"a first mail that is refused, and the proof", PIPELINED, BARE,
     READY("S: 250-CHUNKING\n") "> mail\nC: *\nC: *\nC: DATA\nS: 250 ok\nS: 550 5.1.1 no\nS: 503 nobody\n"
                                "! done recipients_rejected rejected rcpt\n" PROOF "! ready\nx forget\n" FLIGHT TAKEN
                                "! done sent accepted body\n! ready\n"},
    {"it runs the chunk", PIPELINED, BARE, UNPROVEN "S: 503 no\nS: 221 bye\nx close\n" DEAD_OF("protocol_error")
     "! one_flight off\n! doubted no\nx forget\nx anew\n" READY("S: 250-CHUNKING\n") BY_DATA "! ready\n"
     BY_DATA "! ready\n"},
    {"it runs the chunk and leaves without a word", PIPELINED, BARE,
     UNPROVEN "S: 503 no\nx close\n" DEAD_OF("connection_closed") "! one_flight off\n"},
    {"it does not know the chunk's command", PIPELINED, BARE,
     UNPROVEN "S: 503 no\nS: 500 what\n" DEAD_OF("protocol_error") "! one_flight off\n"},
    {"it does not know BDAT", PIPELINED, BARE,
     UNPROVEN "S: 502 what\nS: 250 reset\n! ready\n! one_flight off\n" BY_DATA "! ready\n"},
    {"it takes a chunk for nobody", PIPELINED, BARE,
     UNPROVEN "S: 250 6 octets\nS: 250 reset\n! ready\n! one_flight off\n" BY_DATA "! ready\n"},
    {"it forgets what came along", PIPELINED, BARE,
     UNPROVEN "S: 503 no\nx wait 2000\n" DEAD_OF("timeout") "! one_flight off\n"},
    {"it is silent: others are asked too, but not for ever", PIPELINED, BARE,
     UNPROVEN "x wait 2000\n" DEAD_OF("timeout") "! one_flight on\nx forget\nx anew\n"
     UNPROVEN "x wait 2000\n" DEAD_OF("timeout") "! one_flight on\nx forget\nx anew\n"
     UNPROVEN "S: 421 bye\n" DEAD_OF("service_closing") "! one_flight off\n"},
    {"a server of the same fingerprint is believed", PIPELINED, BARE,
     FLIES FLIGHT TAKEN "! done sent accepted body\n! ready\n" AGAIN READY("S: 250-CHUNKING\n") FLIGHT TAKEN
     "! done sent accepted body\n! ready\n"},
    {"only once a mail went so", PIPELINED, BARE,
     FLIES AGAIN READY("S: 250-CHUNKING\n") FIRST PROOF "! ready\n"},
    {"another greeting, another server", PIPELINED, BARE,
     FLIES FLIGHT TAKEN "! done sent accepted body\n! ready\n" AGAIN
     "S: 220 hello\nC: EHLO me\nS: 250-relay\nS: $PIPE\nS: 250-CHUNKING\nS: 250 HELP\n! ready\n"
     FIRST PROOF "! ready\n"},
    {"other extensions, another server", PIPELINED, BARE,
     FLIES FLIGHT TAKEN "! done sent accepted body\n! ready\n" AGAIN READY("S: 250-CHUNKING\nS: 250-XYZ\n") FIRST PROOF
     "! ready\n"},
    {"a date and an id in the greeting are of the session", PIPELINED, BARE,
     "S: 220 mx7-a1b2c3.x.test ESMTP 7f1b-03 Tue, 01 Dec 2026 04:40:51 +0000\nC: EHLO me\nS: 250-relay 192.0.2.1\n"
     "S: $PIPE\n"
     "S: 250-CHUNKING\nS: 250 HELP\n! ready\n" FIRST PROOF "! ready\nx forget\n"
     FLIGHT TAKEN "! done sent accepted body\n"
     "! ready\n" AGAIN
     "S: 220 mx8-d4e5f6.x.test ESMTP 7f1b-03 Wed, 02 Dec 2026 05:41:52 +0000\nC: EHLO me\nS: 250-relay 192.0.2.2\n"
     "S: $PIPE\n"
     "S: 250-CHUNKING\nS: 250 HELP\n! ready\n" FLIGHT TAKEN "! done sent accepted body\n! ready\n"},
    {"before TLS nothing is believed", PIPELINED, TLS,
     SECURE("S: 250-CHUNKING\n") "! ready\n" FIRST PROOF "! ready\nx forget\n"
     FLIGHT TAKEN "! done sent accepted body\n! ready\n"},
    {"CHUNKING switched off", PIPELINED, WITHOUT(SMTP_EXT_CHUNKING),
     READY("S: 250-CHUNKING\n") BY_DATA "! ready\n" BY_DATA "! ready\n"},
    {"SIZE switched off", LOCK_STEP, WITHOUT(SMTP_EXT_SIZE), READY("S: 250-SIZE 3\n") "> mail\nC: MAIL FROM:<a@x>\n"
     "S: 450 no\n"
     "! done sender_rejected rejected mail\nC: RSET\nx close\n! dead connection_closed not_sent mail\n"},
    {"proven, and then it does not know BDAT: this mail is the session's loss", PIPELINED, BARE,
     FLIES FLIGHT "S: 250 ok\nS: 250 ok\nS: 503 what\n! done protocol_error not_sent body\n! whose session\n"
     "! dead protocol_error not_sent body\n! one_flight off\n"},
};

/* Whose refusal it is: a session's is no word on the mail. */
static const struct conversation whose[] = {
    {"4.4.5 at MAIL of a second mail", LOCK_STEP, BARE,
     READY("") "> mail\n" SENT_LOCK_STEP "> mail\nC: *\nS: 452 4.4.5 enough\n! done session_limit rejected mail\n"
               "! whose session\n! ready\n! worn yes\n"},
    {"4.3.2 to DATA of a second mail", LOCK_STEP, BARE,
     READY("") "> mail\n" SENT_LOCK_STEP "> mail\nC: *\nS: 250 ok\nC: *\nS: 250 ok\nC: DATA\nS: 451 4.3.2 enough\n"
               "! done session_limit rejected data\n! whose session\n! ready\n! worn yes\n"},
    {"words at the body of a second mail", PIPELINED, BARE,
     FLIES FLIGHT "S: 250 ok\nS: 250 ok\nS: 452 too many messages per connection\n! done session_limit rejected body\n"
                  "! whose session\n! ready\n! worn yes\n"},
    {"words of the day are no session's", LOCK_STEP, BARE,
     READY("") "> mail\n" SENT_LOCK_STEP "> mail\nC: *\nS: 452 4.2.9 your messages per day are used up\n"
               "! done sender_rejected rejected mail\n! whose mail\n" CLEAN "! worn no\n"},
    {"5.5.1 of the session", LOCK_STEP, BARE,
     READY("") "> mail\n" SENT_LOCK_STEP "> mail\nC: *\nS: 550 5.5.1 too many transactions\n"
               "! done session_limit rejected mail\n! whose session\n! ready\n"},
    {"5.7.1 is no session's", LOCK_STEP, BARE,
     READY("") "> mail\n" SENT_LOCK_STEP "> mail\nC: *\nS: 550 5.7.1 too many transactions\n"
               "! done sender_rejected rejected mail\n! whose mail\n" CLEAN},
    {"503 to a second MAIL", LOCK_STEP, BARE,
     READY("") "> mail\n" SENT_LOCK_STEP "> mail\nC: *\nS: 503 5.5.1 nested MAIL\n"
               "! done sender_rejected rejected mail\n! whose session\n! ready\n"},
    {"4.3.2 at MAIL of a first mail is the relay's", LOCK_STEP, BARE,
     READY("") "> mail\nC: *\nS: 451 4.3.2 busy\n! done relay_busy not_sent mail\n! whose relay\n" CLEAN},
    {"421 4.3.2 to the body", PIPELINED, BARE,
     READY("") PIPED("") TO_BODY BODY "C: .\nS: 421 4.3.2 bye\n! done message_deferred rejected body\n! whose session\n"
               "! dead service_closing not_sent body\n"},
    {"a wrong address is the address's", LOCK_STEP, BARE,
     READY("") "> mail\nC: *\nS: 250 ok\nC: *\nS: 550 5.1.1 no\n! done recipients_rejected rejected rcpt\n"
               "! whose address\n" CLEAN},
    {"an old session that is silent", PIPELINED, SLOW,
     READY("") BY_DATA "! ready\nx forget\nx wait 6000\n> mail\nC: *\nC: *\nC: DATA\nx wait 4999\n! nothing\nx wait 1\n"
               "! done timeout not_sent mail\n! whose session\n! dead timeout not_sent mail\n"},
    {"an old session that answers is given its time", PIPELINED, SLOW,
     READY("") BY_DATA "! ready\nx forget\nx wait 6000\n> mail\nC: *\nC: *\nC: DATA\nx wait 4000\nS: 250 ok\n"
               "x wait 14999\n! nothing\nx wait 1\n! done timeout not_sent rcpt\n! whose relay\n"
               "! dead timeout not_sent rcpt\n"},
    {"354 to STARTTLS", BOTH, TLS,
     GREETED "S: 250-relay\nS: 250 STARTTLS\nC: STARTTLS\nS: 354 go\n! dead starttls_refused not_sent starttls\n"},
};

#define DATA_MAIL "> mail\nC: MAIL FROM:<a@x>\nC: RCPT TO:<b@y>\nC: DATA\n"
#define DATA_BEHIND "> mail\nC: RSET\nC: MAIL FROM:<a@x>\nC: RCPT TO:<b@y>\nC: DATA\n"
#define GO_ON "S: 250 ok\nS: 250 ok\nS: 354 go\n"

/* RFC 2920 without RFC 3030: the dot of a mail and the envelope of the next one leave together. */
static const struct conversation dot_and_envelope[] = {
    {"the next envelope behind the dot", PIPELINED, BARE,
     READY("") DATA_MAIL "! room no\n" GO_ON BODY "C: .\n! room yes\n" DATA_BEHIND "! room no\nS: 250 queued\n"
                         "! done sent accepted body #1\n! nothing\nS: 250 reset\n" GO_ON BODY "C: .\n! room yes\n"
                         "S: 250 queued\n! done sent accepted body #2\n! ready\n" DATA_MAIL GO_ON BODY
                         "C: .\nS: 250 queued\n! done sent accepted body #3\n! ready\n"},
    {"depth is not for DATA", PIPELINED, DEPTH(8),
     READY("") DATA_MAIL GO_ON BODY "C: .\n" DATA_BEHIND "! room no\nS: 250 queued\n"
                   "! done sent accepted body\n! room no\n"
               "S: 250 reset\n" GO_ON BODY "C: .\nS: 250 queued\n! done sent accepted body\n! ready\n"},
    {"the first body refused", PIPELINED, BARE,
     READY("") DATA_MAIL GO_ON BODY "C: .\n" DATA_BEHIND "S: 554 spam\n! done message_rejected rejected body #1\n"
               "S: 250 reset\n" GO_ON BODY "C: .\nS: 250 ok\n! done sent accepted body #2\n! ready\n"},
    {"the second one's recipient refused", PIPELINED, BARE,
     READY("") DATA_MAIL GO_ON BODY "C: .\n" DATA_BEHIND "S: 250 queued\n! done sent accepted body #1\nS: 250 reset\n"
               "S: 250 ok\nS: 550 5.1.1 no\nS: 554 no valid recipients\n! done recipients_rejected rejected rcpt #2\n"
               CLEAN},
    {"354 for nobody, behind another", PIPELINED, BARE,
     READY("") DATA_MAIL GO_ON BODY "C: .\n" DATA_BEHIND "S: 250 queued\n! done sent accepted body #1\nS: 250 reset\n"
               "S: 250 ok\nS: 550 5.1.1 no\nS: 354 go\nC: .\n! room no\nS: 554 nobody\n"
               "! done recipients_rejected rejected rcpt #2\n" CLEAN},
    {"closed behind the dot", PIPELINED, BARE,
     READY("") DATA_MAIL GO_ON BODY "C: .\n" DATA_BEHIND "x close\n! done outcome_unknown unknown body #1\n"
               "! done connection_closed not_sent mail #2\n! dead outcome_unknown unknown body\n"},
    {"closed behind the first reply", PIPELINED, BARE,
     READY("") DATA_MAIL GO_ON BODY "C: .\n" DATA_BEHIND "S: 250 ok\nx close\n! done sent accepted body #1\n"
               "! done connection_closed not_sent mail #2\n! dead connection_closed not_sent mail\n"},
    {"a 250 in the place of the 354", PIPELINED, BARE,
     READY("") DATA_MAIL GO_ON BODY "C: .\n" DATA_BEHIND "S: 250 ok\n! done sent accepted body #1\nS: 250 reset\n"
               "S: 250 ok\nS: 250 ok\nS: 250 ok\n! done protocol_error not_sent data #2\n"
               "! dead protocol_error not_sent data\n"},
};

TABLE(transactions)
TABLE(dot_and_envelope)
TABLE(chunk_proofs)
TABLE(whose)

int main(void)
{
    Suite *suite = suite_create("session_mails");
    TCase *tc = tcase_create("conversations");
    SRunner *sr = srunner_create(suite);
    int failed;

    tcase_add_loop_test(tc, test_transactions, 0, (int)ARRAY_LEN(transactions));
    tcase_add_loop_test(tc, test_dot_and_envelope, 0, (int)ARRAY_LEN(dot_and_envelope));
    tcase_add_loop_test(tc, test_chunk_proofs, 0, (int)ARRAY_LEN(chunk_proofs));
    tcase_add_loop_test(tc, test_whose, 0, (int)ARRAY_LEN(whose));
    suite_add_tcase(suite, tc);
    srunner_run_all(sr, CK_ENV);
    failed = srunner_ntests_failed(sr);
    srunner_free(sr);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
