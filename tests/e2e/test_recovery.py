"""A relay that was away and is back: it has its mails soon, and is spoken to in turn."""
import socket
import time
import unittest

import harness
from harness import Gateway, mail
from judge import Fault
from peer import Peer


class TestOutage(Fault):
    """However long a relay was away, it has its first mail within 5 s of its return."""

    AWAY_S = 7.5  # with a circuit that doubles from a second, the next attempt would be 8 s later

    def test_refused(self):
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            port = s.getsockname()[1]
        with Gateway(relay="smtp://ann@localhost:%d" % port) as g:
            harness.wait_for(lambda: g.post(mail()).code == "relay_unavailable", what="the circuit opens")
            end = time.monotonic() + self.AWAY_S

            def is_over():
                answer = g.post(mail())
                if answer.code == "relay_unavailable":
                    self.assertIn(int(answer.headers["Retry-After"]), range(1, 6), "a refused connect costs nothing")
                return time.monotonic() > end and answer.code == "relay_unavailable"

            harness.wait_for(is_over, what="it is away")
            begun = time.monotonic()
            with Peer(port=port):
                harness.wait_for(lambda: g.post(mail()).status == 200, what="a mail is sent")
            self.assertLess(time.monotonic() - begun, 5 * harness.PATIENCE / 15)


if __name__ == "__main__":
    unittest.main()
