#include "smtp/address.h"
#include "smtp/raw.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

/* Finished messages: which are taken, what is said about the others, and how they are written. */

#define F "From: a@b.example\n"
#define X100 "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
#define X998 X100 X100 X100 X100 X100 X100 X100 X100 X100 \
    "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"

/* from, to, cc, bcc and message_id with '|' between them, then the facts: D date, B bcc, R resent, 8, U utf8 header. */
static const struct {
    const char *in, *out;
} good[] = {
    {F, "a@b.example|||||"}, {"From: a@b.example", "a@b.example|||||"}, {F "\n", "a@b.example|||||"},
    {F "\nHello\n", "a@b.example|||||"}, {"From: a@b.example\r\n\r\nHello", "a@b.example|||||"},
    {"fROM:a@b.example\r\nTO:c@d.example\n\n", "a@b.example|c@d.example||||"},
    {F "To: c@d.example,\n\tE <e@f.example>\nCc: g@h.example\nBcc: i@j.example\n\n",
     "a@b.example|c@d.example e@f.example|g@h.example|i@j.example||B"},
    {F "To: undisclosed-recipients:;\nBcc:\n\n", "a@b.example|||||B"}, {F "To: \n\n", "a@b.example|||||"},
    {F "To: c@d.example, C <c@D.example>\nCc: c@d.example\n\n", "a@b.example|c@d.example|c@d.example|||"},
    {"From: Ann (x) <a@b.example>\nSender: s@b.example\n\n", "a@b.example|||||"},
    {"From: a@b.example, c@d.example\nSender: s@b.example\n\n", "s@b.example|||||"},
    {"From: a@b.example, A <a@b.example>\n\n", "a@b.example|||||"},
    {"From: Machine:;\nSender: s@b.example\n\n", "s@b.example|||||"},
    {"From: Us: a@b.example;\n\n", "a@b.example|||||"},
    {F "Message-ID: <x@y>\nDate: Tue, 24 Nov 2026 23:56:00 +0000\n\n", "a@b.example||||<x@y>|D"},
    {F "MESSAGE-id:\n <x!$@[y]> \n\n", "a@b.example||||<x!$@[y]>|"},
    {F "Message-ID: <no-at-sign>\n\n", "a@b.example||||<no-at-sign>|"},
    {F "Resent-To: r@s.example\nResent-From: r@s.example\nResent-To: t@u.example\n\n", "a@b.example|||||R"},
    {F "Resent-Bcc: r@s.example\n\n", "a@b.example|||||BR"},
    {F "\nGr\xC3\xBC\xC3\x9F" "e\n", "a@b.example|||||8"}, {F "\n\xFF\xFE 1234567", "a@b.example|||||8"},
    {F "\n1234567\xFF", "a@b.example|||||8"},
    {F "Subject: Gr\xC3\xBC\xC3\x9F" "e\n\n", "a@b.example|||||U"},
    {F "Subject: x\n Gr\xC3\xBC\xC3\x9F" "e\n\n\xE9", "a@b.example|||||8U"},
    {F "To: \xC3\xA9@d.example\n\n", "a@b.example|\xC3\xA9@d.example||||U"},
    {F "Bcc: J\xC3\xBCrgen <j@d.example>\n\n", "a@b.example|||j@d.example||B"},
    {F "Received: x\nReceived: y\nDKIM-Signature: v=1\nDKIM-Signature: v=1\nX: 1\nX: 2\n\n", "a@b.example|||||"},
    {F "X-!#$%&'*+-./09<=>?@AZ[\\]^_`az{|}~;\":\n\n", "a@b.example|||||"},
    {F "X:" "\n folded\n\tmore\n\n", "a@b.example|||||"},
    {F "X: :: : \n\n", "a@b.example|||||"}, {F "X: \x01\x1B\x7F\n\n", "a@b.example|||||"},
    {F "\n" X998 "\n", "a@b.example|||||"}, {F "\n" X998 "\r\n", "a@b.example|||||"},
    {F "\n" X998, "a@b.example|||||"},
    {F "\nFrom: z@z.example\nFrom: z@z.example\nBcc: z\nno field\n \n", "a@b.example|||||"},
    {F "\n\n.\n..\n.\r\n", "a@b.example|||||"}, {F "\n\xEF\xBB\xBFx", "a@b.example|||||8"},
    {F "From-x: 1\nTo-x: 2\nBccx: 3\n\n", "a@b.example|||||"}, {F "\nFrom me to you\n", "a@b.example|||||"},
    {F "Reply-To: not parsed\nSubject:\nMIME-Version: 1.0\nContent-Type: text/plain\n\n", "a@b.example|||||"},
};

static void add_list(struct bytes_buf *b, const struct mail_address_list *list)
{
    bytes_buf_add_char(b, '|');
    for (size_t i = 0; i < list->n; i++)
        bytes_buf_printf(b, "%s%s", i ? " " : "", list->v[i].email);
}

START_TEST(test_good)
{
    struct raw_facts f;
    struct bytes_buf b;

    bytes_buf_init(&b, 0);
    ck_assert_int_eq(raw_read(bytes_view_str(good[_i].in), RAW_WANT_ENVELOPE, 0, &f), 0);
    ck_assert_msg(f.n_problems == 0, "%s: line %zu: %s", good[_i].in, f.problems[0].line, f.problems[0].detail);
    bytes_buf_add_str(&b, f.from.email);
    add_list(&b, &f.to);
    add_list(&b, &f.cc);
    add_list(&b, &f.bcc);
    bytes_buf_printf(&b, "|%s|%s%s%s%s%s", f.message_id ? f.message_id : "", f.has_date ? "D" : "",
                     f.has_bcc ? "B" : "", f.has_resent ? "R" : "", f.is_8bit ? "8" : "", f.is_utf8_header ? "U" : "");
    ck_assert_str_eq(b.p, good[_i].out);
    bytes_buf_deinit(&b);
    raw_facts_deinit(&f);
}
END_TEST

/* "line code, …" of all problems; `n` 0: a string. */
static const struct {
    const char *in, *problems;
    size_t n;
} bad[] = {
    {"", "0 required", 0}, {"\n", "0 required", 0}, {"\r\n" F, "0 required", 0},
    {"To: a@b.example\n\n", "0 required", 0},
    {"Subject: x\n\nFrom: a@b.example\n", "0 required", 0},
    {F "\na\rb\n", "3 control_character", 0}, {F "\na\r\r\n", "3 control_character", 0},
    {F "\na\r", "3 control_character", 0},
    {F "\r\r\n", "2 control_character,2 invalid_header", 0},
    {F "X: a\rBcc: e@f.example\n\n", "2 control_character", 0},
    {F "\n\n\r.\r\n", "4 control_character", 0}, {F "\n\n.\r\r\n", "4 control_character", 0},
    {F "\r", "2 control_character,2 invalid_header", 0},
    {F "\na\0b\n", "3 control_character", sizeof(F "\na\0b\n") - 1},
    {F "X: \0\n\n", "2 control_character", sizeof(F "X: \0\n\n") - 1},
    {F "\0", "2 control_character,2 invalid_header", sizeof(F "\0") - 1},
    {F "\nx\n" X998 "x\nx\n", "4 line_too_long", 0}, {F "\n" X998 "x", "3 line_too_long", 0},
    {F "X: " X998 "\n\n", "2 line_too_long", 0},
    {F "\n" X998 "\r", "3 line_too_long,3 control_character", 0},
    {"\xEF\xBB\xBF" F "\n", "1 invalid_header", 0}, {"\xEF\xBB\xBF\n" F, "0 required,1 invalid_header", 0},
    {"From ann@b.example Tue Nov 24 23:56:00 2026\n" F "\n", "1 invalid_header", 0},
    {"From ann\n" F "\n", "1 invalid_header", 0}, {F "From ann\n", "2 invalid_header", 0},
    {">From ann@b.example Tue Nov 24 23:56:00 2026\n" F "\n", "1 invalid_header", 0},
    {" x\n" F "\n", "1 invalid_header", 0}, {"\tFrom: a@b.example\n" F "\n", "1 invalid_header", 0},
    {" \n" F "\n", "1 invalid_header", 0},
    {"From : a@b.example\n\n", "0 required,1 invalid_header", 0}, {F "Bcc : c@d.example\n\n", "2 invalid_header", 0},
    {F "Bcc\t: c@d.example\n\n", "2 invalid_header", 0}, {F ": x\n\n", "2 invalid_header", 0},
    {F "X Y: z\n\n", "2 invalid_header", 0}, {F "X\x7F: z\n\n", "2 invalid_header", 0},
    {F "X\x01: z\n\n", "2 invalid_header", 0},
    {F "\xC3\xA9: z\n\n", "2 invalid_header", 0}, {F "Hello Bob,\n\nhow are you?\n", "2 invalid_header", 0},
    {F "X: y\n \n\n", "3 invalid_header", 0}, {F "X: y\r\n\t \r\n z\r\n\r\n", "3 invalid_header", 0},
    {F " \n\n", "2 invalid_header", 0},
    {F "\v\nX: y\n\n", "2 invalid_header", 0}, {F "\x0B" "Bcc: a@b.example\n\n", "2 invalid_header", 0},
    {F "X: \xFF\n\n", "2 invalid_header", 0}, {F "X: y\n \xC3\n\n", "3 invalid_header", 0},
    {F "X: \xED\xA0\x80\n\n", "2 invalid_header", 0},
    {F F "\n", "2 invalid_header", 0}, {F "FROM: c@d.example\n\n", "2 invalid_header", 0},
    {F "Sender: s@t.example\nSender: s@t.example\n\n", "3 invalid_header", 0},
    {F "To: c@d.example\nX: y\n z\nTo: c@d.example\nTo: c@d.example\n\n", "5 invalid_header,6 invalid_header", 0},
    {F "Cc: c@d.example\ncc: c@d.example\n\n", "3 invalid_header", 0},
    {F "Bcc: c@d.example\nbcc: c@d.example\n\n", "3 invalid_header", 0},
    {F "Reply-To: x\nReply-To: x\nDate: x\nDate: x\n\n", "3 invalid_header,5 invalid_header", 0},
    {F "Subject: x\nSubject: x\nMessage-ID: <x>\nMessage-Id: <x>\n\n", "3 invalid_header,5 invalid_header", 0},
    {F "In-Reply-To: x\nIn-Reply-To: x\nReferences: x\nReferences: x\n\n", "3 invalid_header,5 invalid_header", 0},
    {F "MIME-Version: 1.0\nMIME-Version: 1.0\nContent-Type: x\nContent-type: x\n\n",
     "3 invalid_header,5 invalid_header", 0},
    {F "Content-Transfer-Encoding: 7bit\nContent-Transfer-Encoding: base64\n\n", "3 invalid_header", 0},
    {F "Message-ID:\n\n", "2 invalid_header", 0}, {F "Message-ID: x@y\n\n", "2 invalid_header", 0},
    {F "Message-ID: <>\n\n", "2 invalid_header", 0}, {F "Message-ID: <a b@c>\n\n", "2 invalid_header", 0},
    {F "Message-ID: <a@b> <c@d>\n\n", "2 invalid_header", 0}, {F "Message-ID: <a\n @b>\n\n", "2 invalid_header", 0},
    {F "Message-ID: <\xC3\xA9@b>\n\n", "2 invalid_header", 0}, {F "Message-ID: <a>b>\n\n", "2 invalid_header", 0},
    {F "Message-ID: <a@b> (x)\n\n", "2 invalid_header", 0},
    {"From:\n\n", "1 invalid_address", 0}, {"From: ann\n\n", "1 invalid_address", 0},
    {"From: <>\n\n", "1 invalid_address", 0},
    {"From: a@b.example, c@d.example\n\n", "1 invalid_address", 0}, {"From: G:;\n\n", "1 invalid_address", 0},
    {"From: a@b.example, c@d.example\nSender: s@t.example, u@v.example\n\n", "2 invalid_address", 0},
    {F "Sender: \n\n", "2 invalid_address", 0}, {F "Sender: s\n\n", "2 invalid_address", 0},
    {F "To: c@d.example,\n e@f.example,\n g\nCc: h\nBcc: (\n\n",
     "4 invalid_address,5 invalid_address,6 invalid_address", 0},
    {F "To:\n c\n\n", "3 invalid_address", 0}, {F "To: a@[192.0.2.1]\n\n", "2 invalid_address", 0},
    {F "To: a\xE2\x80\xA8@b.example\n\n", "2 invalid_address", 0},
    {F "Cc: \xC2\x85 <a@b.example>\n\n", "2 invalid_address", 0},
    {F "Bcc: a@b.example; c@d.example\n\n", "2 invalid_address", 0},
    {"X: \xFF\r\nTo: x\r\n\r\n\ra\r\n" X998 "x\n",
     "0 required,1 invalid_header,2 invalid_address,4 control_character,5 line_too_long", 0},
};

static void join_problems(const struct raw_facts *f, struct bytes_buf *b)
{
    bytes_buf_init(b, 0);
    for (size_t i = 0; i < f->n_problems; i++) {
        bytes_buf_printf(b, "%s%zu %s", i ? "," : "", f->problems[i].line, f->problems[i].code);
        ck_assert(f->problems[i].detail[0] && strlen(f->problems[i].detail) < sizeof(f->problems[i].detail) - 1);
        ck_assert(bytes_is_utf8(bytes_view_str(f->problems[i].detail)));
    }
    bytes_buf_add_str(b, "");
}

START_TEST(test_bad)
{
    struct raw_facts f;
    struct bytes_view in;
    struct bytes_buf b;

    in = bytes_view(bad[_i].in, bad[_i].n ? bad[_i].n : strlen(bad[_i].in));
    ck_assert_int_eq(raw_read(in, RAW_WANT_ENVELOPE, 0, &f), 0);
    join_problems(&f, &b);
    ck_assert_msg(strcmp(b.p, bad[_i].problems) == 0, "%s: %s, not %s", bad[_i].in, b.p, bad[_i].problems);
    bytes_buf_deinit(&b);
    raw_facts_deinit(&f);
}
END_TEST

static const struct {
    const char *in, *detail;
} details[] = {
    {"From ann@b.example Tue Nov 24 23:56:00 2026\n" F "\n", "mbox"}, {"From ann\n" F "\n", "mbox"},
    {"From : a@b.example\n" F "\n", "white space between"}, {"\xEF\xBB\xBF" F, "byte order mark"},
    {" x: y\n" F, "begins with a folded line"}, {F "Hello\n", "no colon"},
    {F "X: y\n \n\n", "nothing but white space"},
    {F "X: \xFF\n\n", "UTF-8"}, {F "X: y\n" F "\n", "a second From (the first is in line 1)"},
    {F "\n" X998 "x\n", "999 octets"}, {F "\n\r", "CR that no LF follows"},
    {F "From ann\n", "no colon"},
    {F "To: a@b.example, c\n\n", "To, address 2: it has no @"}, {F "Cc: (\n\n", "Cc, address 1: a comment's"},
    {"From: a@b.example, c@d.example\n\n", "From has 2 addresses and there is no Sender"},
    {F "Sender:\n\n", "Sender has 0 addresses"}, {F "To: <@r:a@b.example>\n\n", "route"},
};

START_TEST(test_details)
{
    struct raw_facts f;

    ck_assert_int_eq(raw_read(bytes_view_str(details[_i].in), RAW_WANT_ENVELOPE, 0, &f), 0);
    ck_assert_uint_eq(f.n_problems, 1);
    ck_assert_msg(strstr(f.problems[0].detail, details[_i].detail) != NULL, "%s", f.problems[0].detail);
    raw_facts_deinit(&f);
}
END_TEST

/* With an envelope of its own a message's addresses are nobody's business. */
START_TEST(test_without_envelope)
{
    static const char in[] = "From: us\nSender: (\nTo: \"\nCc: <<\nBcc: ;\nMessage-ID: <x@y>\n\n";
    struct raw_facts f;

    ck_assert_int_eq(raw_read(bytes_view_str(in), 0, 0, &f), 0);
    ck_assert_uint_eq(f.n_problems, 0);
    ck_assert(!f.from.email && !f.to.n && !f.cc.n && !f.bcc.n && f.has_bcc);
    ck_assert_str_eq(f.message_id, "<x@y>");
    raw_facts_deinit(&f);
    ck_assert(!f.message_id);
    ck_assert_int_eq(raw_read(bytes_view_str("To: x\n\n"), 0, 0, &f), 0);
    ck_assert_uint_eq(f.n_problems, 1);
    raw_facts_deinit(&f);
}
END_TEST

START_TEST(test_literals)
{
    struct raw_facts f;

    ck_assert_int_eq(raw_read(bytes_view_str(F "To: a@[192.0.2.1]\n\n"), RAW_WANT_ENVELOPE, ADDRESS_LITERALS, &f), 0);
    ck_assert_uint_eq(f.n_problems, 0);
    ck_assert_str_eq(f.to.v[0].email, "a@[192.0.2.1]");
    raw_facts_deinit(&f);
}
END_TEST

/* Wherever it stands, an octet over 127 is seen. */
START_TEST(test_8bit)
{
    char in[] = F "\n0123456789abcdef012";
    size_t body = strlen(F) + 1;

    for (size_t i = body; in[i]; i++) {
        struct raw_facts f;
        char kept = in[i];
        in[i] = (char)0x80;
        ck_assert_int_eq(raw_read(bytes_view_str(in), RAW_WANT_ENVELOPE, 0, &f), 0);
        ck_assert(f.is_8bit && !f.is_utf8_header);
        raw_facts_deinit(&f);
        in[i] = kept;
    }
}
END_TEST

static struct bytes_buf repeat(const char *before, const char *s, size_t n)
{
    struct bytes_buf b;

    bytes_buf_init(&b, 0);
    bytes_buf_add_str(&b, before);
    for (size_t i = 0; i < n; i++)
        bytes_buf_add_str(&b, s);
    return b;
}

/* Many of one kind leave room for the others, and nothing is written beyond the table. */
START_TEST(test_many_problems)
{
    struct bytes_buf in = repeat("Bad\n", "X : y\n", 1000), b;
    struct raw_facts f;

    for (size_t i = 0; i < 1000; i++)
        bytes_buf_add_str(&in, "\r\r\n" X998 "x\n");
    ck_assert_int_eq(raw_read(bytes_buf_view(&in), RAW_WANT_ENVELOPE, 0, &f), 0);
    join_problems(&f, &b);
    ck_assert_uint_eq(f.n_problems, RAW_PROBLEMS_MAX);
    ck_assert(strstr(b.p, "1 invalid_header,2 invalid_header") == b.p);
    ck_assert(strstr(b.p, "1002 control_character,1003 line_too_long"));
    bytes_buf_deinit(&b);
    bytes_buf_deinit(&in);
    raw_facts_deinit(&f);
}
END_TEST

START_TEST(test_header_limit)
{
    static const char line[] = "X: 89 1234567\r\n ";     /* sixteen octets */
    struct raw_facts f;

    for (size_t i = 0; i < 2; i++) {
        struct bytes_buf in = repeat(F, line, 65536 - 2 + i);
        bytes_buf_add_str(&in, "x\r\n\r\n\xE9\r\n");
        ck_assert_int_eq(raw_read(bytes_buf_view(&in), RAW_WANT_ENVELOPE, 0, &f), 0);
        ck_assert_uint_eq(f.n_problems, i);
        if (i)
            ck_assert_ptr_nonnull(strstr(f.problems[0].detail, "longer than 1048576 octets"));
        raw_facts_deinit(&f);
        bytes_buf_deinit(&in);
    }
}
END_TEST

START_TEST(test_linear)
{
    static const char *const repeated[] = {"X:\n", "To: a@b.example\n",
                                           "\n", "\r", "a\n", " \n", "From ", ":", "Bcc:\n ",
                                           "a,\n "};

    for (size_t i = 0; i < ARRAY_LEN(repeated); i++) {
        struct bytes_buf in = repeat("To:", repeated[i], 100000);
        struct raw_facts f;
        ck_assert_int_eq(raw_read(bytes_buf_view(&in), RAW_WANT_ENVELOPE, 0, &f), 0);
        ck_assert_uint_gt(f.n_problems, 0);
        raw_facts_deinit(&f);
        bytes_buf_deinit(&in);
    }
}
END_TEST

static const struct {
    const char *in, *add, *out;
} written[] = {
    {"From: a", "", "From: a\r\n"}, {"From: a\n", "", "From: a\r\n"}, {"From: a\r\n", "", "From: a\r\n"},
    {"From: a\n\n", "", "From: a\r\n\r\n"}, {"From: a\n\nx", "", "From: a\r\n\r\nx\r\n"},
    {"From: a\r\n\r\nx\r\ny\nz\n\n", "", "From: a\r\n\r\nx\r\ny\r\nz\r\n\r\n"},
    {"From: a\n\nx", "Date: d\r\nMessage-ID: <m>\r\n", "Date: d\r\nMessage-ID: <m>\r\nFrom: a\r\n\r\nx\r\n"},
    {"Bcc: b\nFrom: a\n\nx\n", "D: d\r\n", "D: d\r\nFrom: a\r\n\r\nx\r\n"},
    {"From: a\nBcc: b,\n c,\n\td\nTo: e\n f\n\nx\n", "", "From: a\r\nTo: e\r\n f\r\n\r\nx\r\n"},
    {"From: a\r\nbCC: b\r\n\r\nBcc: stays\r\n", "", "From: a\r\n\r\nBcc: stays\r\n"},
    {"From: a\r\nBCC:\r\nResent-Bcc: b\r\n\tc\r\nresent-bcc:d\r\nBcc-x: e\r\nXBcc: f\r\n", "",
     "From: a\r\nBcc-x: e\r\nXBcc: f\r\n"},
    {"From: a\r\nX: y\r\n Bcc: folded\r\nBcc: b", "", "From: a\r\nX: y\r\n Bcc: folded\r\n"},
    {"Bcc: b\n\nx", "", "\r\nx\r\n"}, {"Bcc: b", "", ""}, {"", "", ""}, {"", "A: b\r\n", "A: b\r\n"},
    {"\n", "", "\r\n"},
    {"F: a\n\n\n.\nMAIL FROM:<e@f.example>\n", "", "F: a\r\n\r\n\r\n.\r\nMAIL FROM:<e@f.example>\r\n"},
    {"F: a\n\nx\r\n.\nx\n.\r\nx\r\n.\r\nx\n.\n.", "", "F: a\r\n\r\nx\r\n.\r\nx\r\n.\r\nx\r\n.\r\nx\r\n.\r\n.\r\n"},
    {"F: a\r\n\n\r\n\n", "", "F: a\r\n\r\n\r\n\r\n"},
    {"F:   a \t\nG:\n b  c\n\n  x \t \n", "", "F:   a \t\r\nG:\r\n b  c\r\n\r\n  x \t \r\n"},
    {"F: a\n\n\xFF\xE9\n", "", "F: a\r\n\r\n\xFF\xE9\r\n"},
};

START_TEST(test_write)
{
    struct bytes_buf out;

    bytes_buf_init(&out, 0);
    raw_write(bytes_view_str(written[_i].in), bytes_view_str(written[_i].add), &out);
    ck_assert(!out.failed);
    ck_assert_str_eq(out.p, written[_i].out);
    ck_assert_uint_eq(out.n, strlen(written[_i].out));
    bytes_buf_deinit(&out);
}
END_TEST

/* What is written is read as before, and written the same again. */
START_TEST(test_write_again)
{
    struct raw_facts before, after;
    struct bytes_buf once, twice;

    bytes_buf_init(&once, 0);
    bytes_buf_init(&twice, 0);
    raw_write(bytes_view_str(good[_i].in), bytes_view("", 0), &once);
    raw_write(bytes_buf_view(&once), bytes_view("", 0), &twice);
    ck_assert(bytes_equal(bytes_buf_view(&once), bytes_buf_view(&twice)));
    ck_assert_int_eq(raw_read(bytes_view_str(good[_i].in), RAW_WANT_ENVELOPE, 0, &before), 0);
    ck_assert_int_eq(raw_read(bytes_buf_view(&once), RAW_WANT_ENVELOPE, 0, &after), 0);
    ck_assert_uint_eq(after.n_problems, 0);
    ck_assert_str_eq(after.from.email, before.from.email);
    ck_assert_uint_eq(after.to.n, before.to.n);
    ck_assert_pstr_eq(after.message_id, before.message_id);
    ck_assert(!after.has_bcc && after.is_8bit == before.is_8bit && after.is_utf8_header == before.is_utf8_header);
    raw_facts_deinit(&before);
    raw_facts_deinit(&after);
    bytes_buf_deinit(&once);
    bytes_buf_deinit(&twice);
}
END_TEST

/* Dots and line ends at every distance from the border of a block. */
START_TEST(test_write_large)
{
    static const char *const ends[] = {"\r\n", "\n"};

    for (size_t i = 0; i < ARRAY_LEN(ends); i++) {
        struct bytes_buf in = repeat("F: a\n\n", "", 0), want = repeat("F: a\r\n\r\n", "", 0), out;
        for (size_t k = 0; k < 40000; k++) {
            bytes_buf_printf(&in, "%.*s.%s", (int)(k % 91), X100, ends[k % 7 ? i : !i]);
            bytes_buf_printf(&want, "%.*s.\r\n", (int)(k % 91), X100);
        }
        bytes_buf_init(&out, 0);
        raw_write(bytes_buf_view(&in), bytes_view("", 0), &out);
        ck_assert(bytes_equal(bytes_buf_view(&out), bytes_buf_view(&want)));
        bytes_buf_deinit(&out);
        bytes_buf_deinit(&want);
        bytes_buf_deinit(&in);
    }
}
END_TEST

START_TEST(test_write_limit)
{
    struct bytes_buf out;

    bytes_buf_init(&out, 10);
    raw_write(bytes_view_str("F: a\n\n"), bytes_view("", 0), &out);
    ck_assert(!out.failed && out.n == 8);
    bytes_buf_deinit(&out);
    raw_write(bytes_view_str("F: a\n\nxy\n"), bytes_view("", 0), &out);
    ck_assert(out.failed);
    bytes_buf_deinit(&out);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("raw");
    TCase *tc = tcase_create("raw");
    SRunner *sr = srunner_create(suite);
    int failed;

    tcase_set_timeout(tc, 60);
    tcase_add_loop_test(tc, test_good, 0, (int)ARRAY_LEN(good));
    tcase_add_loop_test(tc, test_bad, 0, (int)ARRAY_LEN(bad));
    tcase_add_loop_test(tc, test_details, 0, (int)ARRAY_LEN(details));
    tcase_add_test(tc, test_without_envelope);
    tcase_add_test(tc, test_literals);
    tcase_add_test(tc, test_8bit);
    tcase_add_test(tc, test_many_problems);
    tcase_add_test(tc, test_header_limit);
    tcase_add_test(tc, test_linear);
    tcase_add_loop_test(tc, test_write, 0, (int)ARRAY_LEN(written));
    tcase_add_loop_test(tc, test_write_again, 0, (int)ARRAY_LEN(good));
    tcase_add_test(tc, test_write_large);
    tcase_add_test(tc, test_write_limit);
    suite_add_tcase(suite, tc);
    srunner_run_all(sr, CK_ENV);
    failed = srunner_ntests_failed(sr);
    srunner_free(sr);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
