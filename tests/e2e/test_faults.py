"""The matrix: every way in which a relay can fail, at every stage, and what the caller is told. One row, one peer,
one gateway, one answer."""
import base64
import hashlib
import ssl
import time
import unittest

import harness
from harness import Gateway, mail
from judge import Fault
from peer import (
    ALL,
    BASIC,
    PIPELINED,
    Peer,
    chain,
    close,
    default,
    drip,
    hang,
    read_some,
    reply,
    reply_close,
    reset,
    send_bytes,
    wait_gone,
)

BIG = "x" * 70 + "\n"
BIG_TEXT = BIG * 200000  # 14 MB: more than any socket buffer holds
NO_SIZE = tuple(c for c in ALL if not c.startswith("SIZE"))
V = ssl.TLSVersion


ROWS = set()


def row(name, expect, peer=None, **more):
    def test(self):
        self.run_row(expect, peer, **more)

    assert name not in ROWS, name
    ROWS.add(name)
    setattr(TestMatrix, "test_" + name, test)


def rows(name, expect, peer, **more):
    """The same in lock-step, pipelined, and all in one flight."""
    for suffix, caps in (("lockstep", BASIC), ("pipelined", PIPELINED), ("one_flight", ALL)):
        row(name + "_" + suffix, expect, {"caps": caps, **peer}, flies=caps is ALL, **more)


class TestMatrix(Fault):
    def run_row(
        self, expect, peer=None, env=None, message=None, url=None, check=None, within=None, delivered=0, flies=False
    ):
        peer = {k: harness.cert_path("ca.pem") if v == "CA" else v for k, v in (peer or {}).items()}
        env = {k: harness.cert_path("ca.crl") if v == "CRL" else v for k, v in (env or {}).items()}
        with Peer(**peer) as p:
            relay = url(p) if url else p.url()
            with Gateway(env, relay=relay) as g:
                if flies:
                    p.begin_flights(g)
                begun = time.monotonic()
                answer = g.post(message or mail())
                took = time.monotonic() - begun
                self.check(answer, expect, where=relay.split("//")[1].split("@")[-1].split("?")[0])
                self.assertEqual(len(p.mails) - flies, delivered, "mails that the peer took")
                if answer.json["smtp"] is not None:
                    self.assertGreaterEqual(answer.json["smtp"]["code"], 200)
                if within:
                    self.assertLess(took, within)
                if check:
                    check(self, p, g, answer)


def no_auth_shown(t, p, g, answer):
    t.assertFalse([c for c in p.commands() if c.startswith(("AUTH", "MAIL"))], "credentials or mail were shown")


def no_mail_tried(t, p, g, answer):
    t.assertFalse([c for c in p.commands() if c.startswith("MAIL")], "a mail was tried")


def smtp_is(code, enhanced=None):
    def check(t, p, g, answer):
        t.assertEqual((answer.json["smtp"]["code"], answer.json["smtp"]["enhanced"]), (code, enhanced))

    return check


def retry_after(seconds):
    return lambda t, p, g, answer: t.assertEqual(answer.headers["Retry-After"], str(seconds))


CAP = {"MAILHATCH_RELAY_TIMEOUT": "1"}

# --- the greeting and EHLO

row(
    "banner_rejected",
    "502 banner_rejected banner not_sent no",
    {"on": {"banner": "554 5.7.1 go away"}},
    check=smtp_is(554, "5.7.1"),
)
row("banner_rejected_temporary", "503 banner_rejected banner not_sent yes", {"on": {"banner": "450 not now"}})
row("banner_busy", "503 relay_busy banner not_sent yes", {"on": {"banner": reply_close("421 too many connections")}})
row("banner_garbage", "502 protocol_error banner not_sent no", {"on": {"banner": "hello there"}})
row("banner_http", "502 protocol_error banner not_sent no", {"on": {"banner": "HTTP/1.1 400 Bad Request"}})
row("banner_letter_o", "502 protocol_error banner not_sent no", {"on": {"banner": "22O peer.test"}})
row("banner_oversize", "502 protocol_error banner not_sent no", {"on": {"banner": "220 " + "x" * 5000}})
row(
    "banner_endless",
    "502 protocol_error banner not_sent no",
    {"on": {"banner": send_bytes(b"220 " + b"x" * 100000, wait_gone)}},
)
row(
    "banner_binary",
    "502 protocol_error banner not_sent no",
    {"on": {"banner": send_bytes(b"\xff\xfb\x01\x00\r\n", wait_gone)}},
)
row("banner_code_changes", "502 protocol_error banner not_sent no", {"on": {"banner": reply("220-one", "221 two")}})
row(
    "banner_positive_but_not_220",
    "502 protocol_error|banner_rejected banner not_sent no",
    {"on": {"banner": "250 hello"}},
)
row("ehlo_rejected", "502 ehlo_rejected ehlo not_sent no", {"on": {"ehlo": "550 5.7.1 no"}}, check=no_auth_shown)
row(
    "ehlo_unknown_command",
    "502 ehlo_rejected ehlo not_sent no",
    {"on": {"ehlo": "502 5.5.1 what?"}},
    check=no_auth_shown,
)
row("ehlo_rejected_temporary", "503 ehlo_rejected ehlo not_sent yes", {"on": {"ehlo": "451 4.3.0 later"}})
row("ehlo_421", "503 service_closing ehlo not_sent yes", {"on": {"ehlo": reply_close("421 bye")}})
row(
    "ehlo_after_tls_rejected",
    "502 ehlo_rejected ehlo not_sent no",
    {"on": {"ehlo_tls": "550 5.7.1 no"}},
    check=no_auth_shown,
)
row(
    "ehlo_too_many_lines",
    "502 protocol_error ehlo not_sent no",
    {"on": {"ehlo": reply(*["250-X%d" % i for i in range(200)], "250 END")}},
    check=no_auth_shown,
)
row(
    "ehlo_endless_lines",
    "502 protocol_error ehlo not_sent no",
    {"on": {"ehlo": chain(reply(*["250-X%d" % i for i in range(5000)]), wait_gone)}},
    check=no_auth_shown,
)
row(
    "ehlo_unsolicited_reply",
    "502 protocol_error|starttls_injection ehlo|starttls not_sent no",
    {"on": {"ehlo": reply("250-peer.test", "250 STARTTLS", "250 and more")}},
    check=no_auth_shown,
)

# --- STARTTLS

row(
    "starttls_not_offered",
    "502 starttls_not_offered ehlo not_sent no",
    {"tls_mode": "none"},
    url=lambda p: p.url("smtp"),
    check=no_auth_shown,
)
row(
    "starttls_refused",
    "502 starttls_refused starttls not_sent no",
    {"on": {"starttls": "502 5.5.1 no"}},
    check=no_auth_shown,
)
row(
    "starttls_refused_temporary",
    "503 starttls_refused starttls not_sent yes",
    {"on": {"starttls": "454 4.7.0 TLS not available"}},
    check=no_auth_shown,
)
row(
    "starttls_other_positive",
    "502 starttls_refused starttls not_sent no",
    {"on": {"starttls": chain("250 ok", wait_gone)}},
    check=no_auth_shown,
)
row("starttls_421", "503 service_closing starttls not_sent yes", {"on": {"starttls": reply_close("421 bye")}})
row(
    "starttls_injection",
    "502 starttls_injection starttls not_sent no",
    {"on": {"starttls": chain(send_bytes(b"220 go\r\n250-evil.test\r\n250 AUTH PLAIN\r\n"), wait_gone)}},
    check=no_auth_shown,
)
row(
    "starttls_injection_partial_line",
    "502 starttls_injection starttls not_sent no",
    {"on": {"starttls": chain(send_bytes(b"220 go\r\n2"), wait_gone)}},
    check=no_auth_shown,
)
row(
    "starttls_injection_own_segment",
    "502 starttls_injection|tls_handshake_failed|protocol_error|tls_on_plaintext_port starttls|tls not_sent no",
    {"on": {"starttls": chain("220 go", "250 evil", wait_gone)}},
    check=no_auth_shown,
)

# --- TLS

row("tls_closed", "502 tls_closed tls not_sent yes", {"on": {"tls": close}}, check=no_auth_shown)
row("tls_reset", "502 tls_closed tls not_sent yes", {"on": {"tls": reset}}, check=no_auth_shown)
row(
    "tls_closed_after_hello",
    "502 tls_closed tls not_sent yes",
    {"on": {"tls": read_some(50, close)}},
    check=no_auth_shown,
)
row(
    "tls_implicit_closed",
    "502 tls_closed tls not_sent yes",
    {"tls_mode": "implicit", "on": {"tls": read_some(50, close)}},
)
row(
    "tls_garbage",
    "502 tls_handshake_failed tls not_sent no",
    {"on": {"tls": read_some(50, send_bytes(b"\x00\x01\x02\x03\x04\x05" * 20, wait_gone))}},
)
row("tls_timeout", "504 timeout tls not_sent yes", {"on": {"tls": hang}}, env=CAP, within=6)
row(
    "tls_old_versions_only",
    "502 tls_version_unsupported tls not_sent no",
    {"min_tls": V.TLSv1, "max_tls": V.TLSv1_1},
    check=no_auth_shown,
)
row(
    "tls_old_versions_only_implicit",
    "502 tls_version_unsupported tls not_sent no",
    {"min_tls": V.TLSv1, "max_tls": V.TLSv1_1, "tls_mode": "implicit"},
    check=no_auth_shown,
)
row(
    "tls_no_shared_cipher",
    "502 tls_handshake_failed tls not_sent no",
    {"max_tls": V.TLSv1_2, "ciphers": "NULL-SHA256:@SECLEVEL=0"},
)
row("tls_client_cert_wanted", "502 tls_client_cert_rejected tls not_sent no", {"client_ca": "CA"}, check=no_mail_tried)
row(
    "tls_client_cert_wanted_12",
    "502 tls_client_cert_rejected|tls_handshake_failed tls not_sent no",
    {"client_ca": "CA", "max_tls": V.TLSv1_2},
)
for _name, _code, _env in (
    ("expired", "tls_cert_expired", {}),
    ("future", "tls_cert_not_yet_valid", {}),
    ("selfsigned", "tls_cert_untrusted", {}),
    ("unknownca", "tls_cert_untrusted", {}),
    ("chainless", "tls_cert_untrusted", {}),
    ("clientonly", "tls_cert_untrusted", {}),
    ("wrongname", "tls_cert_name_mismatch", {}),
    ("nosan", "tls_cert_name_mismatch", {}),
    ("revoked", "tls_cert_revoked", {"MAILHATCH_RELAY_CRL_FILE": "CRL"}),
    ("weakkey", "tls_cert_weak", {}),
    ("sha1", "tls_cert_weak", {}),
):
    row("tls_cert_" + _name, "502 %s tls not_sent no" % _code, {"cert": _name}, env=_env, check=no_auth_shown)
    row(
        "tls_cert_" + _name + "_implicit",
        "502 %s tls not_sent no" % _code,
        {"cert": _name, "tls_mode": "implicit"},
        env=_env,
        check=no_auth_shown,
    )
row(
    "tls_cert_not_in_the_system_store",
    "502 tls_cert_untrusted tls not_sent no",
    env={"MAILHATCH_RELAY_CA_FILE": None},
    check=no_auth_shown,
)
row(
    "tls_pin_mismatch",
    "502 tls_pin_mismatch tls not_sent no",
    env={"MAILHATCH_RELAY_PINS": "sha256/" + base64.b64encode(hashlib.sha256(b"another key").digest()).decode()},
    check=no_auth_shown,
)
row(
    "tls_on_plaintext_port",
    "502 tls_on_plaintext_port tls not_sent no",
    url=lambda p: p.url("smtps"),
    check=no_auth_shown,
)
row(
    "plaintext_on_tls_port",
    "502 plaintext_on_tls_port banner not_sent no",
    {"tls_mode": "implicit"},
    url=lambda p: p.url("smtp"),
    env={"MAILHATCH_RELAY_BANNER_TIMEOUT": "30s"},
    within=5,
)

# --- AUTH

NO_USER = {"url": lambda p: p.url(user=None)}
row(
    "auth_not_offered",
    "502 auth_not_offered auth not_sent no",
    {"auth": ""},
    url=lambda p: "smtp://ann@localhost:%d" % p.port,
    check=no_mail_tried,
)
row(
    "auth_mechanism_unsupported",
    "502 auth_mechanism_unsupported auth not_sent no",
    {"auth": "GSSAPI NTLM"},
    check=no_mail_tried,
)
row(
    "auth_required",
    "502 auth_required mail not_sent no",
    {"on": {"mail": "530 5.7.0 Authentication required"}},
    **NO_USER,
)
row(
    "auth_required_57",
    "502 auth_required mail not_sent no",
    {"on": {"mail": "530 5.7.57 Client not authenticated to send mail"}},
    **NO_USER,
)
row(
    "auth_failed",
    "502 auth_failed auth not_sent no",
    {"on": {"auth": "535 5.7.8 Error: authentication failed"}},
    check=no_mail_tried,
)
row("auth_failed_bare", "502 auth_failed auth not_sent no", {"on": {"auth": "535 no"}}, check=smtp_is(535))
row("auth_failed_and_closed", "502 auth_failed auth not_sent no", {"on": {"auth": reply_close("535 5.7.8 no")}})
row("auth_failed_and_reset", "502 auth_failed auth not_sent no", {"on": {"auth": chain("535 5.7.8 no", close)}})
row(
    "auth_basic_disabled",
    "502 auth_basic_disabled auth not_sent no",
    {"on": {"auth": "535 5.7.139 Authentication unsuccessful, basic authentication is disabled."}},
)
row(
    "auth_app_password",
    "502 auth_app_password_required auth not_sent no",
    {
        "on": {
            "auth": reply(
                "534-5.7.9 Application-specific password required. For more information, go to",
                "534 5.7.9  https://support.google.com/ - gsmtp",
            )
        }
    },
)
row(
    "auth_app_password_web_login",
    "502 auth_app_password_required auth not_sent no",
    {"on": {"auth": "534 5.7.14 Please log in via your web browser"}},
)
row("auth_too_weak", "502 auth_too_weak auth not_sent no", {"on": {"auth": "534 mechanism is too weak"}})
row(
    "auth_temporary",
    "503 auth_temporary auth not_sent yes",
    {"on": {"auth": "454 4.7.0 Temporary authentication failure"}},
    check=retry_after(60),
)
row(
    "auth_temporary_432",
    "503 auth_temporary auth not_sent yes",
    {"on": {"auth": "432 4.7.12 A password transition is needed"}},
)
row("auth_421", "503 service_closing auth not_sent yes", {"on": {"auth": reply_close("421 bye")}})
row(
    "auth_echo_is_not_repeated",
    "502 auth_failed auth not_sent no",
    {"on": {"auth": lambda s: s.send("535 5.7.8 bad line: %s\r\n" % s.line)}},
)
row("auth_garbage", "502 protocol_error auth not_sent no", {"on": {"auth": "welcome!"}}, check=no_mail_tried)
row(
    "auth_login_only_works_to_the_end",
    "422 sender_rejected mail rejected no",
    {"auth": "LOGIN", "on": {"mail": "550 5.7.1 no"}},
)

# --- MAIL, RCPT

rows(
    "sender_rejected",
    "422 sender_rejected mail rejected no",
    {"on": {"mail": "550 5.7.1 not your address"}},
    check=smtp_is(550, "5.7.1"),
)
rows(
    "sender_rejected_temporary",
    "503 sender_rejected mail rejected yes",
    {"on": {"mail": "451 4.1.8 cannot resolve"}},
    check=retry_after(60),
)
rows("mail_421", "503 service_closing mail not_sent yes", {"on": {"mail": reply_close("421 closing")}})
rows("mail_busy", "503 relay_busy mail not_sent yes", {"on": {"mail": "451 4.3.2 not accepting now"}})
rows("mail_rate_limited", "503 relay_rate_limited mail not_sent yes", {"on": {"mail": "450 4.7.28 unusual rate"}})
rows(
    "mail_rate_limited_by_text",
    "503 relay_rate_limited mail not_sent yes",
    {"on": {"mail": "451 Too many messages, slow down"}},
)
rows("mail_too_large", "422 message_too_large mail rejected|not_sent no", {"on": {"mail": "552 5.3.4 too big"}})
rows(
    "recipients_rejected",
    "422 recipients_rejected rcpt rejected no",
    {"on": {"rcpt": "550 5.1.1 no such user"}},
    check=lambda t, p, g, a: t.assertEqual(
        [(r["email"], r["status"], r["smtp"]["code"], r["smtp"]["enhanced"]) for r in a.json["recipients"]],
        [("bob@example.net", "rejected", 550, "5.1.1")],
    ),
)
rows(
    "greylisted",
    "503 recipients_rejected rcpt rejected yes",
    {"on": {"rcpt": "450 4.7.1 greylisted, come back in 5 minutes"}},
    check=retry_after(300),
)
rows(
    "recipients_mixed",
    "422 recipients_rejected rcpt rejected no",
    {"on": {"rcpt": ["450 4.2.0 later", "550 5.1.1 never"]}},
    message=mail(to=["bob@example.net", "eve@example.net"]),
)
rows(
    "partial_reject",
    "422 recipients_rejected rcpt not_sent no",
    {"on": {"rcpt": [default, "550 5.1.1 never"]}},
    message=mail(to=["bob@example.net", "eve@example.net"], partial="reject"),
)
rows("relay_denied", "422 relay_denied rcpt rejected no", {"on": {"rcpt": "550 5.7.1 relaying denied"}})
rows("rcpt_mailbox_full", "422 mailbox_full rcpt rejected no", {"on": {"rcpt": "552 5.2.2 over quota"}})
rows("rcpt_mailbox_full_temporary", "503 mailbox_full rcpt rejected yes", {"on": {"rcpt": "452 4.2.2 over quota"}})
rows("rcpt_421", "503 service_closing rcpt not_sent yes", {"on": {"rcpt": reply_close("421 closing")}})
row(
    "rcpt_rate_limited",
    "503 relay_rate_limited rcpt not_sent yes",
    {"caps": BASIC, "on": {"rcpt": "450 4.7.28 unusual rate"}},
)
row(
    "size_known_beforehand",
    "422 message_too_large mail not_sent no",
    {"caps": ("SIZE 1000", *BASIC)},
    message=mail(text="x\n" * 1000),
    check=no_mail_tried,
)
row(
    "smtputf8_unsupported",
    "422 smtputf8_unsupported ehlo not_sent no",
    {"caps": BASIC},
    message=mail(to="jürgen@example.net"),
    check=no_mail_tried,
)
row(
    "smtputf8_without_8bitmime",
    "422 smtputf8_unsupported ehlo not_sent no",
    {"caps": ("SMTPUTF8",)},
    message=mail(to="jürgen@example.net"),
)
row(
    "refused_but_354",
    "422 recipients_rejected rcpt rejected no",
    {"caps": PIPELINED, "on": {"rcpt": "550 5.1.1 no", "data": "354 go on", "body": "554 5.5.1 no recipients"}},
    check=lambda t, p, g, a: t.assertFalse([c for c in p.commands() if "Hello" in c], "mail text was sent as commands"),
)

# --- DATA and the body

for _suffix, _caps in (("lockstep", BASIC), ("pipelined", PIPELINED)):
    row(
        "data_rejected_" + _suffix,
        "422 data_rejected data rejected no",
        {"caps": _caps, "on": {"data": "554 5.5.0 no"}},
    )
    row(
        "data_rejected_temporary_" + _suffix,
        "503 data_rejected data rejected yes",
        {"caps": _caps, "on": {"data": "451 4.3.0 later"}},
    )
    row(
        "data_421_" + _suffix,
        "503 service_closing data not_sent yes",
        {"caps": _caps, "on": {"data": reply_close("421 closing")}},
    )
    row(
        "data_answered_250_" + _suffix,
        "502 protocol_error data not_sent no",
        {"caps": _caps, "on": {"data": chain("250 ok", default, wait_gone)}},
        check=lambda t, p, g, a: t.assertFalse(
            [c for c in p.commands() if "Hello" in c], "mail text was sent as commands"
        ),
    )
rows(
    "message_rejected",
    "422 message_rejected body rejected no",
    {"on": {"body": "550 5.7.1 spam"}},
    check=smtp_is(550, "5.7.1"),
)
rows(
    "message_deferred",
    "503 message_deferred body rejected yes",
    {"on": {"body": "451 4.7.1 try later"}},
    check=retry_after(60),
)
rows("message_deferred_421", "503 message_deferred body rejected yes", {"on": {"body": reply_close("421 closing")}})
rows("body_too_large", "422 message_too_large body rejected no", {"on": {"body": "552 5.3.4 too big"}})
rows("body_too_large_bare", "422 message_too_large body rejected no", {"on": {"body": "552 too big"}})
rows("body_mailbox_full", "422 mailbox_full body rejected no", {"on": {"body": "552 5.2.2 over quota"}})
rows("body_mailbox_full_temporary", "503 mailbox_full body rejected yes", {"on": {"body": "452 4.2.2 over quota"}})
UNKNOWN = "504 outcome_unknown body unknown no"
rows("body_then_closed", UNKNOWN, {"on": {"body": close}})
rows("body_then_reset", UNKNOWN, {"on": {"body": reset}})
rows("body_then_silence", UNKNOWN, {"on": {"body": hang}}, env=CAP, within=6)
rows("body_then_half_a_reply", UNKNOWN, {"on": {"body": send_bytes(b"250 2.0.0 que", close)}})
rows("body_then_half_of_two_lines", UNKNOWN, {"on": {"body": send_bytes(b"250-2.0.0 one\r\n", close)}})
rows("body_then_dripping", UNKNOWN, {"on": {"body": drip(b"250 " + b"x" * 1000)}}, env=CAP, within=6)
rows("body_then_garbage", "502|504 protocol_error|outcome_unknown body unknown no", {"on": {"body": "whatever"}})
for _how, _act in (("closed", close), ("reset", reset)):
    row("one_flight_" + _how + "_at_mail", UNKNOWN, {"on": {"mail": _act}}, flies=True)
row(
    "accepted_without_sender",
    "502 protocol_error body|mail unknown no",
    {"on": {"mail": "550 5.7.1 no", "bdat": lambda s: (s.read_exactly(s.chunk_size), s.send("250 2.0.0 queued\r\n"))}},
    flies=True,
)

LOCKSTEP = {"caps": BASIC}
STAGES = [
    ("banner", "banner"),
    ("ehlo", "ehlo"),
    ("ehlo_tls", "ehlo"),
    ("starttls", "starttls"),
    ("auth", "auth"),
    ("mail", "mail"),
    ("rcpt", "rcpt"),
    ("data", "data"),
]
for _at, _stage in STAGES:
    for _how, _act in (("closed", close), ("reset", reset)):
        row("%s_at_%s" % (_how, _at), "502 connection_closed %s not_sent yes" % _stage, {**LOCKSTEP, "on": {_at: _act}})
    row("timeout_at_" + _at, "504 timeout %s not_sent yes" % _stage, {**LOCKSTEP, "on": {_at: hang}}, env=CAP, within=6)
    row(
        "dripping_at_" + _at,
        "504 timeout %s not_sent yes" % _stage,
        {**LOCKSTEP, "on": {_at: drip(b"250-" + b"x" * 1000)}},
        env=CAP,
        within=6,
    )
for _at in ("mail", "rcpt", "data"):
    row("garbage_at_" + _at, "502 protocol_error %s not_sent no" % _at, {**LOCKSTEP, "on": {_at: "certainly!"}})
    row("oversize_at_" + _at, "502 protocol_error %s not_sent no" % _at, {**LOCKSTEP, "on": {_at: "250 " + "x" * 5000}})
    row(
        "half_a_reply_at_" + _at,
        "502 connection_closed %s not_sent yes" % _at,
        {**LOCKSTEP, "on": {_at: send_bytes(b"250 2.1", close)}},
    )
row("mail_answered_354", "502 protocol_error mail not_sent no", {**LOCKSTEP, "on": {"mail": "354 go"}})
row(
    "two_replies_to_mail",
    "502 protocol_error mail|rcpt not_sent no",
    {**LOCKSTEP, "on": {"mail": reply("250 ok", "250 ok")}},
)

HALF = {"rcvbuf": 4096, "caps": BASIC}
row(
    "closed_in_the_body",
    "502 connection_closed body not_sent yes",
    {**HALF, "on": {"data": chain("354 go", read_some(1000, close))}},
    message=mail(text=BIG_TEXT),
)
row(
    "reset_in_the_body",
    "502 connection_closed body not_sent yes",
    {**HALF, "on": {"data": chain("354 go", read_some(1000, reset))}},
    message=mail(text=BIG_TEXT),
)
row(
    "stalled_in_the_body",
    "504 timeout body not_sent yes",
    {**HALF, "on": {"data": chain("354 go", read_some(1000, hang))}},
    env=CAP,
    message=mail(text=BIG_TEXT),
    within=8,
)
row(
    "stalled_in_a_chunk",
    "504 timeout body not_sent yes",
    {"rcvbuf": 4096, "caps": NO_SIZE, "on": {"bdat": read_some(1000, hang)}},
    env=CAP,
    message=mail(text=BIG_TEXT),
    within=8,
    flies=True,
)
row(
    "refused_in_the_body",
    "422 message_too_large body rejected no",
    {**HALF, "on": {"data": chain("354 go", read_some(1000, chain("552 5.3.4 too big", wait_gone)))}},
    message=mail(text=BIG_TEXT),
)
row(
    "deadline_at_ehlo",
    "504 deadline_exceeded ehlo not_sent yes",
    {"on": {"ehlo": hang}},
    env={"MAILHATCH_REQUEST_TIMEOUT": "1s"},
    within=5,
)
row(
    "deadline_at_rcpt",
    "504 deadline_exceeded rcpt not_sent yes",
    {**LOCKSTEP, "on": {"rcpt": hang}},
    env={"MAILHATCH_REQUEST_TIMEOUT": "1s"},
    within=5,
)
row("deadline_after_the_body", UNKNOWN, {"on": {"body": hang}}, env={"MAILHATCH_REQUEST_TIMEOUT": "1s"}, within=5)


if __name__ == "__main__":
    unittest.main()
