"""A caller chooses no host, port, file or URL: nothing connects anywhere on his word (SSRF)."""
import socket
import unittest

from harness import Gateway, mail
from judge import Fault
from peer import Peer


class TestForgery(Fault):
    def setUp(self):
        self.trap = socket.create_server(("127.0.0.1", 0))
        self.trap.setblocking(False)
        self.addCleanup(self.trap.close)
        self.at = "127.0.0.1:%d" % self.trap.getsockname()[1]

    def test_nothing_is_fetched(self):
        url = "http://" + self.at + "/x"
        attached = {"filename": "x", "content": "eA=="}
        with Peer() as p, Gateway(relay=p.url()) as g:
            for changes, code in (
                ({"relay": "smtp://" + self.at}, "unknown_relay"),
                ({"relay": self.at}, "unknown_relay"),
                ({"relay": {"url": "smtp://" + self.at}}, "wrong_type"),
                ({"relay_url": "smtp://" + self.at}, "unknown_field"),
                ({"attachments": [{**attached, "path": url}]}, "unknown_field"),
                ({"attachments": [{**attached, "path": "/etc/passwd"}]}, "unknown_field"),
                ({"attachments": [{**attached, "url": url}]}, "unknown_field"),
            ):
                answer = g.post(mail(**changes))
                self.assertEqual(answer.status, 422, repr(answer))
                self.assertEqual([e["code"] for e in answer.json["errors"]], [code], repr(answer))
            html = '<img src="%s"><link rel="stylesheet" href="%s">' % (url, url)
            answer = g.post(mail(html=html, list_unsubscribe={"url": url.replace("http:", "https:")}))
            self.assertEqual(answer.status, 200, repr(answer))
        with self.assertRaises(BlockingIOError):
            self.trap.accept()

    def test_only_configured_relays_are_looked_at(self):
        with Peer() as p, Gateway(relay=p.url()) as g:
            for name in (self.at, "smtp:%2F%2F" + self.at, "127.0.0.1"):
                answer = g.request("POST", "/v1/relays/%s/diagnose" % name)
                self.assertEqual((answer.status, answer.code), (404, "not_found"), repr(answer))
        with self.assertRaises(BlockingIOError):
            self.trap.accept()


if __name__ == "__main__":
    unittest.main()
