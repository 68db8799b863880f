"""The judge: what mailhatch answered against what the relays took. A pure function, tested by itself in
tests/e2e/test_soak.py."""
import collections


def compare(sent, record):
    """Yields one complaint, a tuple (what, Sent, its lines of the record), for each mail whose fate was told wrong."""
    lines = collections.defaultdict(list)
    for taken in record:
        lines[taken.message_id].append(taken)
    for mail in sent:
        mine = lines.pop(mail.message_id, [])
        for what in judge(mail, mine):
            yield what, mail, mine
    for message_id, strays in lines.items():
        yield "nobody asked for this Message-ID: " + message_id, None, strays


def judge(mail, mine):
    for taken in mine:
        if taken.relay != mail.relay:
            yield "taken by another relay"
        if taken.sender != mail.sender:
            yield "the envelope sender is not the one that was asked for"
        if taken.digest != mail.digest:
            yield "the content is not the one that was asked for"
        if len(set(taken.recipients)) != len(taken.recipients):
            yield "a recipient twice in one transaction"
    times = collections.Counter(r for taken in mine for r in taken.recipients)
    for recipient in set(times) - set(mail.recipients):
        yield "a recipient that nobody asked for: " + recipient
    fates = mail.fates()
    for recipient, fate in fates.items():
        n = times[recipient]
        if fate == "accepted" and n == 0:
            yield "false sent: the relay has not taken it for " + recipient
        elif fate in ("not_sent", "rejected") and n:
            yield "false %s: the relay has taken it for %s" % (fate, recipient)
        elif fate not in ("accepted", "not_sent", "rejected", "unknown"):
            yield "an answer without a fate (%s) for %s" % (fate, recipient)
        if n > 1 and mail.outcome != "unknown":
            yield "taken %d times for %s" % (n, recipient)
    if mail.outcome in ("sent", "partial") and ("accepted" not in fates.values()):
        yield "%s, and accepted for nobody" % mail.outcome
    if mail.outcome == "sent" and set(fates.values()) != {"accepted"}:
        yield "sent, and not accepted for all"
