"""Before the first byte: names, connections, and the relay that is left alone for a while; and more work than is
allowed."""
import contextlib
import functools
import os
import pathlib
import socket
import ssl
import subprocess
import threading
import time
import unittest

import harness
from harness import Gateway, mail
from judge import Fault
from peer import Peer, after, close, default, reply_close


@functools.cache
def resolver_shim():
    out = os.path.join(harness.run_dir(), "resolver_shim-%d.so" % os.getpid())
    source = pathlib.Path(__file__).with_name("resolver_shim.c")
    subprocess.run(["gcc", "-D_GNU_SOURCE", "-shared", "-fPIC", "-o", out, str(source)], check=True)
    return out


@contextlib.contextmanager
def black_hole(address, port=0):
    """Listens, and the kernel drops every SYN: its queue is full."""
    with contextlib.ExitStack() as stack:
        s = stack.enter_context(socket.socket())
        s.bind((address, port))
        s.listen(0)
        for _ in range(4):
            f = stack.enter_context(socket.socket())
            f.setblocking(False)
            f.connect_ex(s.getsockname())
        yield s.getsockname()[1]


class TestConnect(Fault):
    def one(self, relay, expect, env=None, within=None):
        where = relay.split("//")[1].split("@")[-1]
        with Gateway({"MAILHATCH_RELAY_TIMEOUT": "1", **(env or {})}, relay=relay) as g:
            begun = time.monotonic()
            answer = g.post(mail())
            self.check(answer, expect)
            self.assertIn(where.rsplit(":", 1)[0].strip("[]"), answer.json["detail"])
            self.assertLess(time.monotonic() - begun, within or 6)

    def dns(self, name):
        return "smtp://ann@%s.shim.invalid:587" % name, {
            "LD_PRELOAD": resolver_shim(),
            "ASAN_OPTIONS": "verify_asan_link_order=0",
        }

    def test_name_does_not_exist(self):
        relay, env = self.dns("nxdomain")
        self.one(relay, "502 dns_not_found dns not_sent no", env)

    def test_name_server_does_not_answer(self):
        relay, env = self.dns("again")
        self.one(relay, "502 dns_failed dns not_sent yes", env)

    def test_lookup_takes_too_long(self):
        relay, env = self.dns("slow")
        self.one(relay, "502|504 dns_failed|timeout dns not_sent yes", env)

    def test_invalid_name_for_real(self):
        """Without the shim: no network gives dns_failed, a name server that answers gives dns_not_found."""
        with Gateway({"MAILHATCH_RELAY_TIMEOUT": "5"}, relay="smtp://ann@nonexistent.invalid:587") as g:
            answer = g.post(mail())
            self.assertIn(
                (answer.status, answer.code),
                ((502, "dns_not_found"), (502, "dns_failed"), (504, "timeout")),
                repr(answer),
            )
            self.assertEqual((answer.json["stage"], answer.json["delivery"]), ("dns", "not_sent"))

    def test_connect_refused(self):
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))  # bound, not listening: nobody else can take it, and connecting is refused
            self.one("smtp://ann@127.0.0.1:%d" % s.getsockname()[1], "502 connect_refused connect not_sent yes")

    def test_connect_timeout(self):
        with black_hole("127.0.0.1") as port:
            self.one("smtp://ann@127.0.0.1:%d" % port, "504 connect_timeout connect not_sent yes")

    def test_a_black_hole_as_the_first_address(self):
        """RFC 8305: it costs 250 ms, not a time-out."""
        relay, env = self.dns("two")
        with Peer(tls_mode="none", auth="") as p, black_hole("127.0.0.2", p.port):
            relay = "smtp://two.shim.invalid:%d?tls=none" % p.port
            with Gateway({**env, "MAILHATCH_RELAY_PASSWORD": None}, relay=relay) as g:
                answer = g.post(mail())
                self.assertEqual(answer.status, 200, repr(answer))
                self.assertLess(answer.json["timing_ms"]["total"], 500, repr(answer))
                self.assertGreater(answer.json["timing_ms"]["total"], 200, "the first address was no black hole")

    def test_network_unreachable(self):
        # connect(2) to a broadcast address is ENETUNREACH for TCP, whatever the routes are; no packet leaves.
        self.one("smtp://ann@255.255.255.255:587", "502 network_unreachable connect not_sent yes")

    def test_connect_failed(self):
        # A link-local address without a scope is EINVAL.
        self.one("smtp://ann@[fe80::1]:587", "502 connect_failed connect not_sent yes")

    def test_a_closed_port_beside_an_open_one(self):
        """localhost may be ::1 first, where nothing listens: the other address is used, and the caller does not
        notice."""
        with Peer() as p, Gateway(relay=p.url()) as g:
            self.assertEqual(g.post(mail()).status, 200)


class TestTickets(Fault):
    def send_three(self, relay):
        with Gateway(relay=relay) as g:
            for _ in range(3):
                self.assertEqual(g.post(mail()).status, 200)
            self.assertEqual(g.metric("mailhatch_sessions_opened_total"), 3)
            return g.metric("mailhatch_sessions_resumed_total")

    def test_sessions_after_the_first_are_resumed(self):
        with Peer(on={"body": reply_close("250 2.0.0 ok")}, tickets=True) as p:
            self.assertEqual(self.send_three(p.url()), 2)
            self.assertEqual(self.send_three(p.url()), 2, "a ticket outlived its process")

    def test_in_tls_1_2_too(self):
        v12 = ssl.TLSVersion.TLSv1_2
        with Peer(on={"body": reply_close("250 2.0.0 ok")}, tickets=True, max_tls=v12) as p:
            self.assertEqual(self.send_three(p.url()), 1, "the one ticket of TLS 1.2 is used once, and renewed")

    def test_none_reaches_another_relay(self):
        """Two relays, one server: the same certificate and the same ticket keys."""
        with Peer(on={"body": reply_close("250 2.0.0 ok")}, tickets=True) as p:
            with Gateway(relay=p.url()) as g, Gateway(relay=p.url()) as other:
                self.assertEqual([g.post(mail()).status, other.post(mail()).status], [200, 200])
                self.assertEqual(other.metric("mailhatch_sessions_resumed_total"), 0)


class TestCircuit(Fault):
    def test_after_a_refused_password(self):
        with Peer(on={"auth": "535 5.7.8 no"}) as p, Gateway(relay=p.url()) as g:
            self.check(g.post(mail()), "502 auth_failed auth not_sent no")
            second = g.post(mail())
            self.check(second, "503 relay_unavailable queue not_sent yes")
            self.assertEqual(second.json["cause"]["code"], "auth_failed")
            self.assertIn(int(second.headers["Retry-After"]), range(1, 61))
            self.assertEqual(len([c for c in p.commands() if c.startswith("AUTH")]), 1, "the account would be locked")
            self.assertEqual(g.metric("mailhatch_circuit_open"), 1)

    def test_after_failed_connections(self):
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            with Gateway(relay="smtp://ann@127.0.0.1:%d" % s.getsockname()[1]) as g:
                codes = [g.post(mail()).code for _ in range(5)]
                self.assertEqual(set(codes) - {"connect_refused", "relay_unavailable"}, set())
                self.assertEqual(codes[0], "connect_refused")
                sixth = g.post(mail())
                self.check(sixth, "503 relay_unavailable queue not_sent yes")
                self.assertEqual(sixth.json["cause"]["code"], "connect_refused")

    def test_it_closes_again(self):
        """Five failures, a second of quiet, and a relay that is back is used again."""
        with Peer(on={"banner": [close] * 5 + [default]}) as p, Gateway(relay=p.url()) as g:
            for _ in range(5):
                g.post(mail())
            answer = harness.wait_for(lambda: (a := g.post(mail())).status == 200 and a, what="the circuit closes")
            self.assertEqual(answer.json["status"], "sent")

    def test_waiting_requests_get_the_real_code(self):
        go = threading.Event()
        with Peer(on={"auth": after(go, "535 5.7.8 no")}) as p, Gateway(
            relay=p.url(), env={"MAILHATCH_RELAY_MAX_SESSIONS": "1"}
        ) as g:
            answers = []
            threads = [threading.Thread(target=lambda: answers.append(g.post(mail()))) for _ in range(5)]
            for t in threads:
                t.start()
            harness.wait_for(lambda: g.metric("mailhatch_waiting_mails") >= 5, what="five wait")
            go.set()
            for t in threads:
                t.join(30)
            self.assertEqual([a.code for a in answers], ["auth_failed"] * 5)
            self.assertEqual(len([c for c in p.commands() if c.startswith("AUTH")]), 1)


class TestCapacity(Fault):
    def test_overloaded(self):
        go = threading.Event()
        with Peer(on={"body": after(go, default)}) as p, Gateway({"MAILHATCH_MAX_WAITING": "1"}, relay=p.url()) as g:
            first = []
            t = threading.Thread(target=lambda: first.append(g.post(mail())))
            t.start()
            harness.wait_for(
                lambda: any(c.startswith("MAIL") for c in p.commands()), what="the first mail is under way"
            )
            answer = g.post(mail())
            self.check(answer, "503 overloaded queue not_sent yes")
            self.assertEqual(answer.headers["Retry-After"], "1")
            go.set()
            t.join(30)
            self.assertEqual(first[0].status, 200)
            self.assertEqual(g.post(mail()).status, 200)

    def test_bytes_in_flight(self):
        with Peer() as p, Gateway({"MAILHATCH_MAX_INFLIGHT_BYTES": "2000"}, relay=p.url()) as g:
            self.check(g.post(mail(text="x" * 5000)), "503 overloaded queue not_sent yes")
            self.assertEqual(g.post(mail()).status, 200)

    def test_relay_with_fewer_sessions_than_it_says(self):
        """421 on the third connection: the first two do all the work, and nobody sees an error."""
        with Peer(on={"banner": [default, default, reply_close("421 4.7.0 too many connections")]}) as p, Gateway(
            relay=p.url()
        ) as g:
            answers = []
            threads = [threading.Thread(target=lambda: answers.append(g.post(mail()))) for _ in range(20)]
            for t in threads:
                t.start()
            for t in threads:
                t.join(60)
            self.assertEqual([a.status for a in answers], [200] * 20, repr([a for a in answers if a.status != 200][:1]))
            self.assertEqual(len(p.mails), 20)


if __name__ == "__main__":
    unittest.main()
