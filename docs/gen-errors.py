#!/usr/bin/python3
"""Writes docs/errors.md from the catalogue of a running mailhatch.

    curl -s http://127.0.0.1:8587/v1/errors | docs/gen-errors.py >docs/errors.md
"""
import json
import sys

HEAD = """# Error codes

Every error is one `application/problem+json` object ([RFC 9457](https://www.rfc-editor.org/rfc/rfc9457)). Its `code` is
one of these and never changes its meaning; new ones may be added. This page is written by `docs/gen-errors.py` from
`GET /v1/errors`, which says the same for machines.

`stage` says where a send stopped; `delivery` says what is known of the mail's fate: `not_sent`, `rejected`, `accepted`
or `unknown`. `retryable` answers one question: may this request be repeated unchanged, later, without risk of a double
mail? "By class" below means: yes when the relay's reply was a 4xx (the status is then 503), no when it was a 5xx.

**Never repeat `outcome_unknown` blindly**: the relay may have taken the mail. Some proxies repeat a 504 by themselves;
switch that off for `POST /v1/emails`.
"""
RETRYABLE = {"yes": "yes", "no": "no", "by_class": "by class"}


def anchor(code):
    return f"[`{code}`](#{code})"


def page(entries):
    yield HEAD
    yield "| code | status | retryable | what happened |"
    yield "|---|---|---|---|"
    for entry in entries:
        title = entry["title"].replace("|", "\\|")
        yield f"| {anchor(entry['code'])} | {entry['status']} | {RETRYABLE[entry['retryable']]} | {title} |"
    for entry in entries:
        yield ""
        yield f"## `{entry['code']}`"
        yield ""
        yield f"**{entry['title']}.** Status {entry['status']}, retryable: {RETRYABLE[entry['retryable']]}."
        yield ""
        yield entry["meaning"]
        yield ""
        yield f"*What to do:* {entry['hint']}"


def main():
    entries = json.load(sys.stdin)["data"]
    print("\n".join(page(entries)))


if __name__ == "__main__":
    main()
