#ifndef SERVICE_LOG_WRITER_H
#define SERVICE_LOG_WRITER_H
/* Carries lines to stderr on a thread of its own, through a ring of fixed size: whoever logs copies his line and goes
 * on, however slow, full, closed or unread stderr is. What finds no room, and what stderr refuses, is lost and counted,
 * and a line in the log says how much was lost as soon as stderr takes lines again. Any thread. */
#include "smtp/bytes.h"

#define LOG_WRITER_LINE_MAX 4096        /* PIPE_BUF of Linux: a pipe takes so much whole or not at all */

/* Writes the line that says how many lines were lost; its length, at most LOG_WRITER_LINE_MAX. */
typedef size_t log_writer_report(uint64_t lost, char to[LOG_WRITER_LINE_MAX]);

/* Once. 0, or -1: no thread, and _put takes nothing. */
int log_writer_start(log_writer_report *report) MUST_CHECK;
/* Once, when SIGPIPE is ignored, and before PR_SET_DUMPABLE: where stderr is a pipe that this user may open, a line
 * goes out at once as long as the pipe has room; only what finds none takes the way through the ring. */
void log_writer_write_through(void);
/* `text`: one or more whole lines, at most LOG_WRITER_LINE_MAX bytes. Never waits for stderr. important: may use the
 * room that is kept free for such lines. False: there is no writer; write it yourself. A line that is lost counts as
 * taken. */
bool log_writer_put(struct bytes_view text, bool important);
/* Waits until stderr has taken what was put before; gives up when it takes nothing for stall_ms. */
void log_writer_flush(unsigned stall_ms);
uint64_t log_writer_lost(void);         /* lines, since the start */
#endif
