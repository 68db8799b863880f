"""What the tests of hints share: a relay that has the name and the port that it has in real life (the resolver shim
leads both to a scripted peer), and one row for each fault."""
import re

import harness
from harness import Gateway, mail
from judge import Fault
from peer import Peer
from test_connect import resolver_shim

RELAY = "relay.example.com:587"
GMAIL = "smtp.gmail.com:587"
OFFICE = "smtp.office365.com:587"
SES = "email-smtp.eu-west-1.amazonaws.com:587"
CAP = {"MAILHATCH_RELAY_TIMEOUT": "1"}


def shim(port):
    return {"LD_PRELOAD": resolver_shim(), "ASAN_OPTIONS": "verify_asan_link_order=0", "SHIM_PORT": str(port)}


def add_test(case, name, test):
    assert not hasattr(case, "test_" + name), name
    setattr(case, "test_" + name, test)


class HintCase(Fault):
    def run_row(
        self,
        where,
        expect,
        sentence,
        scheme="smtp",
        user=True,
        query="",
        env=None,
        message=None,
        port=None,
        details=(),
        **peer
    ):
        peer = {"cert": "named", **peer}
        env = {k: harness.cert_path("ca.crl") if v == "CRL" else v for k, v in (env or {}).items()}
        if peer.get("client_ca"):
            peer["client_ca"] = harness.cert_path("ca.pem")
        url = "%s://%s%s%s" % (scheme, "ann@" if user else "", where, query)
        with Peer(**peer) as p, Gateway({**shim(port or p.port), **env}, relay=url) as g:
            answer = g.post(message or mail())
            self.check(answer, expect)
            found = answer.json
            self.assertIn(where, found["detail"])
            self.assertEqual((found["relay"]["host"], found["relay"]["port"]), self.split(where))
            self.assertEqual(self.without_id(found["hint"]), sentence)
            if found["smtp"] and found["smtp"]["code"] >= 400:
                self.assertIn("%d" % found["smtp"]["code"], found["detail"])
                self.assertIn(found["smtp"]["text"].rstrip(". "), found["detail"])
            for words in details:
                self.assertRegex(found["detail"], words)

    @staticmethod
    def split(where):
        host, port = where.rsplit(":", 1)
        return host.strip("[]"), int(port)

    @staticmethod
    def without_id(text):
        """The Message-ID is new each time: a UUID at the sender's domain."""
        return re.sub(r"<[0-9a-f-]{36}@example\.org>", "<ID>", text)

    @classmethod
    def hint(cls, name, expect, sentence, where=RELAY, **more):
        """One fault. `expect` as in judge.Fault.check; `sentence`: the whole hint; `where`: the relay's host and port;
        what else there is goes to the peer."""
        add_test(cls, name, lambda self: self.run_row(where, expect, sentence, **more))
