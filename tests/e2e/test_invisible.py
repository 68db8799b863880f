"""Characters that nobody sees, in every place that an address can come from: each is refused by its name, and with the
place where it stands."""
import unittest
import urllib.parse

from forms import MULTIPART, RAW, URLENCODED, multipart, urlencoded
from harness import Gateway, mail, run_program
from judge import Fault, parsed

CHARACTERS = "\u200b\ufeff\u2060\u00ad\u034f\u202e\u2066\u061c\ufe0f\U000e0041\ufff9\u00a0\u3000\u2003\u180e\u3164"
PATH = "/v1/emails/validate"


class TestInvisible(Fault):
    @classmethod
    def setUpClass(cls):
        cls.g = Gateway(args=["--sandbox"])

    @classmethod
    def tearDownClass(cls):
        cls.g.stop()

    def validate(self, body, kind="application/json", query=""):
        return self.g.request("POST", PATH + query, body, {"Content-Type": kind})

    def refused(self, answer, c, position, where):
        self.check(answer, "422 validation_failed request not_sent no")
        details = [e["detail"] for e in answer.json["errors"]]
        named = "U+%04X, at position %d" % (ord(c), position)
        self.assertTrue(any(named in d for d in details), "%s: %r" % (where, answer))
        return [e["pointer"] for e in answer.json["errors"]]

    def test_fields(self):
        """In the part before the @ and in the domain, of each field."""
        for c in CHARACTERS:
            for address, position in (("a%sn@y.example" % c, 2), ("ann@te%sst.example" % c, 3)):
                for pointer, fields in (
                    ("/from", {"from": address}),
                    ("/to", {"to": "Bob <%s>" % address}),
                    ("/cc/1", {"cc": ["x@y.example", address]}),
                    ("/bcc/0/email", {"bcc": [{"email": address}]}),
                    ("/reply_to", {"reply_to": address}),
                    ("/envelope/from", {"envelope": {"from": address}}),
                    ("/envelope/to/0", {"envelope": {"to": [address]}}),
                    ("/headers/Sender", {"headers": {"Sender": address}}),
                    ("/headers/Disposition-Notification-To", {"headers": {"Disposition-Notification-To": address}}),
                ):
                    pointers = self.refused(self.validate(mail(**fields)), c, position, pointer)
                    self.assertEqual(pointers, [pointer])

    def test_other_bodies(self):
        for c in CHARACTERS:
            address = "ann@te%sst.example" % c
            fields = [("from", "x@y.example"), ("to", address), ("text", "x")]
            self.refused(self.validate(multipart(*fields), MULTIPART), c, 3, "multipart")
            self.refused(self.validate(urlencoded(*fields), URLENCODED), c, 3, "urlencoded")
            plain = b"From: x@y.example\r\nTo: z@y.example\r\n\r\nx\r\n"
            for name in ("from", "to"):
                query = "?" + urllib.parse.urlencode({name: address})
                self.refused(self.validate(plain, RAW, query), c, 3, "?%s=" % name)
            for name in ("From", "To", "Cc", "Bcc"):
                header = "From: x@y.example\r\n" if name != "From" else "To: z@y.example\r\n"
                message = "%s%s: Ann <%s>\r\n\r\nx\r\n" % (header, name, address)
                self.refused(self.validate(message.encode(), RAW), c, 3, name)

    def test_names_are_no_addresses(self):
        name = "Ann \U0001f469\u200d\U0001f4bb\ufe0f"
        body = mail(to=[{"email": "ann@y.example", "name": name}])
        answer = self.g.request("POST", PATH, body, {"Accept": "message/rfc822"})
        self.assertEqual(answer.status, 200, repr(answer))
        self.assertEqual(parsed(answer.body)["To"].addresses[0].display_name, name)

    def test_encoded_words(self):
        """A local part that readers would decode: Python's own does, quoted or not."""
        for local in ("=?utf-8?q?x?=", '"a =?utf-8?b?eA==?= b"', "x=?us-ascii?Q?=41?="):
            for fields in ({"to": local + "@y.example"}, {"from": {"email": local + "@y.example"}}):
                answer = self.validate(mail(**fields))
                self.check(answer, "422 validation_failed request not_sent no")
                self.assertIn("encoded word", answer.json["errors"][0]["detail"])

    def test_settings(self):
        """A relay's host, too, would be somebody else's."""
        status, _, err = run_program("check-config", env={"MAILHATCH_RELAY_URL": "smtp://sm\u200btp.example.org:587"})
        self.assertNotEqual(status, 0)
        self.assertIn("U+200B, at position 3", err)


if __name__ == "__main__":
    unittest.main()
