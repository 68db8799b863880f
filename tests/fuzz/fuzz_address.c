#include "smtp/address.h"

#include <string.h>

/* Fuzz target: addresses. What is taken must be taken again, unchanged, from the form it is written in. */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void check_again(const struct mail_address *a)
{
    struct mail_address again;
    const char *why;

    if (strlen(a->email) > 254 || strpbrk(a->email, "\r\n\t") || address_domain(a->email).n == 0)
        unreachable("an address that was taken is not one");
    if (address_parse(bytes_view_str(a->email), ADDRESS_BARE, &again, &why) != 0)
        unreachable("what was taken once is refused");
    if (strcmp(a->email, again.email) != 0 || a->utf8 != again.utf8)
        unreachable("the written form is read differently");
    mail_address_deinit(&again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct mail_address a;
    const char *why;

    if (address_parse(bytes_view(data, n), 0, &a, &why) == 0) {
        check_again(&a);
        mail_address_deinit(&a);
    } else if (!why || a.email || a.name) {
        unreachable("refused without a reason, or with something left over");
    }
    if (address_parse(bytes_view(data, n), ADDRESS_BARE, &a, &why) == 0) {
        check_again(&a);
        mail_address_deinit(&a);
    }
    return 0;
}
