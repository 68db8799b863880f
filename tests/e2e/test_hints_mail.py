"""What a person reads first: the hint, whole, for every way to fail from the login on. The sentences are
written out here, so that changing one is a decision made twice."""
import unittest

from harness import mail
from hint_case import CAP, GMAIL, OFFICE, RELAY, SES, HintCase
from peer import ALL, BASIC, PIPELINED, close, hang, reply_close, send_bytes

LOCKSTEP = {"caps": BASIC}


class TestMailHints(HintCase):
    pass


hint = TestMailHints.hint

# --- logging in

AUTH = "502 %s auth not_sent no"
hint(
    "no_auth",
    AUTH % "auth_not_offered",
    "Remove user and password from this relay: relay.example.com:587 offers no login, as relays do that know their "
    "clients by address.",
    auth="",
)
hint(
    "no_auth_25",
    AUTH % "auth_not_offered",
    "Change this relay's url to smtp://relay.example.com:587, the submission port: port 25 seldom offers a login.",
    where="relay.example.com:25",
    auth="",
)
hint(
    "mechanisms_of_windows",
    AUTH % "auth_mechanism_unsupported",
    "Have basic authentication switched on in the receive connector of relay.example.com: it offers Windows logins "
    "(NTLM, GSSAPI) only.",
    auth="GSSAPI NTLM",
)
hint(
    "mechanisms_unknown",
    AUTH % "auth_mechanism_unsupported",
    "Have AUTH PLAIN or LOGIN switched on at relay.example.com: under TLS both are safe.",
    auth="SCRAM-SHA-256",
)
REQUIRED = "502 auth_required mail not_sent no"
hint(
    "login_wanted",
    REQUIRED,
    "Set user and password for this relay: relay.example.com takes mail only after a login.",
    user=False,
    on={"mail": "530 5.7.0 Authentication required"},
)
hint(
    "login_wanted_after_login",
    REQUIRED,
    "Ask the operator of relay.example.com whether this account may send: it logged in and is asked for a login all "
    "the same.",
    on={"mail": "530 5.7.0 Authentication required"},
)
hint(
    "login_wanted_microsoft",
    REQUIRED,
    "Set user and password of a licensed mailbox for this relay: smtp.office365.com sends for logged-in mailboxes "
    "only.",
    where=OFFICE,
    user=False,
    on={"mail": "530 5.7.57 Client not authenticated to send mail. [AM0PR01CA0001.eurprd01.prod.outlook.com]"},
)
hint(
    "login_wanted_gmail",
    REQUIRED,
    "Set user to the Gmail address and password to an app password for this relay: smtp.gmail.com takes mail only "
    "after a login.",
    where=GMAIL,
    user=False,
    on={"mail": "530-5.7.0 Authentication Required.\r\n530 5.7.0 see the help pages a1sm - gsmtp"},
)
hint(
    "login_wants_tls",
    REQUIRED,
    "Set tls to starttls for this relay: localhost takes neither login nor mail before TLS.",
    where="localhost:587",
    user=False,
    query="?tls=none",
    on={"mail": "530 5.7.0 Must issue a STARTTLS command first"},
)
FAILED = AUTH % "auth_failed"
WRONG = {"on": {"auth": "535 5.7.8 Error: authentication failed"}}
hint(
    "password",
    FAILED,
    "Check user and password of this relay: relay.example.com refuses them; in a url, characters such as @ : / must "
    "be percent-encoded.",
    **WRONG,
)
hint(
    "password_behind_a_smarthost",
    FAILED,
    "Set password to an app password of this Google account (Security, 2-Step Verification, App passwords): its "
    "ordinary password does not work for SMTP.",
    on={"auth": "535 5.7.8 Username and Password not accepted. a1sm - gsmtp"},
)
for _name, _where, _sentence in (
    (
        "gmail",
        GMAIL,
        "Set password to an app password of this Google account (Security, 2-Step Verification, App passwords): its "
        "ordinary password does not work for SMTP.",
    ),
    (
        "microsoft",
        OFFICE,
        'Have an administrator switch on "Authenticated SMTP" for this mailbox (Microsoft 365 admin center, Users, '
        "Mail, Manage email apps); while it is off, the right password is refused like a wrong one.",
    ),
    (
        "outlook",
        "smtp-mail.outlook.com:587",
        "Configure another relay: Outlook.com takes no passwords from programs any more.",
    ),
    (
        "yahoo",
        "smtp.mail.yahoo.com:587",
        "Set password to an app password (Yahoo or AOL account, Security, Generate app password): the account's "
        "ordinary password does not work for SMTP.",
    ),
    (
        "icloud",
        "smtp.mail.me.com:587",
        "Set password to an app-specific password (account.apple.com, Sign-In and Security): the Apple Account's "
        "own password does not work for SMTP.",
    ),
    (
        "ses",
        SES,
        "Create SMTP credentials in the SES console, in the region of email-smtp.eu-west-1.amazonaws.com: an AWS "
        "access key and its secret key do not work here.",
    ),
    (
        "sendgrid",
        "smtp.sendgrid.net:587",
        'Set user to the word apikey, and password to an API key with the permission "Mail Send".',
    ),
    (
        "mailgun",
        "smtp.mailgun.org:587",
        "Set user and password to the SMTP credentials of the sending domain (Mailgun, Domain settings): the API "
        "key does not work here.",
    ),
    (
        "postmark",
        "smtp.postmarkapp.com:587",
        "Set both user and password to the API token of the server in Postmark, or to the two keys of an SMTP token.",
    ),
    (
        "brevo",
        "smtp-relay.brevo.com:587",
        "Set password to an SMTP key (Brevo, SMTP & API) and user to the login shown beside it: neither the API key "
        "nor the account's password works here.",
    ),
    (
        "mailjet",
        "in-v3.mailjet.com:587",
        "Set user to the API key and password to the secret key of the Mailjet account.",
    ),
    ("resend", "smtp.resend.com:587", "Set user to the word resend, and password to an API key."),
):
    hint("password_" + _name, FAILED, _sentence, where=_where, **WRONG)
BASIC_OFF = AUTH % "auth_basic_disabled"
for _name, _text, _sentence in (
    (
        "tenant",
        "SmtpClientAuthentication is disabled for the Tenant.",
        "Have an administrator switch on SMTP AUTH for the organization (Exchange admin center, Settings, Mail "
        "flow) and for this mailbox: it is off for all of them.",
    ),
    (
        "mailbox",
        "SmtpClientAuthentication is disabled for the Mailbox.",
        'Have an administrator switch on "Authenticated SMTP" for this mailbox (Microsoft 365 admin center, Users, '
        "Mail, Manage email apps).",
    ),
    (
        "defaults",
        "user is locked by your organization's security defaults policy.",
        "Have an administrator replace the organization's security defaults by a policy that lets this mailbox use "
        "SMTP AUTH: they forbid it.",
    ),
    (
        "criteria",
        "the request did not meet the criteria to be authenticated successfully.",
        "Have an administrator look up this login in the Entra sign-in log: a wrong password or a Conditional "
        "Access policy stopped it, and the log says which.",
    ),
):
    hint(
        "basic_auth_off_" + _name,
        BASIC_OFF,
        _sentence,
        where=OFFICE,
        on={"auth": "535 5.7.139 Authentication unsuccessful, " + _text},
    )
hint(
    "basic_auth_off_elsewhere",
    BASIC_OFF,
    "Have the administrator of this mailbox allow SMTP AUTH with a password: relay.example.com has it switched off.",
    on={"auth": "535 5.7.139 Authentication unsuccessful"},
)
hint(
    "basic_auth_retired",
    FAILED,
    "Configure another relay: Microsoft takes no passwords (basic authentication) on smtp.office365.com any more.",
    where=OFFICE,
    on={"auth": "550 5.7.30 Basic authentication is not supported for Client Submission."},
)
hint(
    "app_password",
    AUTH % "auth_app_password_required",
    "Set password to an app password of this Google account (Security, 2-Step Verification, App passwords): its "
    "ordinary password does not work for SMTP.",
    where=GMAIL,
    on={"auth": "534 5.7.9 Application-specific password required. a1sm - gsmtp"},
)
hint(
    "app_password_web_login",
    AUTH % "auth_app_password_required",
    "Log in to this Google account in a web browser and confirm that it was you; then set password to an app "
    "password.",
    where=GMAIL,
    on={"auth": "534 5.7.14 Please log in via your web browser - gsmtp"},
)
hint(
    "app_password_elsewhere",
    AUTH % "auth_app_password_required",
    "Create an app password in the account's security settings and set password to it: relay.example.com does not "
    "take the ordinary one.",
    on={"auth": "534 5.7.9 Application-specific password required"},
)
hint(
    "too_weak",
    AUTH % "auth_too_weak",
    "Ask the operator of relay.example.com which login mechanism this account may use: PLAIN and LOGIN are too weak "
    "for it.",
    on={"auth": "534 mechanism is too weak"},
)
LATER = "503 auth_temporary auth not_sent yes"
hint(
    "login_later",
    LATER,
    "Send it again after a minute: relay.example.com cannot check logins just now.",
    on={"auth": "454 4.7.0 Temporary authentication failure"},
)
hint(
    "login_transition",
    LATER,
    "Log in once with a mail program or on the web page of relay.example.com: it must renew this account's password "
    "record first.",
    on={"auth": "432 4.7.12 A password transition is needed"},
)
hint(
    "logins_too_many",
    LATER,
    "Lower max_sessions for this relay and wait some minutes: to smtp.gmail.com this account logs in too often.",
    where=GMAIL,
    on={"auth": "454 4.7.0 Too many login attempts, please try again later. a1sm - gsmtp"},
)
hint(
    "credits",
    LATER,
    "Raise the account's limit at SendGrid: what it may send is used up.",
    where="smtp.sendgrid.net:587",
    on={"auth": "451 Authentication failed: Maximum credits exceeded"},
)

# --- limits

hint(
    "busy_banner",
    "503 relay_busy banner not_sent yes",
    "Lower max_sessions for this relay: relay.example.com takes no further connection for now.",
    on={"banner": reply_close("421 too many connections")},
)
hint(
    "busy_mail",
    "503 relay_busy mail not_sent yes",
    "Send it again after a minute: relay.example.com takes no mail just now.",
    on={"mail": "451 4.3.2 not accepting now"},
)
hint(
    "busy_microsoft",
    "503 relay_busy mail not_sent yes",
    "Set max_sessions to 3 for this relay: Microsoft 365 takes three connections of a mailbox at once.",
    where=OFFICE,
    on={"mail": "432 4.3.2 Concurrent connections limit exceeded."},
)
hint(
    "closing",
    "503 service_closing ehlo not_sent yes",
    "Send it again after a minute: relay.example.com is stopping, or wants fewer or shorter connections.",
    on={"ehlo": reply_close("421 4.3.0 bye")},
)
hint(
    "closing_idle",
    "503 service_closing mail not_sent yes",
    "Lower idle_timeout for this relay: relay.example.com closes sessions that rest for so long.",
    on={"mail": reply_close("421 4.4.2 timeout")},
)
RATE = "503 relay_rate_limited mail not_sent yes"
hint(
    "rate",
    RATE,
    "Send more slowly: relay.example.com limits this account or this machine's address for now; its operator knows "
    "the limits.",
    on={"mail": "451 Too many messages, slow down"},
)
hint(
    "rate_gmail",
    RATE,
    "Wait until tomorrow if the day's mails are used up: Gmail sends 500 a day for an account, Google Workspace "
    "2,000.",
    where=GMAIL,
    on={"mail": "450 4.7.28 unusual rate - gsmtp"},
)
hint(
    "rate_microsoft",
    RATE,
    "Send more slowly: Microsoft 365 takes 30 mails a minute from a mailbox.",
    where=OFFICE,
    on={"mail": "451 4.7.652 The mail server has exceeded the maximum number of connections."},
)
hint(
    "rate_microsoft_address",
    RATE,
    "Send more slowly: Microsoft 365 does not trust this machine's address yet, and takes few mails from it.",
    where="contoso-com.mail.protection.outlook.com:25",
    user=False,
    on={"mail": "451 4.7.650 The mail server [192.0.2.1] has been temporarily rate limited due to IP reputation."},
)
hint(
    "rate_ses",
    "503 relay_rate_limited body not_sent|rejected yes",
    "Ask for a higher sending rate in the SES console (Account dashboard), or send more slowly.",
    where=SES,
    on={"body": "454 Throttling failure: Maximum sending rate exceeded."},
)
hint(
    "rate_ses_day",
    "503 relay_rate_limited body not_sent|rejected yes",
    "Ask for a higher daily quota in the SES console (Account dashboard): today's is used up.",
    where=SES,
    on={"body": "454 Throttling failure: Daily message quota exceeded."},
)

# --- sender and recipients

SENDER = "422 sender_rejected mail rejected no"
REJECTED = "422 message_rejected body rejected no"
SEND_AS = (
    'Use the mailbox\'s own address as From, or have an administrator give this account the permission "Send as" for '
    "it."
)
hint(
    "sender",
    SENDER,
    "Use a From address that relay.example.com takes from this account; smtp.text has its reason.",
    on={"mail": "553 sorry"},
)
hint(
    "sender_of_another",
    SENDER,
    "Use a From address that belongs to the account this relay logs in with.",
    on={"mail": "550 5.7.1 not your address"},
)
hint(
    "sender_without_login",
    SENDER,
    "Set user and password for this relay if you have an account there: without a login relay.example.com does not "
    "send for this From address.",
    user=False,
    on={"mail": "550 5.7.1 not your address"},
)
hint(
    "sender_domain",
    SENDER,
    "Use a From domain that exists in DNS: relay.example.com cannot find this one.",
    on={"mail": "550 5.1.8 domain not found"},
)
hint(
    "sender_domain_temporary",
    "503 sender_rejected mail rejected yes",
    "Use a From domain that exists in DNS: relay.example.com cannot find this one.",
    on={"mail": "451 4.1.8 cannot resolve"},
)
hint(
    "sender_temporary",
    "503 sender_rejected mail rejected yes",
    "Send it again after a minute: relay.example.com refuses this sender for now only.",
    on={"mail": "450 4.0.0 later"},
)
hint(
    "sender_microsoft", SENDER, SEND_AS, where=OFFICE, on={"mail": "550 5.7.60 SMTP; Client does not have permissions"}
)
UNBLOCK = (
    "Have an administrator unblock the sending mailbox (Microsoft Defender portal, Restricted entities): Microsoft 365 "
    "has blocked it for sending spam."
)
hint("sender_blocked", SENDER, UNBLOCK, where=OFFICE, on={"mail": "550 5.1.8 Access denied, bad outbound sender"})
GOOGLE_RELAY = (
    "Add this machine's address to the SMTP relay service (Google Admin console, Apps, Gmail, Routing): Google does "
    "not know it there."
)
hint(
    "sender_google_relay",
    SENDER,
    GOOGLE_RELAY,
    where="smtp-relay.gmail.com:587",
    user=False,
    on={"mail": "550 5.7.1 Invalid credentials for relay [192.0.2.1]. - gsmtp"},
)
hint(
    "rcpt_google_relay",
    "422 relay_denied|recipients_rejected rcpt rejected no",
    GOOGLE_RELAY,
    where="smtp-relay.gmail.com:587",
    user=False,
    on={"rcpt": "550 5.7.1 Mail relay denied [192.0.2.1]. - gsmtp"},
)
hint(
    "sender_not_verified",
    SENDER,
    "Verify the From address or its domain at Resend: it sends for verified senders only.",
    where="smtp.resend.com:587",
    on={"mail": "550 The example.org domain is not verified"},
)
hint(
    "quota_of_the_day",
    SENDER,
    "Wait until tomorrow: the account's daily quota at smtp.gmail.com is used up.",
    where=GMAIL,
    on={"mail": "550 5.4.5 Daily user sending limit exceeded - gsmtp"},
)
RCPT = "422 recipients_rejected rcpt rejected no"
hint(
    "no_such_user",
    RCPT,
    "Correct the address: relay.example.com says that the mailbox does not exist.",
    on={"rcpt": "550 5.1.1 no such user"},
)
hint(
    "no_such_domain",
    RCPT,
    "Correct what is behind the @: the domain takes no mail.",
    on={"rcpt": "550 5.1.2 no such domain"},
)
hint(
    "rcpt_disabled",
    RCPT,
    "Ask the recipient for another address: the mailbox is switched off.",
    on={"rcpt": "550 5.2.1 disabled"},
)
hint(
    "rcpt_without_a_word",
    RCPT,
    "Read the reply of relay.example.com in recipients and correct the address: most often it does not exist.",
    on={"rcpt": "550 no"},
)
for _name, _more in (("all_of_two", {}), ("one_of_two", {"partial": "reject"})):
    hint(
        "rcpt_" + _name,
        RCPT if _name == "all_of_two" else "422 recipients_rejected rcpt not_sent no",
        "Look at recipients, where each address has its own reply, and correct or leave out those that are refused "
        "for good.",
        on={"rcpt": ["550 5.1.1 no" if _name == "all_of_two" else "250 ok", "550 5.1.1 no"]},
        message=mail(to=["bob@example.net", "eve@example.net"], **_more),
        caps=PIPELINED,
    )
GREY = (
    "Send it again after five minutes: relay.example.com puts off mail from senders that it has not seen before "
    "(greylisting)."
)
hint("greylisted", "503 recipients_rejected rcpt rejected yes", GREY, on={"rcpt": "450 4.7.1 try again"})
hint("greylisted_by_text", "503 recipients_rejected rcpt rejected yes", GREY, on={"rcpt": "451 Greylisted, come back"})
hint(
    "rcpt_temporary",
    "503 recipients_rejected rcpt rejected yes",
    "Send it again after a minute: relay.example.com refuses the recipients for now only.",
    on={"rcpt": "450 4.2.1 later"},
)
DENIED = "Set user and password for this relay: without a login relay.example.com takes mail for its own domains only."
hint(
    "relay_denied",
    "422 relay_denied rcpt rejected no",
    DENIED,
    user=False,
    on={"rcpt": "554 5.7.1 Relay access denied"},
)
hint("message_blocked_mailbox", REJECTED, UNBLOCK, where=OFFICE, on={"body": "554 5.1.8 bad outbound sender"})
hint("relay_denied_bare", RCPT, DENIED, user=False, on={"rcpt": "550 relay not permitted"})
hint(
    "relay_denied_after_login",
    "422 relay_denied rcpt rejected no",
    "Ask the operator of relay.example.com to let this account send to other domains: it is logged in and may not.",
    on={"rcpt": "554 5.7.1 Relay access denied"},
)
hint(
    "relay_denied_microsoft",
    RCPT,
    "Have an administrator add this machine's address to the connector in the Exchange admin center: Microsoft 365 "
    "does not know on whose behalf it sends.",
    where="contoso-com.mail.protection.outlook.com:25",
    user=False,
    on={"rcpt": "550 5.7.64 TenantAttribution; Relay Access Denied"},
)

# --- the mail

hint(
    "size_announced",
    "422 message_too_large mail not_sent no",
    "Send large files as links: the mail is over the limit that relay.example.com announces; detail has both sizes.",
    caps=("SIZE 1000", *BASIC),
    details=[r"the mail has \d{4} octets, the relay takes 1000"],
    message=mail(text="x\n" * 1000),
)
hint(
    "size_refused",
    "422 message_too_large body rejected no",
    "Send large files as links: the mail is larger than relay.example.com takes.",
    on={"body": "552 5.3.4 too big"},
)
hint(
    "mailbox_full",
    "422 mailbox_full rcpt rejected no",
    "Tell the recipient in another way: a retry helps only once there is room in the mailbox.",
    on={"rcpt": "552 5.2.2 over quota"},
)
hint(
    "mailbox_full_temporary",
    "503 mailbox_full rcpt rejected yes",
    "Send it again later: it helps once the recipient has made room.",
    on={"rcpt": "452 4.2.2 over quota"},
)
hint(
    "mailbox_full_of_the_sender",
    "422 mailbox_full body rejected no",
    "Make room in the sending mailbox: Microsoft 365 keeps a copy of each mail there (Sent Items), and it is full.",
    where=OFFICE,
    on={"body": "554 5.2.2 mailbox full; STOREDRV.Submission.Exception:QuotaExceededException"},
)
hint(
    "smtputf8",
    "422 smtputf8_unsupported ehlo not_sent no",
    "Use an address with ASCII letters only before the @: relay.example.com does not offer SMTPUTF8.",
    caps=BASIC,
    message=mail(to="jürgen@example.net"),
)
hint(
    "data_rejected",
    "422 data_rejected data rejected no",
    "Do what smtp.text says: relay.example.com took sender and recipients, and then refused DATA.",
    on={"data": "554 5.5.0 no"},
    **LOCKSTEP,
)
hint(
    "data_temporary",
    "503 data_rejected data rejected yes",
    "Send it again after a minute: relay.example.com refuses the mail for now only.",
    on={"data": "451 4.3.0 later"},
    **LOCKSTEP,
)
for _name, _where, _reply, _sentence in (
    (
        "policy",
        RELAY,
        "554 5.7.1 no",
        "Do what smtp.text says: relay.example.com read the whole mail and does not want it, most often because of "
        "a spam or policy filter.",
    ),
    (
        "spam",
        RELAY,
        "550 5.7.1 This is spam",
        "Set up SPF, DKIM and DMARC for the From domain, then look at links and wording: relay.example.com takes "
        "the mail for spam.",
    ),
    (
        "virus",
        RELAY,
        "552 5.7.0 blocked: potential security issue",
        "Leave out the attachment and send a link: relay.example.com takes its content for dangerous.",
    ),
    (
        "unauthenticated",
        RELAY,
        "550 5.7.26 unauthenticated",
        "Set up SPF and DKIM for the From domain: relay.example.com wants mail that is authenticated.",
    ),
    ("send_as", OFFICE, "554 5.2.252 SendAsDenied; ann@example.org not allowed to send as", SEND_AS),
    ("send_as_5760", OFFICE, "550 5.7.60 SMTP; Client does not have permissions to send as this sender", SEND_AS),
    (
        "ses",
        SES,
        "554 Message rejected: Email address is not verified. The following identities failed the check",
        "Verify the address that smtp.text names in the SES console, in the region of "
        "email-smtp.eu-west-1.amazonaws.com; while the account is in the SES sandbox, recipients must be verified "
        "too.",
    ),
    (
        "sendgrid",
        "smtp.sendgrid.net:587",
        "550 The from address does not match a verified Sender Identity.",
        "Verify the From address or its domain at SendGrid (Settings, Sender Authentication).",
    ),
):
    hint("message_" + _name, REJECTED, _sentence, where=_where, on={"body": _reply})
hint(
    "message_deferred",
    "503 message_deferred body rejected yes",
    "Send it again after a minute: relay.example.com read the whole mail and put it off.",
    on={"body": "451 4.7.1 try later"},
)
UNKNOWN = (
    "Look for <ID> at relay.example.com or at the recipient before you send it again: the mail may have been sent."
)
for _how, _act in (("closed", close), ("half_a_reply", send_bytes(b"250 2.0.0 que", close))):
    hint("unknown_" + _how, "504 outcome_unknown body unknown no", UNKNOWN, on={"body": _act}, caps=ALL)
hint("unknown_silence", "504 outcome_unknown body unknown no", UNKNOWN, on={"body": hang}, env=CAP)
hint(
    "unknown_garbage",
    "502 protocol_error body unknown no",
    "Look for <ID> at relay.example.com or at the recipient before you send it again: its last reply was not SMTP, "
    "so the mail may have been sent.",
    on={"body": "whatever"},
    **LOCKSTEP,
)
hint(
    "garbage",
    "502 protocol_error mail not_sent no",
    "Find out what stands between this machine and relay.example.com: an answer at MAIL FROM was not SMTP.",
    on={"mail": "certainly!"},
    **LOCKSTEP,
)
hint(
    "deadline",
    "504 deadline_exceeded ehlo not_sent yes",
    "Find out why relay.example.com was slow at EHLO, or raise request_timeout: it had passed before the mail was "
    "sent.",
    on={"ehlo": hang},
    env={"MAILHATCH_REQUEST_TIMEOUT": "1s"},
)


if __name__ == "__main__":
    unittest.main()
