"""TLS and mutual TLS on the API: versions, certificates that change while it runs, clients that show the right, a wrong
or no certificate, and what libmicrohttpd does not do by itself: answers in mid-upload, clients that leave or ask in
plain HTTP."""
import contextlib
import http.client
import json
import os
import pathlib
import shutil
import socket
import ssl
import subprocess
import tempfile
import threading
import unittest

from harness import Gateway, cert_path, certs, http_request, mail, raw_exchange, run_program, wait_for
from peer import Peer, after, default

HEAD = b"POST /v1/emails HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"


def client_context(cert=None, ca="ca", **more):
    context = ssl.create_default_context(cafile=cert_path(ca + ".pem"))
    if cert:
        context.load_cert_chain(cert_path(cert + ".pem"), cert_path(cert + ".key"))
    for name, value in more.items():
        setattr(context, name, value)
    return context


def port_of(g):
    return int(g.api.rsplit(":", 1)[1])


def open_tls(g, context=None):
    plain = socket.create_connection(("127.0.0.1", port_of(g)), 15)
    return (context or client_context()).wrap_socket(plain, server_hostname="localhost")


def connection(g, context=None):
    return http.client.HTTPSConnection("localhost", port_of(g), timeout=15, context=context or client_context())


def ask(c, method="POST", path="/v1/emails", body=None, headers=None):
    """Status and parsed body over an open HTTPS connection."""
    body = json.dumps(body if body is not None else mail()) if method == "POST" else None
    c.request(method, path, body, {"Content-Type": "application/json", **(headers or {})})
    answer = c.getresponse()
    return answer.status, json.loads(answer.read() or b"null")


def once(g, context=None, **more):
    with contextlib.closing(connection(g, context)) as c:
        return ask(c, **more)


def serial_of(tls):
    return tls.getpeercert()["serialNumber"]


class Tls(unittest.TestCase):
    def gateway(self, cert="good", key=None, env=None, args=("--sandbox",), **more):
        settings = {
            "MAILHATCH_TLS_CERT_FILE": cert_path(cert + ".pem"),
            "MAILHATCH_TLS_KEY_FILE": cert_path((key or cert) + ".key"),
            **(env or {}),
        }
        return Gateway(settings, args, **more)

    def files(self):
        """A directory of our own with cert.pem and key.pem, as a certificate manager keeps them."""
        d = pathlib.Path(tempfile.mkdtemp(prefix="mailhatch-tls-"))
        self.addCleanup(shutil.rmtree, d)
        self.put(d, "good")
        return d, {"MAILHATCH_TLS_CERT_FILE": str(d / "cert.pem"), "MAILHATCH_TLS_KEY_FILE": str(d / "key.pem")}

    def put(self, d, name):
        for suffix, to in ((".key", "key.pem"), (".pem", "cert.pem")):
            shutil.copy(cert_path(name + suffix), d / "new")
            os.replace(d / "new", d / to)


class Https(Tls):
    def test_a_mail(self):
        with Peer() as peer, self.gateway(args=(), relay=peer.url()) as g:
            self.assertEqual(once(g)[0], 200)
            self.assertEqual(len(peer.mails), 1)

    def test_versions(self):
        version = ssl.TLSVersion
        with self.gateway() as g:
            for name, wanted in ((version.TLSv1_2, "TLSv1.2"), (version.TLSv1_3, "TLSv1.3")):
                with open_tls(g, client_context(minimum_version=name, maximum_version=name)) as tls:
                    self.assertEqual(tls.version(), wanted)
            old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            old.load_verify_locations(cert_path("ca.pem"))
            old.set_ciphers("ALL:@SECLEVEL=0")
            old.minimum_version, old.maximum_version = version.TLSv1, version.TLSv1_1
            with self.assertRaises(OSError):
                open_tls(g, old)

    def test_no_weak_suite(self):
        with self.gateway("rsa") as g:
            for suite in ("AES128-SHA", "AES256-GCM-SHA384", "ECDHE-RSA-AES128-SHA", "DHE-RSA-AES128-GCM-SHA256"):
                context = client_context(maximum_version=ssl.TLSVersion.TLSv1_2)
                context.set_ciphers(suite + ":@SECLEVEL=0")
                with self.subTest(suite), self.assertRaises(OSError):
                    open_tls(g, context)
            context = client_context(maximum_version=ssl.TLSVersion.TLSv1_2)
            context.set_ciphers("ECDHE-RSA-AES128-GCM-SHA256")
            open_tls(g, context).close()

    def test_the_chain_is_sent_whole(self):
        with self.gateway("chained") as g:
            self.assertEqual(once(g)[0], 200)

    def test_keep_alive_and_pipelining(self):
        request = b"GET /v1/errors/timeout HTTP/1.1\r\nHost: localhost\r\n\r\n"
        with self.gateway() as g, open_tls(g) as tls:
            tls.sendall(request * 20)
            got = b""
            while got.count(b"HTTP/1.1 200 OK") < 20:
                piece = tls.recv(65536)
                self.assertTrue(piece)
                got += piece

    def test_large_body(self):
        for loops in (1, 3):
            with self.subTest(loops=loops), self.gateway(env={"MAILHATCH_HTTP_LOOPS": loops}) as g:
                body = mail(text="", attachments=[{"filename": "a.bin", "content": "QUJD" * 4_000_000}])
                status, answer = once(g, body=body)
                self.assertEqual((status, answer["status"]), (200, "sent"))

    def test_expect_continue(self):
        body = json.dumps(mail()).encode()
        head = HEAD.decode() + "Expect: 100-continue\r\n"
        with self.gateway() as g, open_tls(g) as tls:
            tls.sendall((head + "Content-Length: %d\r\n\r\n" % len(body)).encode())
            self.assertIn(b"100 Continue", tls.recv(4096))
            tls.sendall(body)
            self.assertIn(b"HTTP/1.1 200 OK", tls.recv(65536))

    def test_answers_in_mid_upload_are_in_tls(self):
        """408 and 413 go past libmicrohttpd: a client reads them like any other."""
        with self.gateway(env={"MAILHATCH_REQUEST_TIMEOUT": "600ms", "MAILHATCH_MAX_BODY": "64KiB"}) as g:
            with open_tls(g) as tls:
                tls.sendall(HEAD + b"Content-Length: 100\r\n\r\n{")
                answer = tls.recv(65536)
                self.assertTrue(answer.startswith(b"HTTP/1.1 408 "), answer)
                self.assertIn(b'"code":"request_timeout"', answer)
            with open_tls(g) as tls:
                answer, chunk = b"", b"8000\r\n" + b" " * 0x8000 + b"\r\n"
                with contextlib.suppress(OSError):
                    tls.sendall(HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + chunk * 20)
                with contextlib.suppress(OSError):
                    answer = tls.recv(65536)
                self.assertTrue(answer.startswith(b"HTTP/1.1 413 "), answer)

    def test_a_client_leaves_in_mid_upload(self):
        """Its goodbye lies before its end in the socket, so the end is not to be seen by a read of one octet."""
        with self.gateway(env={"MAILHATCH_REQUEST_TIMEOUT": "1h", "MAILHATCH_LOG_LEVEL": "debug"}) as g:
            tls = open_tls(g)
            tls.sendall(HEAD + b"Content-Length: 9000\r\n\r\n{")
            with contextlib.suppress(OSError):
                tls.unwrap()
            tls.close()
            wait_for(lambda: [e["status"] for e in g.events("http")] == [499], what="the request is over")

    def test_a_client_leaves_while_its_mail_is_sent(self):
        go_on = threading.Event()
        self.addCleanup(go_on.set)
        with Peer({"body": after(go_on, default)}) as peer, self.gateway(args=(), relay=peer.url()) as g:
            tls, body = open_tls(g), json.dumps(mail()).encode()
            tls.sendall(HEAD + b"Content-Length: %d\r\n\r\n%s" % (len(body), body))
            wait_for(lambda: "DATA" in peer.commands(), what="the mail is being sent")
            tls.close()
            threading.Timer(0.2, go_on.set).start()     # what leaves in the first 100 ms is not looked for
            wait_for(lambda: "client_gone" in g.log(), what="the log says so")
            self.assertEqual(len(peer.mails), 1)

    def test_many_at_once(self):
        with self.gateway(env={"MAILHATCH_HTTP_LOOPS": 3, "MAILHATCH_MAX_CONNECTIONS": 64}) as g:
            context, statuses = client_context(), []

            def client():
                with contextlib.closing(connection(g, context)) as c:
                    for _ in range(10):
                        statuses.append(ask(c)[0])

            threads = [threading.Thread(target=client) for _ in range(50)]
            for t in threads:
                t.start()
            for t in threads:
                t.join()
            self.assertEqual(statuses, [200] * 500)

    def test_a_slow_handshake_is_cut_off(self):
        with self.gateway(env={"MAILHATCH_REQUEST_TIMEOUT": "500ms"}) as g:
            for begin in (b"", b"\x16\x03\x01\x02\x00\x01"):
                with socket.create_connection(("127.0.0.1", port_of(g)), 15) as s:
                    s.sendall(begin)
                    self.assertEqual(s.recv(100), b"")

    def test_plain_http_is_told_so(self):
        with self.gateway() as g:
            for _ in range(20):
                answer = http_request(g.api, "POST", "/v1/emails", mail())
                self.assertEqual((answer.status, answer.code), (400, "invalid_request"), repr(answer))
                self.assertIn("plain HTTP", answer.json["detail"])
                self.assertIn("https://", answer.json["hint"])
            self.assertEqual(once(g)[0], 200)

    def test_noise_is_cut_off(self):
        with self.gateway() as g:
            for noise in (b"\0" * 100, b"SSH-2.0-x\r\n", b"\x16\x03\x01\xff\xff" + b"x" * 70000):
                answer = raw_exchange(g.api, noise, shut=True)
                self.assertNotIn(b"HTTP/", answer)
            self.assertEqual(once(g)[0], 200)

    def test_unix_socket(self):
        d = tempfile.mkdtemp(prefix="mailhatch-tls-")
        self.addCleanup(shutil.rmtree, d)
        path = os.path.join(d, "s")
        with self.gateway(env={"MAILHATCH_LISTEN": "unix:" + path}):
            with socket.socket(socket.AF_UNIX) as s:
                s.connect(path)
                with client_context().wrap_socket(s, server_hostname="localhost") as tls:
                    tls.sendall(b"GET /v1/errors/timeout HTTP/1.0\r\n\r\n")
                    self.assertIn(b" 200 OK", tls.recv(4096))


class Renewal(Tls):
    def test_a_new_certificate_is_taken(self):
        d, env = self.files()
        with self.gateway(env=env) as g:
            with contextlib.closing(connection(g)) as old:
                self.assertEqual(ask(old)[0], 200)
                before = serial_of(old.sock)
                self.put(d, "chained")
                wait_for(lambda: len(g.events("certificate")) > 1, what="the new certificate is told")
                with open_tls(g) as tls:
                    self.assertNotEqual(serial_of(tls), before)
                    ends = ssl.cert_time_to_seconds(tls.getpeercert()["notAfter"])
                self.assertEqual(g.metric("mailhatch_api_certificate_expires_timestamp_seconds"), ends)
                self.assertEqual(ask(old)[0], 200)      # a connection keeps what it began with
                self.assertEqual(serial_of(old.sock), before)

    def test_a_bad_one_is_not(self):
        d, env = self.files()
        with self.gateway(env=env) as g:
            shutil.copy(cert_path("named.key"), d / "new")
            os.replace(d / "new", d / "key.pem")
            wait_for(lambda: g.events("certificate")[-1]["level"] == "warn", what="the warning")
            self.assertIn("is not that of the first certificate", g.events("certificate")[-1]["why"])
            self.assertEqual(once(g)[0], 200)
            n = len(g.events("certificate"))
            self.put(d, "good")
            wait_for(lambda: g.events("certificate")[n:], what="the mended pair is told")
            self.assertEqual(g.events("certificate")[-1]["level"], "info")
            self.assertEqual(len(g.events("certificate")), n + 1)

    def test_under_load(self):
        """The pair changes twice while twenty clients open connections: nobody fails."""
        d, env = self.files()
        with self.gateway(env={**env, "MAILHATCH_HTTP_LOOPS": 2}) as g:
            context, stop, statuses = client_context(), threading.Event(), []

            def client():
                while not stop.is_set():
                    statuses.append(once(g, context, method="GET", path="/v1/errors/timeout")[0])

            threads = [threading.Thread(target=client) for _ in range(4)]
            for t in threads:
                t.start()
            try:
                for n, name in enumerate(("chained", "good")):
                    self.put(d, name)
                    wait_for(lambda: [e["level"] for e in g.events("certificate")].count("info") > n + 1)
            finally:
                stop.set()
                for t in threads:
                    t.join()
            self.assertEqual(set(statuses), {200})

    def test_near_its_end(self):
        with self.gateway("expired") as g:
            event = g.events("certificate")[0]
            self.assertEqual((event["level"], event["msg"]), ("warn", "the API's certificate has expired"))
            self.assertLess(event["days_left"], -1000)


class Mutual(Tls):
    def gateway(self, ca="ca", **more):
        env = {"MAILHATCH_CLIENT_CA_FILE": cert_path(ca + ".pem"), "MAILHATCH_LOG_LEVEL": "debug"}
        return super().gateway(env={**env, **more.pop("env", {})}, **more)

    def test_the_right_client(self):
        with Peer() as peer, self.gateway(args=(), relay=peer.url()) as g:
            with contextlib.closing(connection(g, client_context("clientonly"))) as c:
                self.assertEqual(ask(c)[0], 200)
                self.assertEqual(ask(c)[0], 200)
            for name in ("send", "http"):
                wait_for(lambda: len(g.events(name)) == 2, what="both lines")
                self.assertEqual([e["client"] for e in g.events(name)], ["localhost"] * 2)
            self.assertEqual(len(peer.mails), 2)

    def refused(self, g, cert, words):
        version = ssl.TLSVersion
        for v in (version.TLSv1_2, version.TLSv1_3):
            status, body = once(g, client_context(cert, minimum_version=v, maximum_version=v))
            self.assertEqual((status, body["code"]), (403, "forbidden"), body)
            self.assertIn(words, body["detail"])
            self.assertIn("client_ca_file", body["hint"])

    def test_the_wrong_clients(self):
        with Peer() as peer, self.gateway(args=(), relay=peer.url()) as g:
            self.refused(g, None, "showed no certificate")
            self.refused(g, "unknownca", "not of an authority in client_ca_file")
            self.refused(g, "selfsigned", "not of an authority in client_ca_file")
            self.refused(g, "expired", "has expired")
            self.refused(g, "future", "not valid yet")
            self.refused(g, "good", "not one for clients")
            self.assertEqual(peer.mails, [])

    def test_a_body_is_not_read_from_a_stranger(self):
        with self.gateway() as g, open_tls(g) as tls:
            tls.sendall(HEAD + b"Content-Length: 9000000\r\n\r\n")
            self.assertTrue(tls.recv(65536).startswith(b"HTTP/1.1 403 "))

    def test_keys_are_asked_for_as_well(self):
        key = "0123456789abcdef-tls"
        with self.gateway(env={"MAILHATCH_API_KEYS": key}) as g:
            right = client_context("clientonly")
            headers = {"Authorization": "Bearer " + key}
            self.assertEqual(once(g, right)[1]["code"], "missing_api_key")
            self.assertEqual(once(g, headers=headers)[1]["code"], "forbidden")
            self.assertEqual(once(g, right, headers=headers)[0], 200)

    def test_it_may_listen_to_others_without_keys(self):
        with self.gateway(env={"MAILHATCH_LISTEN": "0.0.0.0:0"}) as g:
            self.assertEqual(once(g, client_context("clientonly"), headers={"Host": "mail.internal"})[0], 200)
            self.assertEqual(once(g)[0], 403)
            # A page that a browser with the certificate opens is still a page.
            status, body = once(g, client_context("clientonly"), headers={"Origin": "https://evil.example"})
            self.assertEqual((status, body["code"]), (403, "forbidden"))


class Mistakes(Tls):
    def mistake(self, words, **env):
        settings = {"MAILHATCH_" + k: v for k, v in env.items()}
        for command in (("check-config", "--sandbox"), ("--sandbox",)):
            status, _, err = run_program(*command, env=settings)
            self.assertEqual(status, 2, err)
            self.assertIn(words, err)

    def test_files(self):
        good = {"TLS_CERT_FILE": cert_path("good.pem"), "TLS_KEY_FILE": cert_path("good.key")}
        key_only = cert_path("good.key")
        self.mistake("tls_key_file is missing", TLS_CERT_FILE=good["TLS_CERT_FILE"])
        self.mistake("tls_cert_file is missing", TLS_KEY_FILE=good["TLS_KEY_FILE"])
        self.mistake("set tls_cert_file and tls_key_file too", CLIENT_CA_FILE=cert_path("ca.pem"))
        self.mistake("cannot be read", **{**good, "TLS_CERT_FILE": "/nonexistent/cert.pem"})
        self.mistake("is not that of the first certificate", **{**good, "TLS_KEY_FILE": cert_path("named.key")})
        self.mistake("holds no certificate", **{**good, "TLS_CERT_FILE": key_only})
        self.mistake("holds no private key", **{**good, "TLS_KEY_FILE": good["TLS_CERT_FILE"]})
        self.mistake("holds no certificate", **good, CLIENT_CA_FILE=key_only)

    def test_locked_key(self):
        locked = os.path.join(certs(), "locked.key")
        subprocess.run(
            ["openssl", "pkcs8", "-topk8", "-in", cert_path("good.key"), "-out", locked, "-passout", "pass:secret"],
            check=True,
        )
        self.mistake("locked with a passphrase", TLS_CERT_FILE=cert_path("good.pem"), TLS_KEY_FILE=locked)

    def test_it_needs_no_tls_for_a_health_check(self):
        with self.gateway() as g:
            self.assertEqual(run_program("healthcheck", env={"MAILHATCH_ADMIN_LISTEN": g.admin_at})[0], 0)


if __name__ == "__main__":
    unittest.main()
