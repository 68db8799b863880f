"""The short form of the soak test (tests/soak; `make soak` is the long one), and the test of its judge: a rig that
cannot find a false answer proves nothing."""
import concurrent.futures
import io
import pathlib
import sys
import types
import unittest

import harness

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "soak"))

import cuts  # noqa: E402
import relay  # noqa: E402
import soak  # noqa: E402
from client import Sent  # noqa: E402
from cutter import Cut  # noqa: E402
from kills import Ending, judge_unanswered  # noqa: E402
from verify import compare  # noqa: E402

TO = ("a@example.net", "b@example.net")


def asked(status, **answer):
    return Sent(1, "r", "text", "1@x", "s@example.org", TO, "d", 3, status, answer)


def sent(status="sent", recipients=()):
    return Sent(1, "r", "text", "1@x", "s@example.org", TO, "d", 3, 200, {"status": status, "recipients": recipients})


def failed(delivery, recipients=()):
    return asked(504, delivery=delivery, recipients=recipients)


def taken(recipients=TO, **changes):
    fields = {"relay": "r", "session": 1, "message_id": "1@x", "sender": "s@example.org", "digest": "d", "size": 3}
    return relay.Taken(recipients=tuple(recipients), **{**fields, **changes})


def told(first, second):
    return [{"email": TO[0], "status": first}, {"email": TO[1], "status": second}]


class TestJudge(unittest.TestCase):
    def right(self, mail, *record):
        self.assertEqual([c[0] for c in compare([mail], record)], [])

    def wrong(self, what, mail, *record):
        found = [c[0] for c in compare([mail], record)]
        self.assertTrue(any(what in f for f in found), "wanted %r, got %r" % (what, found))

    def test_what_is_right(self):
        self.right(sent(), taken())
        self.right(sent(), taken(TO[:1]), taken(TO[1:]))  # a relay that takes one recipient at a time
        self.right(sent("partial", told("accepted", "rejected")), taken(TO[:1]))
        for delivery in ("not_sent", "rejected", "unknown"):
            self.right(failed(delivery))
        self.right(failed("unknown"), taken())
        self.right(failed("unknown"), taken(), taken())
        self.right(failed("unknown", told("accepted", "unknown")), taken(TO[:1]))
        self.right(asked(0))
        self.right(asked(0), taken())

    def test_what_is_wrong(self):
        self.wrong("false sent", sent())
        self.wrong("false sent", sent(), taken(TO[:1]))
        self.wrong("false sent", sent("partial", told("accepted", "rejected")))
        self.wrong("false rejected", sent("partial", told("accepted", "rejected")), taken())
        self.wrong("false not_sent", failed("not_sent"), taken())
        self.wrong("false rejected", failed("rejected"), taken())
        self.wrong("false sent", failed("unknown", told("accepted", "unknown")), taken(TO[1:]))
        self.wrong("2 times", sent(), taken(), taken())
        self.wrong("2 times", asked(0), taken(), taken())
        self.wrong("twice in one", failed("unknown"), taken(TO + TO))
        self.wrong("sender", sent(), taken(sender="another@example.org"))
        self.wrong("sender", failed("unknown"), taken(sender="another@example.org"))
        self.wrong("content", sent(), taken(digest="e"))
        self.wrong("another relay", sent(), taken(relay="q"))
        self.wrong("nobody asked for: eve", sent(), taken(TO + ("eve@example.net",)))
        self.wrong("nobody asked for this", sent(), taken(), taken(message_id="2@x"))
        self.wrong("without a fate", failed(None))
        self.wrong("for nobody", sent("partial", told("rejected", "rejected")))
        self.wrong("not accepted for all", sent("sent", told("accepted", "rejected")), taken(TO[:1]))


class TestRecord(unittest.TestCase):
    def digest(self, head, body):
        return relay.read_mail(b"Message-ID: <1@x>\r\n" + head + b"\r\n" + body)

    def test_what_is_read_of_a_mail(self):
        text = relay.text_digest("d\u00e9j\u00e0\n".encode())
        self.assertEqual(self.digest(b"", "d\u00e9j\u00e0\r\n".encode()), ("1@x", text))
        encoded = b"Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n"
        self.assertEqual(self.digest(encoded, b"d=C3=A9j=\r\n=C3=A0\r\n"), ("1@x", text))
        self.assertNotEqual(self.digest(b"", b"deja\r\n"), ("1@x", text))


class TestUnanswered(unittest.TestCase):
    TERM, KILL = Ending("term", 10.0, 12.0), Ending("kill", 10.0, 12.0)

    def judged(self, ending, posted, ended, is_taken=False):
        mail = asked(0)
        mail.posted, mail.ended = posted, ended
        return " ".join(judge_unanswered(mail, is_taken, [ending]))

    def test_what_may_stay_without_an_answer(self):
        self.assertEqual(self.judged(self.KILL, 9.0, 12.1, True), "")
        self.assertEqual(self.judged(self.KILL, 0.0, 10.1), "")
        self.assertEqual(self.judged(self.TERM, 11.0, 12.1), "")

    def test_what_may_not(self):
        self.assertIn("before SIGTERM", self.judged(self.TERM, 9.0, 12.1))
        self.assertIn("while it drained", self.judged(self.TERM, 11.0, 12.1, True))
        self.assertIn("nothing had ended it", self.judged(self.KILL, 5.0, 6.0))
        self.assertIn("nothing had ended it", self.judged(self.KILL, 13.0, 14.0))


class TestCutJudge(unittest.TestCase):
    """Of a lane that was measured: the first mail's body ends with octet 500, and the relay's 354 with octet 90."""

    def judged(self, place, outcome, seen, how="fin", side="in", is_cut=True, was_cut=False, n_out=60):
        rig = types.SimpleNamespace(options=types.SimpleNamespace(seed="1"), requests=cuts.Requests("1"))
        lane = cuts.Lane(rig, place, 0)
        lane.lengths = cuts.Lengths(900, 200, [500, 900], [90, 150])
        link = types.SimpleNamespace(is_cut=is_cut, seen=bytearray(seen), n_out=n_out, ends=[500])
        mail = sent() if outcome == "sent" else failed(outcome)
        return " ".join(lane.judge(Cut(side, 1, how), link, 0, mail, was_cut))

    def test_over_tls_by_length(self):
        self.assertEqual(self.judged("sealed", "unknown", 500), "")
        self.assertEqual(self.judged("sealed", "not_sent", 300), "")
        self.assertEqual(self.judged("sealed", "unknown", 300, "rst", "out", n_out=90), "")
        self.assertIn("had not gone", self.judged("sealed", "unknown", 300))
        self.assertIn("had not gone", self.judged("sealed", "unknown", 300, "rst", "out", n_out=60))
        self.assertIn("had gone", self.judged("sealed", "not_sent", 500))

    def test_plain_by_what_was_seen(self):
        whole = b"DATA\r\nMessage-ID: <1@x>\r\n\r\nend 00000001\r\n"
        self.assertEqual(self.judged("plain", "unknown", whole), "")
        self.assertIn("had gone", self.judged("plain", "not_sent", whole))
        self.assertIn("had not gone", self.judged("plain", "unknown", whole[:-1]))

    def test_what_was_not_cut_is_sent(self):
        self.assertEqual(self.judged("plain", "sent", b"", is_cut=False), "")
        self.assertIn("was whole", self.judged("plain", "not_sent", b"", is_cut=False))
        self.assertIn("was whole", self.judged("plain", "unknown", b"", was_cut=True))


class TestSoak(unittest.TestCase):
    def soak(self, *argv):
        out = io.StringIO()
        good = soak.soak(["--bin", harness.binary(), *argv], out)
        self.assertTrue(good, out.getvalue())

    def test_soak(self):
        self.soak("--storm", "--seconds", "12")

    def test_cut_at_random_bytes(self):
        self.soak("--seconds", "7", "--depth", "8", "--cut")

    def test_short_forms(self):
        """Side by side: they mostly wait. Kills, stops and reloads want a machine of their own: make soak has them."""
        harness.certs()
        forms = (
            ("--cut-each-byte", "--stride", "127", "--seconds", "5"),
            ("--only", "piped:in:70:rst", "--seconds", "5"),
        )
        with concurrent.futures.ThreadPoolExecutor(len(forms)) as threads:
            for form, run in [(form, threads.submit(self.soak, *form)) for form in forms]:
                with self.subTest(form=form):
                    run.result()


if __name__ == "__main__":
    unittest.main()
