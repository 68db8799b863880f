"""What is checked of every problem object and of every mail that arrives."""
import base64
import email
import email.errors
import email.policy
import unittest

import harness


def parsed(data, utf8=False):
    """The message as Python's email package reads it; the test fails on any defect, header defects included. With
    `utf8` the header may be UTF-8 (RFC 6532), which the package reads and yet reports as two defects."""
    message = email.message_from_bytes(data, policy=email.policy.default)
    problems = list(message.defects)
    for part in message.walk():
        problems += part.defects
        for name, value in part.items():
            problems += list(getattr(value, "defects", ()))
    if utf8:
        allowed = (email.errors.NonASCIILocalPartDefect, email.errors.UndecodableBytesDefect)
        problems = [p for p in problems if not isinstance(p, allowed)]
    assert not problems, problems
    return message


def body_of(message, kind="plain"):
    """The text with LF line ends, and with one at its end: the last line's is the boundary's in a multipart."""
    text = message.get_body((kind,)).get_content().replace("\r\n", "\n")
    return text if text.endswith("\n") else text + "\n"


def is_one_of(value, expected):
    return str(value) in expected.split("|")


class Fault(unittest.TestCase):
    """What is checked of every problem object."""

    maxDiff = None

    def check(self, answer, expect, where=None):
        """`expect`: HTTP status, code, stage, delivery, and whether retryable; alternatives with a bar."""
        status, code, stage, delivery, retryable = expect.split()
        self.assertTrue(is_one_of(answer.code, code), "code: wanted %s, got %r" % (code, answer))
        p = answer.json
        self.assertTrue(is_one_of(answer.status, status), "status: wanted %s, got %r" % (status, answer))
        self.assertEqual(answer.headers["Content-Type"], "application/problem+json")
        self.assertTrue(is_one_of(p["stage"], stage), "stage: wanted %s, got %r" % (stage, answer))
        self.assertTrue(is_one_of(p["delivery"], delivery), "delivery: wanted %s, got %r" % (delivery, answer))
        self.assertIs(p["retryable"], retryable == "yes", repr(answer))
        self.assertEqual(
            (p["status"], p["statusCode"], p["name"], p["message"], p["type"]),
            (answer.status, answer.status, p["code"], p["detail"], "/v1/errors/" + p["code"]),
        )
        for field in ("title", "detail", "hint", "request_id"):
            self.assertTrue(p[field], field + " is empty: " + repr(answer))
        self.assertEqual(p["request_id"], answer.headers["X-Request-Id"])
        if where:
            self.assertIn(where, p["detail"])
            self.assertEqual("%s:%d" % (p["relay"]["host"], p["relay"]["port"]), where)
            self.assertTrue(p["id"])
        self.assertNotIn(harness.PASSWORD, answer.body.decode())
        self.assertNotIn(base64.b64encode(harness.PASSWORD.encode()).decode()[:12], answer.body.decode())
