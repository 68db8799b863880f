#ifndef SMTP_ADDRESS_LIST_H
#define SMTP_ADDRESS_LIST_H
/* The addresses of a header field as it stands in a message (RFC 5322 §3.4 address-list). Pure, linear but for the
 * search of duplicates (n log n), no recursion. */
#include "smtp/address.h"

struct address_list_fault {
    const char *why;                    /* a static sentence fragment */
    size_t n;                           /* which address of the field, 1 … */
    size_t at;                          /* octet of the value where that address begins, or where the fault is */
    bool no_memory;                     /* nothing is wrong with the address */
};

/* `value` is what follows the field's colon, folded lines and all. Groups are opened, comments skipped, empty places
 * between commas too (RFC 5322 §4.4 obs-addr-list); each mailbox comes once, in order. Encoded words in display names
 * stay as they are. Each mailbox is judged by address_parse; flags: ADDRESS_LITERALS or 0. A route before an address
 * (obs-route) is refused. 0: *out is filled, perhaps with none ("undisclosed-recipients:;"); caller owns
 * (mail_address_list_deinit). -1: *fault_out says why, *out is empty. */
int address_list_parse(struct bytes_view value, unsigned flags, struct mail_address_list *out,
                       struct address_list_fault *fault_out) MUST_CHECK;
#endif
