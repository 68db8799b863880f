#include "api/hint.h"

/* The variants: cases in which something better than the catalogue's hint is true. Within a code the first row that
 * matches wins, so the narrower ones come first. */

const struct hint_row hint_rows[] = {
    /* ---- connecting ---- */

    {OUTCOME_DNS_NOT_FOUND, .facts = FACT_SHORT_HOST,
     .hint = "Check that {host} is the name of a service or container on this machine's network, or write the "
             "relay's full host name in url: DNS has no address for a name without a dot here."},
    {OUTCOME_CONNECT_REFUSED, .facts = FACT_LOOPBACK,
     .hint = "Start the mail server that should listen on port {port} of this machine; where mailhatch runs in a "
             "container, {host} is the container itself, so write the name of the machine or service that runs the "
             "relay in url."},
    {OUTCOME_CONNECT_REFUSED, .port = 465, .facts = FACT_NO_465,
     .hint = "Change this relay's url to smtp://{host}:587: {provider} has no port 465."},
    {OUTCOME_CONNECT_REFUSED, .port = 25,
     .hint = "Change this relay's url to smtp://{host}:587, the submission port: {host} refuses port 25."},
    {OUTCOME_CONNECT_REFUSED, .port = 465,
     .hint = "Change this relay's url to smtp://{host}:587 (STARTTLS): {host} refuses port 465."},
    {OUTCOME_CONNECT_REFUSED, .port = 587, .facts = FACT_PROVIDER,
     .hint = "Find the firewall between this machine and {host} that refuses port 587: {provider} itself listens "
             "there."},
    {OUTCOME_CONNECT_REFUSED, .port = 587,
     .hint = "Change this relay's url to smtps://{host}:465 (TLS from the first byte): {host} refuses port 587."},
    {OUTCOME_CONNECT_FAILED, .facts = FACT_NO_TLS, .says = "loopback",
     .hint = "Remove tls=none (tls: none) from this relay: mails and passwords leave this machine under TLS only, "
             "and {host} is another machine."},
    {OUTCOME_CONNECT_FAILED, .says = "Operation not permitted|Permission denied",
     .hint = "Allow outgoing connections to {host}:{port} in this machine's firewall or sandbox: the system itself "
             "forbids them."},
    {OUTCOME_CONNECT_FAILED, .facts = FACT_ADDRESS, .says = "Invalid argument",
     .hint = "Write another address or a host name in this relay's url: this machine cannot connect to {host} as it "
             "stands there."},
    {OUTCOME_CONNECT_TIMEOUT, .port = 465, .facts = FACT_NO_465,
     .hint = "Change this relay's url to smtp://{host}:587: {provider} has no port 465."},
    {OUTCOME_CONNECT_TIMEOUT, .port = 25, .facts = FACT_OTHER_PORT,
     .hint = "Change this relay's url to smtp://{host}:{other_port}: most clouds block outgoing port 25, and "
             "{provider} answers on {other_port} too."},
    {OUTCOME_CONNECT_TIMEOUT, .port = 587, .facts = FACT_OTHER_PORT,
     .hint = "Change this relay's url to smtp://{host}:{other_port}: something on the way drops packets to port "
             "587, and {provider} answers on {other_port} too."},
    {OUTCOME_CONNECT_TIMEOUT, .port = 25,
     .hint = "Change this relay's url to smtp://{host}:587, the submission port: most clouds and many networks "
             "block outgoing port 25."},

    /* ---- the session's beginning ---- */

    {OUTCOME_CONNECTION_CLOSED, .stage = STAGE_BANNER, .port = 465, .facts = FACT_STARTTLS,
     .hint = "Change this relay's url to smtps://{host}:465: port 465 expects TLS from the first byte, and smtp:// "
             "waits for a greeting first."},
    {OUTCOME_CONNECTION_CLOSED, .stage = STAGE_BANNER,
     .hint = "Ask the operator of {host} whether this machine's address may connect: it hung up before its "
             "greeting."},
    {OUTCOME_CONNECTION_CLOSED, .stage = STAGE_EHLO,
     .hint = "Set ehlo_name to this machine's full host name: {host} hung up on the EHLO."},
    {OUTCOME_CONNECTION_CLOSED, .stage = STAGE_STARTTLS,
     .hint = "Ask the operator of {host} to look at its TLS set-up: it offered STARTTLS and hung up on it, or a "
             "firewall on the way cut it off."},
    {OUTCOME_CONNECTION_CLOSED, .stage = STAGE_AUTH,
     .hint = "Check user and password: {host} hung up in place of an answer to the login, as some servers do after "
             "wrong ones."},
    {OUTCOME_CONNECTION_CLOSED, .stage = STAGE_BODY,
     .hint = "Send a small mail: if that passes, look for a size limit or a content filter at {host}, which hung up "
             "in the middle of this one."},
    {OUTCOME_TIMEOUT, .stage = STAGE_BANNER, .port = 465, .facts = FACT_STARTTLS,
     .hint = "Change this relay's url to smtps://{host}:465: port 465 expects TLS from the first byte and says "
             "nothing before it."},
    {OUTCOME_TIMEOUT, .stage = STAGE_BANNER,
     .hint = "Raise banner_timeout for this relay (and timeout, if it is set): {host}:{port} took the connection "
             "and has not greeted yet, as servers do that delay strangers on purpose."},
    {OUTCOME_TIMEOUT, .stage = STAGE_TLS,
     .hint = "Look for a firewall that inspects TLS between this machine and {host}: the handshake began, and no "
             "answer came."},
    {OUTCOME_TIMEOUT, .stage = STAGE_EHLO,
     .hint = "Raise command_timeout for this relay (and timeout, if it is set): {host} has not answered EHLO yet, "
             "most often because it looks this machine's name up in DNS first."},
    {OUTCOME_TIMEOUT, .stage = STAGE_AUTH,
     .hint = "Raise command_timeout for this relay (and timeout, if it is set): {host} has not judged the login "
             "yet, most often because its user directory is slow."},
    {OUTCOME_TIMEOUT, .stage = STAGE_BODY,
     .hint = "Send a small mail: if that passes, a firewall or the packet size (MTU) on the way to {host} stops "
             "large ones; else raise write_timeout."},
    {OUTCOME_BANNER_REJECTED, .facts = FACT_TEMPORARY,
     .hint = "Send it again after a minute; if it repeats, ask the operator of {host} why this machine's address is "
             "put off."},
    {OUTCOME_BANNER_REJECTED, .says = "block|blacklist|spamhaus|listed|reputation|dnsbl",
     .hint = "Have this machine's address taken off the block list that smtp.text names, or send through a relay "
             "where you have an account (port 587)."},
    {OUTCOME_EHLO_REJECTED, .facts = FACT_TEMPORARY,
     .hint = "Send it again after a minute: {host} refuses EHLO for now only."},
    {OUTCOME_EHLO_REJECTED, .reply = 500,
     .hint = "Check that {host}:{port} is the right server: it does not know EHLO, which every mail server of this "
             "century does."},
    {OUTCOME_EHLO_REJECTED, .reply = 502,
     .hint = "Check that {host}:{port} is the right server: it does not know EHLO, which every mail server of this "
             "century does."},

    /* ---- TLS ---- */

    {OUTCOME_TLS_ON_PLAINTEXT_PORT, .facts = FACT_STARTTLS,
     .hint = "Find out what stands between this machine and {host}: plain text came where TLS had been agreed on."},
    {OUTCOME_STARTTLS_NOT_OFFERED, .facts = FACT_LOOPBACK,
     .hint = "Set tls to none for this relay: the server on this machine offers no TLS, and on the way to it none "
             "is needed."},
    {OUTCOME_STARTTLS_NOT_OFFERED, .port = 25,
     .hint = "Change this relay's url to smtp://{host}:587, the submission port: port 25 is for mail between "
             "servers, and here it has no STARTTLS."},
    {OUTCOME_STARTTLS_NOT_OFFERED, .port = 465,
     .hint = "Change this relay's url to smtps://{host}:465 and leave tls unset: port 465 is for TLS from the first "
             "byte."},
    {OUTCOME_STARTTLS_NOT_OFFERED, .facts = FACT_PROVIDER,
     .hint = "Find the firewall or proxy between this machine and {host} that removes STARTTLS: {provider} itself "
             "always offers it."},
    {OUTCOME_STARTTLS_REFUSED, .facts = FACT_TEMPORARY,
     .hint = "Send it again after a minute; if it repeats, have the operator of {host} look at its certificate and "
             "key, which often cannot be read."},
    {OUTCOME_TLS_HANDSHAKE_FAILED, .says = "wrong version number|packet length too long",
     .hint = "Check that {host}:{port} is a mail server's port: what it sent is not TLS."},
    {OUTCOME_TLS_CERT_UNTRUSTED, .facts = FACT_PROVIDER,
     .hint = "Install this machine's public authorities (package ca-certificates) and leave ca_file unset: "
             "{provider} has a certificate of a public one; if it is still untrusted, a device on the way breaks "
             "TLS open."},
    {OUTCOME_TLS_CERT_UNTRUSTED, .says = "self-signed",
     .hint = "Set ca_file for this relay to a copy of its certificate if you run {host} yourself; else have its "
             "operator get one from a public authority."},
    {OUTCOME_TLS_CERT_UNTRUSTED, .says = "CRL file has no list",
     .hint = "Add the revocation list of the authority that detail names to crl_file: without it no certificate of "
             "that authority is taken."},
    {OUTCOME_TLS_CERT_UNTRUSTED, .says = "The chain ends in",
     .hint = "Set ca_file for this relay to the certificate of the authority that detail names, if it is yours; if "
             "nobody knows it, a device on the way to {host} breaks TLS open."},
    {OUTCOME_TLS_CERT_UNTRUSTED, .says = "The issuer is unknown",
     .hint = "Look at the issuer in detail: if it is your own authority, set ca_file to its certificate; if it is a "
             "public one, {host} does not send its intermediate certificate."},
    {OUTCOME_TLS_CERT_NAME_MISMATCH, .says = "no subjectAltName",
     .hint = "Have the operator of {host} replace the certificate by one with a subjectAltName: a common name does "
             "not count any more."},
    {OUTCOME_TLS_CERT_NAME_MISMATCH, .facts = FACT_ADDRESS,
     .hint = "Write a host name in place of {host} in this relay's url: certificates are for names; detail lists "
             "those that this one has."},

    /* ---- logging in ---- */

    {OUTCOME_AUTH_NOT_OFFERED, .port = 25,
     .hint = "Change this relay's url to smtp://{host}:587, the submission port: port 25 seldom offers a login."},
    {OUTCOME_AUTH_MECHANISM_UNSUPPORTED, .says = "NTLM|GSSAPI",
     .hint = "Have basic authentication switched on in the receive connector of {host}: it offers Windows logins "
             "(NTLM, GSSAPI) only."},
    {OUTCOME_AUTH_REQUIRED, .facts = FACT_NO_TLS, .says = "STARTTLS",
     .hint = "Set tls to starttls for this relay: {host} takes neither login nor mail before TLS."},
    {OUTCOME_AUTH_REQUIRED, .provider = PROVIDER_MICROSOFT, .facts = FACT_USER,
     .hint = "Have an administrator switch on \"Authenticated SMTP\" for this mailbox (Microsoft 365 admin center, "
             "Users, Mail, Manage email apps): the login did not count."},
    {OUTCOME_AUTH_REQUIRED, .facts = FACT_USER,
     .hint = "Ask the operator of {host} whether this account may send: it logged in and is asked for a login all "
             "the same."},
    {OUTCOME_AUTH_REQUIRED, .provider = PROVIDER_MICROSOFT,
     .hint = "Set user and password of a licensed mailbox for this relay: {host} sends for logged-in mailboxes "
             "only."},
    {OUTCOME_AUTH_REQUIRED, .provider = PROVIDER_GMAIL,
     .hint = "Set user to the Gmail address and password to an app password for this relay: {host} takes mail only "
             "after a login."},
    {OUTCOME_AUTH_FAILED, .enhanced = "5.7.30",
     .hint = "Configure another relay: Microsoft takes no passwords (basic authentication) on {host} any more."},
    {OUTCOME_AUTH_FAILED, .provider = PROVIDER_GMAIL,
     .hint = "Set password to an app password of this Google account (Security, 2-Step Verification, App "
             "passwords): its ordinary password does not work for SMTP."},
    {OUTCOME_AUTH_FAILED, .provider = PROVIDER_MICROSOFT,
     .hint = "Have an administrator switch on \"Authenticated SMTP\" for this mailbox (Microsoft 365 admin center, "
             "Users, Mail, Manage email apps); while it is off, the right password is refused like a wrong one."},
    {OUTCOME_AUTH_FAILED, .provider = PROVIDER_OUTLOOK,
     .hint = "Configure another relay: Outlook.com takes no passwords from programs any more."},
    {OUTCOME_AUTH_FAILED, .provider = PROVIDER_YAHOO,
     .hint = "Set password to an app password (Yahoo or AOL account, Security, Generate app password): the "
             "account's ordinary password does not work for SMTP."},
    {OUTCOME_AUTH_FAILED, .provider = PROVIDER_ICLOUD,
     .hint = "Set password to an app-specific password (account.apple.com, Sign-In and Security): the Apple "
             "Account's own password does not work for SMTP."},
    {OUTCOME_AUTH_FAILED, .provider = PROVIDER_SES,
     .hint = "Create SMTP credentials in the SES console, in the region of {host}: an AWS access key and its secret "
             "key do not work here."},
    {OUTCOME_AUTH_FAILED, .provider = PROVIDER_SENDGRID,
     .hint = "Set user to the word apikey, and password to an API key with the permission \"Mail Send\"."},
    {OUTCOME_AUTH_FAILED, .provider = PROVIDER_MAILGUN,
     .hint = "Set user and password to the SMTP credentials of the sending domain (Mailgun, Domain settings): the "
             "API key does not work here."},
    {OUTCOME_AUTH_FAILED, .provider = PROVIDER_POSTMARK,
     .hint = "Set both user and password to the API token of the server in Postmark, or to the two keys of an SMTP "
             "token."},
    {OUTCOME_AUTH_FAILED, .provider = PROVIDER_BREVO,
     .hint = "Set password to an SMTP key (Brevo, SMTP & API) and user to the login shown beside it: neither the "
             "API key nor the account's password works here."},
    {OUTCOME_AUTH_FAILED, .provider = PROVIDER_MAILJET,
     .hint = "Set user to the API key and password to the secret key of the Mailjet account."},
    {OUTCOME_AUTH_FAILED, .provider = PROVIDER_RESEND,
     .hint = "Set user to the word resend, and password to an API key."},
    {OUTCOME_AUTH_BASIC_DISABLED, .says = "for the Tenant",
     .hint = "Have an administrator switch on SMTP AUTH for the organization (Exchange admin center, Settings, Mail "
             "flow) and for this mailbox: it is off for all of them."},
    {OUTCOME_AUTH_BASIC_DISABLED, .says = "security defaults",
     .hint = "Have an administrator replace the organization's security defaults by a policy that lets this mailbox "
             "use SMTP AUTH: they forbid it."},
    {OUTCOME_AUTH_BASIC_DISABLED, .says = "did not meet the criteria",
     .hint = "Have an administrator look up this login in the Entra sign-in log: a wrong password or a Conditional "
             "Access policy stopped it, and the log says which."},
    {OUTCOME_AUTH_BASIC_DISABLED, .provider = PROVIDER_OUTLOOK,
     .hint = "Configure another relay: Outlook.com takes no passwords from programs any more."},
    {OUTCOME_AUTH_BASIC_DISABLED, .provider = PROVIDER_MICROSOFT,
     .hint = "Have an administrator switch on \"Authenticated SMTP\" for this mailbox (Microsoft 365 admin center, "
             "Users, Mail, Manage email apps)."},
    {OUTCOME_AUTH_APP_PASSWORD_REQUIRED, .provider = PROVIDER_GMAIL, .enhanced = "5.7.14",
     .hint = "Log in to this Google account in a web browser and confirm that it was you; then set password to an "
             "app password."},
    {OUTCOME_AUTH_APP_PASSWORD_REQUIRED, .provider = PROVIDER_GMAIL,
     .hint = "Set password to an app password of this Google account (Security, 2-Step Verification, App "
             "passwords): its ordinary password does not work for SMTP."},
    {OUTCOME_AUTH_TOO_WEAK, .reply = 538, .facts = FACT_NO_TLS,
     .hint = "Set tls to starttls for this relay: {host} takes no password without TLS."},
    {OUTCOME_AUTH_TEMPORARY, .enhanced = "4.7.12",
     .hint = "Log in once with a mail program or on the web page of {host}: it must renew this account's password "
             "record first."},
    {OUTCOME_AUTH_TEMPORARY, .says = "too many login",
     .hint = "Lower max_sessions for this relay and wait some minutes: to {host} this account logs in too often."},
    {OUTCOME_AUTH_TEMPORARY, .says = "credits exceeded",
     .hint = "Raise the account's limit at {provider}: what it may send is used up."},

    /* ---- limits ---- */

    {OUTCOME_SERVICE_CLOSING, .enhanced = "4.4.2",
     .hint = "Lower idle_timeout for this relay: {host} closes sessions that rest for so long."},
    {OUTCOME_RELAY_BUSY, .provider = PROVIDER_MICROSOFT,
     .hint = "Set max_sessions to 3 for this relay: Microsoft 365 takes three connections of a mailbox at once."},
    {OUTCOME_RELAY_BUSY, .stage = STAGE_BANNER,
     .hint = "Lower max_sessions for this relay: {host} takes no further connection for now."},
    {OUTCOME_RELAY_RATE_LIMITED, .provider = PROVIDER_GMAIL,
     .hint = "Wait until tomorrow if the day's mails are used up: Gmail sends 500 a day for an account, Google "
             "Workspace 2,000."},
    {OUTCOME_RELAY_RATE_LIMITED, .provider = PROVIDER_MICROSOFT, .says = "IP reputation",
     .hint = "Send more slowly: Microsoft 365 does not trust this machine's address yet, and takes few mails from "
             "it."},
    {OUTCOME_RELAY_RATE_LIMITED, .provider = PROVIDER_MICROSOFT,
     .hint = "Send more slowly: Microsoft 365 takes 30 mails a minute from a mailbox."},
    {OUTCOME_RELAY_RATE_LIMITED, .provider = PROVIDER_SES, .says = "daily",
     .hint = "Ask for a higher daily quota in the SES console (Account dashboard): today's is used up."},
    {OUTCOME_RELAY_RATE_LIMITED, .provider = PROVIDER_SES,
     .hint = "Ask for a higher sending rate in the SES console (Account dashboard), or send more slowly."},

    /* ---- senders ---- */

    {OUTCOME_SENDER_REJECTED, .enhanced = "4.1.8", .facts = FACT_TEMPORARY,
     .hint = "Use a From domain that exists in DNS: {host} cannot find this one."},
    {OUTCOME_SENDER_REJECTED, .facts = FACT_TEMPORARY,
     .hint = "Send it again after a minute: {host} refuses this sender for now only."},
    {OUTCOME_SENDER_REJECTED, .provider = PROVIDER_GMAIL, .says = "credentials for relay|relay denied",
     .hint = "Add this machine's address to the SMTP relay service (Google Admin console, Apps, Gmail, Routing): "
             "Google does not know it there."},
    {OUTCOME_SENDER_REJECTED, .enhanced = "5.4.5",
     .hint = "Wait until tomorrow: the account's daily quota at {host} is used up."},
    {OUTCOME_SENDER_REJECTED, .enhanced = "5.7.30",
     .hint = "Configure another relay: Microsoft takes no passwords (basic authentication) on {host} any more."},
    {OUTCOME_SENDER_REJECTED, .provider = PROVIDER_MICROSOFT, .enhanced = "5.1.8",
     .hint = "Have an administrator unblock the sending mailbox (Microsoft Defender portal, Restricted entities): "
             "Microsoft 365 has blocked it for sending spam."},
    {OUTCOME_SENDER_REJECTED, .enhanced = "5.1.8",
     .hint = "Use a From domain that exists in DNS: {host} cannot find this one."},
    {OUTCOME_SENDER_REJECTED, .enhanced = "5.7.60",
     .hint = "Use the mailbox's own address as From, or have an administrator give this account the permission "
             "\"Send as\" for it."},
    {OUTCOME_SENDER_REJECTED, .says = "SendAsDenied|send as this sender",
     .hint = "Use the mailbox's own address as From, or have an administrator give this account the permission "
             "\"Send as\" for it."},
    {OUTCOME_SENDER_REJECTED, .provider = PROVIDER_SES,
     .hint = "Verify the From address or its domain in the SES console, in the region of {host}."},
    {OUTCOME_SENDER_REJECTED, .provider = PROVIDER_SENDGRID,
     .hint = "Verify the From address or its domain at SendGrid (Settings, Sender Authentication)."},
    {OUTCOME_SENDER_REJECTED, .provider = PROVIDER_YAHOO,
     .hint = "Use the account's own address as From: Yahoo and AOL send for no other."},
    {OUTCOME_SENDER_REJECTED, .provider = PROVIDER_ICLOUD,
     .hint = "Use the account's own address or one of its aliases as From: iCloud Mail sends for no other."},
    {OUTCOME_SENDER_REJECTED, .facts = FACT_PROVIDER, .says = "not verified|verified",
     .hint = "Verify the From address or its domain at {provider}: it sends for verified senders only."},
    {OUTCOME_SENDER_REJECTED, .says = "not verified",
     .hint = "Verify the From address or its domain with the operator of {host}: it sends for verified senders "
             "only."},
    {OUTCOME_SENDER_REJECTED, .enhanced = "5.7.1", .facts = FACT_USER,
     .hint = "Use a From address that belongs to the account this relay logs in with."},
    {OUTCOME_SENDER_REJECTED, .enhanced = "5.7.1",
     .hint = "Set user and password for this relay if you have an account there: without a login {host} does not "
             "send for this From address."},

    /* ---- recipients ---- */

    {OUTCOME_RECIPIENTS_REJECTED, .says = "greylist|graylist|greylisted",
     .hint = "Send it again after five minutes: {host} puts off mail from senders that it has not seen before "
             "(greylisting)."},
    {OUTCOME_RECIPIENTS_REJECTED, .enhanced = "4.7.1",
     .hint = "Send it again after five minutes: {host} puts off mail from senders that it has not seen before "
             "(greylisting)."},
    {OUTCOME_RECIPIENTS_REJECTED, .facts = FACT_TEMPORARY,
     .hint = "Send it again after a minute: {host} refuses the recipients for now only."},
    {OUTCOME_RECIPIENTS_REJECTED, .enhanced = "5.7.64",
     .hint = "Have an administrator add this machine's address to the connector in the Exchange admin center: "
             "Microsoft 365 does not know on whose behalf it sends."},
    {OUTCOME_RECIPIENTS_REJECTED, .provider = PROVIDER_GMAIL, .says = "credentials for relay|relay denied",
     .hint = "Add this machine's address to the SMTP relay service (Google Admin console, Apps, Gmail, Routing): "
             "Google does not know it there."},
    {OUTCOME_RECIPIENTS_REJECTED, .facts = FACT_NO_USER, .says = "relay",
     .hint = "Set user and password for this relay: without a login {host} takes mail for its own domains only."},
    {OUTCOME_RECIPIENTS_REJECTED, .facts = FACT_USER, .says = "relay",
     .hint = "Ask the operator of {host} to let this account send to other domains: it is logged in and may not."},
    {OUTCOME_RECIPIENTS_REJECTED, .facts = FACT_MANY,
     .hint = "Look at recipients, where each address has its own reply, and correct or leave out those that are "
             "refused for good."},
    {OUTCOME_RECIPIENTS_REJECTED, .enhanced = "5.1.1",
     .hint = "Correct the address: {host} says that the mailbox does not exist."},
    {OUTCOME_RECIPIENTS_REJECTED, .enhanced = "5.1.10",
     .hint = "Correct the address: {host} says that the mailbox does not exist."},
    {OUTCOME_RECIPIENTS_REJECTED, .enhanced = "5.1.2",
     .hint = "Correct what is behind the @: the domain takes no mail."},
    {OUTCOME_RECIPIENTS_REJECTED, .enhanced = "5.1.3",
     .hint = "Correct the address: {host} cannot read it."},
    {OUTCOME_RECIPIENTS_REJECTED, .enhanced = "5.2.1",
     .hint = "Ask the recipient for another address: the mailbox is switched off."},
    {OUTCOME_RECIPIENTS_REJECTED, .enhanced = "5.4.1",
     .hint = "Correct the address: the recipient's organization does not know it."},
    {OUTCOME_RECIPIENTS_REJECTED, .enhanced = "5.4.5",
     .hint = "Wait until tomorrow: the account's daily quota at {host} is used up."},
    {OUTCOME_RELAY_DENIED, .provider = PROVIDER_GMAIL,
     .hint = "Add this machine's address to the SMTP relay service (Google Admin console, Apps, Gmail, Routing): "
             "Google does not know it there."},
    {OUTCOME_RELAY_DENIED, .facts = FACT_USER,
     .hint = "Ask the operator of {host} to let this account send to other domains: it is logged in and may not."},

    /* ---- the mail ---- */

    {OUTCOME_MESSAGE_TOO_LARGE, .facts = FACT_LOCAL,
     .hint = "Send large files as links: the mail is over the limit that {host} announces; detail has both sizes."},
    {OUTCOME_MAILBOX_FULL, .says = "STOREDRV.Submission",
     .hint = "Make room in the sending mailbox: Microsoft 365 keeps a copy of each mail there (Sent Items), and it "
             "is full."},
    {OUTCOME_MAILBOX_FULL, .facts = FACT_TEMPORARY,
     .hint = "Send it again later: it helps once the recipient has made room."},
    {OUTCOME_DATA_REJECTED, .facts = FACT_TEMPORARY,
     .hint = "Send it again after a minute: {host} refuses the mail for now only."},
    {OUTCOME_MESSAGE_REJECTED, .says = "SendAsDenied|send as this sender",
     .hint = "Use the mailbox's own address as From, or have an administrator give this account the permission "
             "\"Send as\" for it."},
    {OUTCOME_MESSAGE_REJECTED, .enhanced = "5.2.252",
     .hint = "Use the mailbox's own address as From, or have an administrator give this account the permission "
             "\"Send as\" for it."},
    {OUTCOME_MESSAGE_REJECTED, .enhanced = "5.7.60",
     .hint = "Use the mailbox's own address as From, or have an administrator give this account the permission "
             "\"Send as\" for it."},
    {OUTCOME_MESSAGE_REJECTED, .says = "SubmissionQuotaExceeded",
     .hint = "Wait until tomorrow: Microsoft 365 lets a mailbox send to 10,000 recipients a day."},
    {OUTCOME_MESSAGE_REJECTED, .provider = PROVIDER_MICROSOFT, .enhanced = "5.1.8",
     .hint = "Have an administrator unblock the sending mailbox (Microsoft Defender portal, Restricted entities): "
             "Microsoft 365 has blocked it for sending spam."},
    {OUTCOME_MESSAGE_REJECTED, .enhanced = "5.4.5",
     .hint = "Wait until tomorrow: the account's daily quota at {host} is used up."},
    {OUTCOME_MESSAGE_REJECTED, .enhanced = "5.7.30",
     .hint = "Configure another relay: Microsoft takes no passwords (basic authentication) on {host} any more."},
    {OUTCOME_MESSAGE_REJECTED, .provider = PROVIDER_SES, .says = "not verified",
     .hint = "Verify the address that smtp.text names in the SES console, in the region of {host}; while the "
             "account is in the SES sandbox, recipients must be verified too."},
    {OUTCOME_MESSAGE_REJECTED, .provider = PROVIDER_SENDGRID, .says = "verified",
     .hint = "Verify the From address or its domain at SendGrid (Settings, Sender Authentication)."},
    {OUTCOME_MESSAGE_REJECTED, .facts = FACT_PROVIDER, .says = "not verified|verified",
     .hint = "Verify the From address or its domain at {provider}: it sends for verified senders only."},
    {OUTCOME_MESSAGE_REJECTED, .provider = PROVIDER_YAHOO, .says = "mailbox unavailable",
     .hint = "Use the account's own address as From: Yahoo and AOL send for no other."},
    {OUTCOME_MESSAGE_REJECTED, .says = "not verified",
     .hint = "Verify the From address or its domain with the operator of {host}: it sends for verified senders "
             "only."},
    {OUTCOME_MESSAGE_REJECTED, .says = "virus|malware|security issue|file type",
     .hint = "Leave out the attachment and send a link: {host} takes its content for dangerous."},
    {OUTCOME_MESSAGE_REJECTED, .enhanced = "5.7.26",
     .hint = "Set up SPF and DKIM for the From domain: {host} wants mail that is authenticated."},
    {OUTCOME_MESSAGE_REJECTED, .says = "spam|unsolicited",
     .hint = "Set up SPF, DKIM and DMARC for the From domain, then look at links and wording: {host} takes the mail "
             "for spam."},
    {OUTCOME_MESSAGE_REJECTED, .enhanced = "5.3.4",
     .hint = "Send large files as links: the mail is larger than {host} takes."},

    /* ---- the odd ---- */

    {OUTCOME_PROTOCOL_ERROR, .facts = FACT_UNKNOWN,
     .hint = "Look for {message_id} at {host} or at the recipient before you send it again: its last reply was not "
             "SMTP, so the mail may have been sent."},
    {OUTCOME_PROTOCOL_ERROR, .stage = STAGE_BANNER,
     .hint = "Check that {host}:{port} is a mail server: it greeted with something that is not SMTP."},
    {OUTCOME_DEADLINE_EXCEEDED, .stage = STAGE_QUEUE,
     .hint = "Raise max_sessions for this relay: the mail waited for a free session until request_timeout had "
             "passed."},
};
const size_t hint_n_rows = ARRAY_LEN(hint_rows);
