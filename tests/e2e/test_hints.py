"""What a person reads first: the hint, whole, for every way to fail before the login. The sentences are
written out here, so that changing one is a decision made twice."""
import importlib.util
import socket
import ssl
import unittest

import harness
from harness import Gateway, mail
from hint_case import CAP, GMAIL, RELAY, HintCase, add_test, shim
from peer import BASIC, Peer, chain, close, hang, read_some, send_bytes, wait_gone
from test_connect import black_hole

V = ssl.TLSVersion
LOCKSTEP = {"caps": BASIC}


class TestHints(HintCase):
    pass


hint = TestHints.hint

# --- no connection

REFUSED = "502 connect_refused connect not_sent yes"
SILENT = "504 connect_timeout connect not_sent yes"


def refused(name, sentence, where, scheme="smtp"):
    def test(self):
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))  # bound, not listening
            self.run_row(where, REFUSED, sentence, scheme=scheme, port=s.getsockname()[1])

    add_test(TestHints, name, test)


def silent(name, sentence, where, scheme="smtp"):
    def test(self):
        with black_hole("127.0.0.1") as port:
            self.run_row(where, SILENT, sentence, scheme=scheme, port=port, env=CAP)

    add_test(TestHints, name, test)


refused(
    "refused_25",
    "Change this relay's url to smtp://relay.example.com:587, the submission port: relay.example.com refuses port "
    "25.",
    "relay.example.com:25",
)
refused(
    "refused_465",
    "Change this relay's url to smtp://relay.example.com:587 (STARTTLS): relay.example.com refuses port 465.",
    "relay.example.com:465",
    "smtps",
)
refused(
    "refused_465_microsoft",
    "Change this relay's url to smtp://smtp.office365.com:587: Microsoft 365 has no port 465.",
    "smtp.office365.com:465",
    "smtps",
)
refused(
    "refused_587",
    "Change this relay's url to smtps://relay.example.com:465 (TLS from the first byte): relay.example.com refuses "
    "port 587.",
    RELAY,
)
refused(
    "refused_587_gmail",
    "Find the firewall between this machine and smtp.gmail.com that refuses port 587: Gmail itself listens there.",
    GMAIL,
)
refused(
    "refused_2525",
    "Check the port in this relay's url: nothing listens on relay.example.com:2525, or a firewall refuses it; 587 "
    "(smtp://) and 465 (smtps://) are usual.",
    "relay.example.com:2525",
)
refused(
    "refused_localhost",
    "Start the mail server that should listen on port 25 of this machine; where mailhatch runs in a container, "
    "localhost is the container itself, so write the name of the machine or service that runs the relay in url.",
    "localhost:25",
)
silent(
    "silent_25",
    "Change this relay's url to smtp://relay.example.com:587, the submission port: most clouds and many networks "
    "block outgoing port 25.",
    "relay.example.com:25",
)
silent(
    "silent_25_ses",
    "Change this relay's url to smtp://email-smtp.eu-west-1.amazonaws.com:2587: most clouds block outgoing port 25, "
    "and Amazon SES answers on 2587 too.",
    "email-smtp.eu-west-1.amazonaws.com:25",
)
silent(
    "silent_587",
    "Have outgoing connections from this machine to relay.example.com:587 allowed: no answer came, as when a "
    "firewall drops packets.",
    RELAY,
)
silent(
    "silent_587_sendgrid",
    "Change this relay's url to smtp://smtp.sendgrid.net:2525: something on the way drops packets to port 587, and "
    "SendGrid answers on 2525 too.",
    "smtp.sendgrid.net:587",
)
silent(
    "silent_465_postmark",
    "Change this relay's url to smtp://smtp.postmarkapp.com:587: Postmark has no port 465.",
    "smtp.postmarkapp.com:465",
    "smtps",
)
hint(
    "unknown_name",
    "502 dns_not_found dns not_sent no",
    "Correct the host in this relay's url: DNS has no address for nxdomain.shim.invalid.",
    where="nxdomain.shim.invalid:587",
)
hint(
    "no_name_server",
    "502 dns_failed dns not_sent yes",
    "Check this machine's name servers (/etc/resolv.conf): they gave no answer for again.shim.invalid.",
    where="again.shim.invalid:587",
)
hint(
    "unreachable",
    "502 network_unreachable connect not_sent yes",
    "Check this machine's network and routes: there is no way to 255.255.255.255.",
    where="255.255.255.255:26",
)
hint(
    "bad_address",
    "502 connect_failed connect not_sent yes",
    "Write another address or a host name in this relay's url: this machine cannot connect to [fe80::1] as it "
    "stands there.",
    where="[fe80::1]:26",
)
hint(
    "no_tls_to_another_machine",
    "502 connect_failed connect not_sent yes",
    "Remove tls=none (tls: none) from this relay: mails and passwords leave this machine under TLS only, and "
    "192.0.2.1 is another machine.",
    where="192.0.2.1:587",
    query="?tls=none",
)

# --- the session's beginning

CLOSED = "502 connection_closed %s not_sent yes"
hint(
    "closed_at_banner",
    CLOSED % "banner",
    "Ask the operator of relay.example.com whether this machine's address may connect: it hung up before its "
    "greeting.",
    on={"banner": close},
)
hint(
    "closed_at_banner_465",
    CLOSED % "banner",
    "Change this relay's url to smtps://relay.example.com:465: port 465 expects TLS from the first byte, and "
    "smtp:// waits for a greeting first.",
    where="relay.example.com:465",
    on={"banner": close},
)
for _at, _how in (("ehlo", "ehlo"), ("ehlo_tls", "ehlo after TLS")):
    hint(
        "closed_at_" + _at,
        CLOSED % "ehlo",
        "Set ehlo_name to this machine's full host name: relay.example.com hung up on the EHLO.",
        on={_at: close},
    )
hint(
    "closed_at_starttls",
    CLOSED % "starttls",
    "Ask the operator of relay.example.com to look at its TLS set-up: it offered STARTTLS and hung up on it, or a "
    "firewall on the way cut it off.",
    on={"starttls": close},
)
hint(
    "closed_at_login",
    CLOSED % "auth",
    "Check user and password: relay.example.com hung up in place of an answer to the login, as some servers do "
    "after wrong ones.",
    on={"auth": close},
)
for _at, _place in (("mail", "MAIL FROM"), ("rcpt", "RCPT TO"), ("data", "DATA")):
    hint(
        "closed_at_" + _at,
        CLOSED % _at,
        "Send it again; if it repeats, ask the operator of relay.example.com why it hangs up at %s." % _place,
        on={_at: close},
        **LOCKSTEP,
    )
hint(
    "closed_in_the_body",
    CLOSED % "body",
    "Send a small mail: if that passes, look for a size limit or a content filter at relay.example.com, which hung "
    "up in the middle of this one.",
    on={"data": chain("354 go", read_some(1000, close))},
    rcvbuf=4096,
    message=mail(text=("x" * 70 + "\n") * 200000),
    **LOCKSTEP,
)
LATE = "504 timeout %s not_sent yes"
hint(
    "late_banner",
    LATE % "banner",
    "Raise banner_timeout for this relay (and timeout, if it is set): relay.example.com:587 took the connection and "
    "has not greeted yet, as servers do that delay strangers on purpose.",
    on={"banner": hang},
    env=CAP,
    details=[r" \(after 1\d\d\d ms\)"],
)
hint(
    "late_banner_465",
    LATE % "banner",
    "Change this relay's url to smtps://relay.example.com:465: port 465 expects TLS from the first byte and says "
    "nothing before it.",
    where="relay.example.com:465",
    on={"banner": hang},
    env=CAP,
)
hint(
    "late_tls",
    LATE % "tls",
    "Look for a firewall that inspects TLS between this machine and relay.example.com: the handshake began, and no "
    "answer came.",
    on={"tls": hang},
    env=CAP,
)
hint(
    "late_ehlo",
    LATE % "ehlo",
    "Raise command_timeout for this relay (and timeout, if it is set): relay.example.com has not answered EHLO yet, "
    "most often because it looks this machine's name up in DNS first.",
    on={"ehlo": hang},
    env=CAP,
)
hint(
    "late_login",
    LATE % "auth",
    "Raise command_timeout for this relay (and timeout, if it is set): relay.example.com has not judged the login "
    "yet, most often because its user directory is slow.",
    on={"auth": hang},
    env=CAP,
)
for _at, _place in (("starttls", "STARTTLS"), ("mail", "MAIL FROM"), ("rcpt", "RCPT TO"), ("data", "DATA")):
    hint(
        "late_" + _at,
        LATE % _at,
        "Raise command_timeout for this relay (and timeout, if it is set): relay.example.com did not answer at %s "
        "in "
        "time, as servers do that check addresses elsewhere first." % _place,
        on={_at: hang},
        env=CAP,
        **LOCKSTEP,
    )
hint(
    "stalled_body",
    LATE % "body",
    "Send a small mail: if that passes, a firewall or the packet size (MTU) on the way to relay.example.com stops "
    "large ones; else raise write_timeout.",
    on={"data": chain("354 go", read_some(1000, hang))},
    rcvbuf=4096,
    message=mail(text=("x" * 70 + "\n") * 200000),
    env=CAP,
    **LOCKSTEP,
)
hint(
    "banner_rejected",
    "502 banner_rejected banner not_sent no",
    "Ask the operator of relay.example.com to allow this machine's address; smtp.text has the reason given.",
    on={"banner": "554 5.7.1 go away"},
)
hint(
    "banner_block_list",
    "502 banner_rejected banner not_sent no",
    "Have this machine's address taken off the block list that smtp.text names, or send through a relay where you "
    "have an account (port 587).",
    on={"banner": "554 5.7.1 Service unavailable; client host blocked using zen.spamhaus.org"},
)
hint(
    "banner_temporary",
    "503 banner_rejected banner not_sent yes",
    "Send it again after a minute; if it repeats, ask the operator of relay.example.com why this machine's address "
    "is put off.",
    on={"banner": "450 not now"},
)
hint(
    "banner_is_http",
    "502 protocol_error banner not_sent no",
    "Check that relay.example.com:587 is a mail server: it greeted with something that is not SMTP.",
    on={"banner": "HTTP/1.1 400 Bad Request"},
)
hint(
    "ehlo_rejected",
    "502 ehlo_rejected ehlo not_sent no",
    "Set ehlo_name to this machine's full host name: relay.example.com does not like the name that it was given.",
    on={"ehlo": "550 5.7.1 bad name"},
)
hint(
    "ehlo_unknown",
    "502 ehlo_rejected ehlo not_sent no",
    "Check that relay.example.com:587 is the right server: it does not know EHLO, which every mail server of this "
    "century does.",
    on={"ehlo": "502 5.5.1 what?"},
)
hint(
    "ehlo_temporary",
    "503 ehlo_rejected ehlo not_sent yes",
    "Send it again after a minute: relay.example.com refuses EHLO for now only.",
    on={"ehlo": "451 4.3.0 later"},
)

# --- TLS

TLS = "502 %s tls not_sent no"
hint(
    "tls_port",
    "502 plaintext_on_tls_port banner not_sent no",
    "Change this relay's url to smtps://relay.example.com:2465 and leave tls unset: this port expects TLS from the "
    "first byte.",
    where="relay.example.com:2465",
    tls_mode="implicit",
)
hint(
    "plain_port",
    TLS % "tls_on_plaintext_port",
    "Change this relay's url to smtp://relay.example.com:587 and leave tls unset: this port begins in plain SMTP "
    "and changes to TLS by STARTTLS.",
    scheme="smtps",
)
hint(
    "plain_after_starttls",
    TLS % "tls_on_plaintext_port",
    "Find out what stands between this machine and relay.example.com: plain text came where TLS had been agreed on.",
    on={"tls": read_some(50, send_bytes(b"250 evil\r\n", wait_gone))},
)
NO_STARTTLS = "502 starttls_not_offered ehlo not_sent no"
for _port, _sentence in (
    (
        587,
        "Try smtps://relay.example.com:465 as this relay's url: relay.example.com:587 offers no STARTTLS, so either "
        "it was never set up there, or a firewall or proxy on the way removes it.",
    ),
    (
        2525,
        "Try smtps://relay.example.com:465 as this relay's url: relay.example.com:2525 offers no STARTTLS, so "
        "either it was never set up there, or a firewall or proxy on the way removes it.",
    ),
    (
        25,
        "Change this relay's url to smtp://relay.example.com:587, the submission port: port 25 is for mail between "
        "servers, and here it has no STARTTLS.",
    ),
    (
        465,
        "Change this relay's url to smtps://relay.example.com:465 and leave tls unset: port 465 is for TLS from the "
        "first byte.",
    ),
):
    hint("no_starttls_%d" % _port, NO_STARTTLS, _sentence, where="relay.example.com:%d" % _port, tls_mode="none")
hint(
    "no_starttls_gmail",
    NO_STARTTLS,
    "Find the firewall or proxy between this machine and smtp.gmail.com that removes STARTTLS: Gmail itself always "
    "offers it.",
    where=GMAIL,
    tls_mode="none",
)
hint(
    "no_starttls_localhost",
    NO_STARTTLS,
    "Set tls to none for this relay: the server on this machine offers no TLS, and on the way to it none is needed.",
    where="localhost:25",
    tls_mode="none",
)
hint(
    "starttls_refused",
    "502 starttls_refused starttls not_sent no",
    "Have the operator of relay.example.com look at its certificate and key, which often cannot be read: it offers "
    "STARTTLS and then refuses it.",
    on={"starttls": "502 5.5.1 no"},
)
hint(
    "starttls_temporary",
    "503 starttls_refused starttls not_sent yes",
    "Send it again after a minute; if it repeats, have the operator of relay.example.com look at its certificate "
    "and key, which often cannot be read.",
    on={"starttls": "454 4.7.0 TLS not available"},
)
hint(
    "starttls_injection",
    "502 starttls_injection starttls not_sent no",
    "Find out what stands between this machine and relay.example.com: somebody slips plain text in where TLS had "
    "been agreed on.",
    on={"starttls": send_bytes(b"220 go\r\n250 evil\r\n", wait_gone)},
)
hint(
    "old_tls",
    TLS % "tls_version_unsupported",
    "Have relay.example.com brought to TLS 1.2 or newer: older versions are not safe and cannot be switched on here.",
    min_tls=V.TLSv1,
    max_tls=V.TLSv1_1,
)
hint(
    "no_cipher",
    TLS % "tls_handshake_failed",
    "Show the TLS library's reason in detail to the operator of relay.example.com: most often no cipher is left in "
    "common, or a device on the way breaks TLS open.",
    max_tls=V.TLSv1_2,
    ciphers="NULL-SHA256:@SECLEVEL=0",
)
hint(
    "not_tls",
    TLS % "tls_handshake_failed",
    "Check that relay.example.com:587 is a mail server's port: what it sent is not TLS.",
    on={"tls": read_some(50, send_bytes(b"\x00\x01\x02\x03\x04\x05" * 20, wait_gone))},
)
hint(
    "client_certificate",
    TLS % "tls_client_cert_rejected",
    "Ask the operator of relay.example.com for a port that takes user and password: mailhatch shows no client "
    "certificate.",
    client_ca=True,
)
hint(
    "tls_closed",
    "502 tls_closed tls not_sent yes",
    "Send it again; if it repeats, look for a firewall between this machine and relay.example.com that inspects TLS.",
    on={"tls": close},
)
CERT_DETAILS = {
    "expired": [r" expired on 2021-01-01 00:00 UTC, \d{4,} days ago by this machine's clock\."],
    "future": [r" is valid only from 2044-01-01 00:00 UTC, in \d{4,} days by this machine's clock\."],
    "unknownca": [r"somebody else's CA"],
    "wrongname": [r" is not for relay\.example\.com\. It has: mx\.elsewhere\.test"],
}
for _cert, _code, _sentence in (
    (
        "expired",
        "tls_cert_expired",
        "Have the operator of localhost renew the certificate; detail has the day it expired, by this machine's "
        "clock.",
    ),
    (
        "future",
        "tls_cert_not_yet_valid",
        "Set this machine's clock right: by it, the certificate of localhost is not valid yet.",
    ),
    (
        "selfsigned",
        "tls_cert_untrusted",
        "Set ca_file for this relay to a copy of its certificate if you run relay.example.com yourself; else have "
        "its operator get one from a public authority.",
    ),
    (
        "unknownca",
        "tls_cert_untrusted",
        "Look at the issuer in detail: if it is your own authority, set ca_file to its certificate; if it is a "
        "public one, relay.example.com does not send its intermediate certificate.",
    ),
    (
        "wrongname",
        "tls_cert_name_mismatch",
        "Change the host in this relay's url to a name that the certificate has; detail lists them, and "
        "relay.example.com is not among them.",
    ),
    (
        "nosan",
        "tls_cert_name_mismatch",
        "Have the operator of relay.example.com replace the certificate by one with a subjectAltName: a common name "
        "does not count any more.",
    ),
    (
        "weakkey",
        "tls_cert_weak",
        "Have the operator of relay.example.com replace the certificate: RSA of 2048 bits or more, or ECDSA, signed "
        "with SHA-256.",
    ),
):
    _where = "localhost:587" if _cert in ("expired", "future") else RELAY  # a wrong name would come before a date
    hint("cert_" + _cert, TLS % _code, _sentence, where=_where, cert=_cert, details=CERT_DETAILS.get(_cert, ()))
hint(
    "cert_gmail_intercepted",
    TLS % "tls_cert_untrusted",
    "Install this machine's public authorities (package ca-certificates) and leave ca_file unset: Gmail has a "
    "certificate of a public one; if it is still untrusted, a device on the way breaks TLS open.",
    where=GMAIL,
    cert="unknownca",
)
hint(
    "cert_for_an_address",
    TLS % "tls_cert_name_mismatch",
    "Write a host name in place of 192.0.2.1 in this relay's url: certificates are for names; detail lists those "
    "that this one has.",
    where="192.0.2.1:587",
)
hint(
    "cert_revoked",
    TLS % "tls_cert_revoked",
    "Have the operator of localhost replace the certificate: its issuer has revoked it.",
    where="localhost:587",
    cert="revoked",
    env={"MAILHATCH_RELAY_CRL_FILE": "CRL"},
)
hint(
    "pin",
    TLS % "tls_pin_mismatch",
    "Ask the operator of relay.example.com whether the key was changed: if so, put the pin that detail shows into "
    "pins; if not, somebody is in between.",
    env={"MAILHATCH_RELAY_PINS": "sha256/" + "A" * 43 + "="},
)


class TestPage(unittest.TestCase):
    def test_docs_errors_is_up_to_date(self):
        """docs/errors.md is what docs/gen-errors.py makes of GET /v1/errors."""
        path = harness.ROOT / "docs" / "gen-errors.py"
        spec = importlib.util.spec_from_file_location("gen_errors", path)
        gen = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(gen)
        with Gateway(relay="smtp://ann@127.0.0.1:1") as g:
            wanted = "\n".join(gen.page(g.get("/v1/errors").json["data"])) + "\n"
        written = (harness.ROOT / "docs" / "errors.md").read_text(encoding="utf-8")
        self.assertEqual(written, wanted, "run docs/gen-errors.py")

    def test_cause_of_an_open_circuit_has_a_hint_too(self):
        with Peer(cert="named", on={"auth": "535 5.7.8 no"}) as p, Gateway(
            shim(p.port), relay="smtp://ann@" + GMAIL
        ) as g:
            g.post(mail())
            found = g.post(mail()).json
            self.assertEqual(found["code"], "relay_unavailable")
            self.assertEqual(
                found["hint"],
                "Read cause and mend that: smtp.gmail.com is asked again by itself after Retry-After seconds.",
            )
            self.assertEqual(
                found["cause"]["hint"],
                "Set password to an app password of this Google account (Security, 2-Step Verification, App "
                "passwords): its ordinary password does not work for SMTP.",
            )


if __name__ == "__main__":
    unittest.main()
