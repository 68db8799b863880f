#include "service/message.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Mails made ready: whose envelope it is, recipients once each, and what of the mail is left behind. */

static struct mail_address address(const char *email)
{
    struct mail_address a = {.email = strdup(email)};

    ck_assert_ptr_nonnull(a.email);
    return a;
}

static void add(struct mail_address_list *list, const char *email)
{
    ck_assert_int_eq(mail_address_list_add(list, address(email)), 0);
}

/* From ann, to bob, with a text. */
static struct mail *simple(void)
{
    struct mail *m = mail_new();

    ck_assert_ptr_nonnull(m);
    m->from = address("ann@example.org");
    add(&m->to, "bob@example.net");
    m->text = mail_keep_copy(m, bytes_view("Hello.\n", 7));
    ck_assert_ptr_nonnull(m->text.p);
    return m;
}

static struct message *ready(struct mail *m)
{
    struct message *msg = message_new(m, 3);

    ck_assert_ptr_nonnull(msg);
    ck_assert_uint_eq(msg->relay, 3);
    ck_assert_uint_eq(strlen(msg->id), 36);
    return msg;
}

/* "from: to to to" */
static void expect_envelope(const struct message *msg, const char *want)
{
    struct bytes_buf b;

    bytes_buf_init(&b, 0);
    bytes_buf_printf(&b, "%s:", msg->from);
    for (size_t i = 0; i < msg->n_rcpts; i++)
        bytes_buf_printf(&b, " %s", msg->rcpts[i]);
    ck_assert_str_eq(b.p, want);
    bytes_buf_deinit(&b);
}

static bool has_text(const struct message *msg, const char *text)
{
    return memmem(msg->content, msg->content_n, text, strlen(text)) != NULL;
}

START_TEST(test_derived_envelope)
{
    struct mail *m = simple();
    struct message *msg;

    add(&m->to, "to2@example.net");
    add(&m->cc, "cc@example.net");
    add(&m->bcc, "bcc@example.net");
    add(&m->reply_to, "reply@example.net");
    msg = ready(m);
    expect_envelope(msg, "ann@example.org: bob@example.net to2@example.net cc@example.net bcc@example.net");
    ck_assert(has_text(msg, "cc@example.net") && !has_text(msg, "bcc@example.net"));
    message_free(msg);
}
END_TEST

START_TEST(test_own_envelope)
{
    struct mail *m = simple();
    struct message *msg;

    add(&m->bcc, "bcc@example.net");
    m->envelope_from = address("bounce@example.org");
    add(&m->envelope_to, "x@example.net");
    add(&m->envelope_to, "y@example.net");
    msg = ready(m);
    expect_envelope(msg, "bounce@example.org: x@example.net y@example.net");
    ck_assert(has_text(msg, "To: bob@example.net\r\n") && has_text(msg, "From: ann@example.org\r\n"));
    ck_assert(!has_text(msg, "x@example.net") && !has_text(msg, "bounce@example.org"));
    message_free(msg);
}
END_TEST

START_TEST(test_half_an_envelope)
{
    struct mail *m = simple();
    struct message *msg;

    m->envelope_from = address("");
    msg = ready(m);
    expect_envelope(msg, ": bob@example.net");
    message_free(msg);
    m = simple();
    add(&m->envelope_to, "x@example.net");
    msg = ready(m);
    expect_envelope(msg, "ann@example.org: x@example.net");
    message_free(msg);
}
END_TEST

/* Once each, over all lists, in the order of the first; local parts are not folded (RFC 5321 §2.4). */
START_TEST(test_duplicates)
{
    struct mail *m = simple();
    struct message *msg;

    add(&m->to, "bob@example.net");
    add(&m->to, "Bob@example.net");
    add(&m->cc, "bob@example.net");
    add(&m->cc, "cc@example.net");
    add(&m->bcc, "cc@example.net");
    add(&m->bcc, "bcc@example.net");
    add(&m->bcc, "bcc@example.net");
    msg = ready(m);
    expect_envelope(msg, "ann@example.org: bob@example.net Bob@example.net cc@example.net bcc@example.net");
    message_free(msg);
    m = simple();
    add(&m->envelope_to, "x@example.net");
    add(&m->envelope_to, "y@example.net");
    add(&m->envelope_to, "x@example.net");
    msg = ready(m);
    expect_envelope(msg, "ann@example.org: x@example.net y@example.net");
    message_free(msg);
}
END_TEST

/* Ten thousand different ones, and each twice. */
START_TEST(test_many_recipients)
{
    struct mail *m = simple();
    struct message *msg;
    char email[40];

    for (int i = 0; i < 10000; i++) {
        snprintf(email, sizeof(email), "r%d@example.net", i % 5000);
        add(&m->bcc, email);
    }
    msg = ready(m);
    ck_assert_uint_eq(msg->n_rcpts, 5001);
    ck_assert_str_eq(msg->rcpts[5000], "r4999@example.net");
    message_free(msg);
}
END_TEST

START_TEST(test_composed)
{
    struct message *msg = ready(simple());
    char id[80];

    snprintf(id, sizeof(id), "<%s@example.org>", msg->id);
    ck_assert_str_eq(msg->message_id, id);
    ck_assert(has_text(msg, id) && has_text(msg, "\r\n\r\nHello.\r\n"));
    ck_assert(!msg->needs_8bit && !msg->needs_utf8);
    ck_assert_ptr_null(msg->mail->text.p);      /* contents go once they are composed; addresses stay */
    ck_assert_uint_eq(msg->mail->n_keeps, 0);
    ck_assert_str_eq(msg->mail->to.v[0].email, "bob@example.net");
    message_free(msg);
}
END_TEST

START_TEST(test_ids_differ)
{
    struct message *a = ready(simple()), *b = ready(simple());

    ck_assert_str_ne(a->id, b->id);
    ck_assert_str_ne(a->message_id, b->message_id);
    ck_assert_int_eq(a->id[14], '7');
    message_free(a);
    message_free(b);
}
END_TEST

START_TEST(test_own_message_id)
{
    struct mail *m = simple();
    struct message *msg;

    m->message_id = strdup("<own@example.org>");
    msg = ready(m);
    ck_assert_str_eq(msg->message_id, "<own@example.org>");
    ck_assert(has_text(msg, "Message-ID: <own@example.org>\r\n"));
    message_free(msg);
}
END_TEST

/* A finished message: its envelope like any other, its Bcc not written. */
START_TEST(test_raw)
{
    static const char raw[] = "From: a@b.example\nBcc: c@d.example\nMessage-ID: <m@b.example>\n\nx\n";
    struct mail *m = mail_new();
    struct message *msg;

    ck_assert_ptr_nonnull(m);
    m->from = address("a@b.example");
    add(&m->bcc, "c@d.example");
    m->message_id = strdup("<m@b.example>");
    m->raw = mail_keep_copy(m, bytes_view_str(raw));
    msg = ready(m);
    expect_envelope(msg, "a@b.example: c@d.example");
    ck_assert(!has_text(msg, "Bcc") && has_text(msg, "From: a@b.example\r\n") && has_text(msg, "Date: "));
    ck_assert_str_eq(msg->message_id, "<m@b.example>");
    message_free(msg);
    message_free(NULL);
}
END_TEST

START_TEST(test_needs)
{
    struct mail *m = simple();
    struct message *msg;

    add(&m->bcc, "b\xC3\xBC@example.net");
    m->bcc.v[0].utf8 = true;
    msg = ready(m);
    ck_assert(msg->needs_utf8);
    message_free(msg);
    m = simple();
    add(&m->envelope_to, "b\xC3\xBC@example.net");
    m->envelope_to.v[0].utf8 = true;
    msg = ready(m);
    ck_assert(msg->needs_utf8);
    message_free(msg);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("message");
    TCase *tc = tcase_create("message");
    SRunner *sr = srunner_create(suite);
    int failed;

    tcase_set_timeout(tc, 60);
    tcase_add_test(tc, test_derived_envelope);
    tcase_add_test(tc, test_own_envelope);
    tcase_add_test(tc, test_half_an_envelope);
    tcase_add_test(tc, test_duplicates);
    tcase_add_test(tc, test_many_recipients);
    tcase_add_test(tc, test_composed);
    tcase_add_test(tc, test_ids_differ);
    tcase_add_test(tc, test_own_message_id);
    tcase_add_test(tc, test_raw);
    tcase_add_test(tc, test_needs);
    suite_add_tcase(suite, tc);
    srunner_run_all(sr, CK_ENV);
    failed = srunner_ntests_failed(sr);
    srunner_free(sr);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
