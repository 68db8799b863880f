#include "api/provider.h"
#include "smtp/bytes.h"

#include <check.h>
#include <stdlib.h>

/* Which provider a host name or a reply belongs to. */

static const struct {
    const char *host, *reply;
    enum provider want;
} cases[] = {
    {"smtp.gmail.com", "", PROVIDER_GMAIL},
    {"SMTP.GMAIL.COM", "", PROVIDER_GMAIL},
    {"smtp-relay.gmail.com", "", PROVIDER_GMAIL},
    {"gmail.com", "", PROVIDER_GMAIL},
    {"smtp.notgmail.com", "", PROVIDER_NONE},
    {"gmail.com.example.net", "", PROVIDER_NONE},
    {"smtp.office365.com", "", PROVIDER_MICROSOFT},
    {"contoso-com.mail.protection.outlook.com", "", PROVIDER_MICROSOFT},
    {"smtp-mail.outlook.com", "", PROVIDER_OUTLOOK},
    {"smtp.mail.yahoo.com", "", PROVIDER_YAHOO},
    {"smtp.aol.com", "", PROVIDER_YAHOO},
    {"smtp.mail.me.com", "", PROVIDER_ICLOUD},
    {"email-smtp.eu-west-1.amazonaws.com", "", PROVIDER_SES},
    {"ec2-192-0-2-1.compute-1.amazonaws.com", "", PROVIDER_NONE},
    {"smtp.sendgrid.net", "", PROVIDER_SENDGRID},
    {"smtp.eu.mailgun.org", "", PROVIDER_MAILGUN},
    {"smtp-broadcasts.postmarkapp.com", "", PROVIDER_POSTMARK},
    {"smtp-relay.brevo.com", "", PROVIDER_BREVO},
    {"in-v3.mailjet.com", "", PROVIDER_MAILJET},
    {"smtp.resend.com", "", PROVIDER_RESEND},
    {"smtp.example.com", "", PROVIDER_NONE},
    {"", "", PROVIDER_NONE},
    {"mail.internal", "5.7.8 BadCredentials a1sm2 - gsmtp", PROVIDER_GMAIL},
    {"mail.internal", "[AM0PR01.eurprd01.PROD.OUTLOOK.COM]", PROVIDER_MICROSOFT},
    {"smtp.sendgrid.net", "said: - gsmtp", PROVIDER_SENDGRID},          /* the host says more than a quoted reply */
};

START_TEST(provider_by_host_and_reply)
{
    ck_assert_int_eq(provider_of(cases[_i].host, cases[_i].reply), cases[_i].want);
}
END_TEST

START_TEST(every_provider_has_a_name)
{
    ck_assert_ptr_nonnull(provider_name((enum provider)_i));
    ck_assert_uint_ne(provider_other_port((enum provider)_i), 587);
}
END_TEST

START_TEST(ports)
{
    ck_assert_uint_eq(provider_other_port(PROVIDER_NONE), 0);
    ck_assert_uint_eq(provider_other_port(PROVIDER_SES), 2587);
    ck_assert(provider_has_465(PROVIDER_NONE));
    ck_assert(provider_has_465(PROVIDER_GMAIL));
    ck_assert(!provider_has_465(PROVIDER_MICROSOFT));
}
END_TEST

int main(void)
{
    Suite *s = suite_create("provider");
    TCase *t = tcase_create("table");
    SRunner *r = srunner_create(s);
    int failed;

    tcase_add_loop_test(t, provider_by_host_and_reply, 0, (int)ARRAY_LEN(cases));
    tcase_add_loop_test(t, every_provider_has_a_name, 0, PROVIDER_COUNT);
    tcase_add_test(t, ports);
    suite_add_tcase(s, t);
    srunner_run_all(r, CK_ENV);
    failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
