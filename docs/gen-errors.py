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

The first thing to do is `hint`. It is chosen by the facts of the case: below, *what to do* is the general one, and the
rows under it are for cases in which something better is true; the first row that matches is taken. `{host}` and
`{port}` are the relay's, `{stage}` is where it happened, `{message_id}` the mail's: an answer has them filled in. "The
reply or the reason" is `smtp.text` and what stands behind the last colon of `detail`.

**Never repeat `outcome_unknown` blindly**: the relay may have taken the mail. Some proxies repeat a 504 by themselves;
switch that off for `POST /v1/emails`.
"""
MISTAKES = """
## What is wrong with a field

The words of `errors[].code` in `validation_failed`. With each go a `detail` and a `pointer`, a JSON Pointer into the
request (`/to/1`; `/3/to/1` in a batch; `/attachment/0` is a form's first file; empty for a finished message, where
`detail` names the line).

| code | |
|---|---|
| `required` | something that must be there is missing |
| `unknown_field` | there is no such field; `detail` may say which one was meant |
| `duplicate_key` | a name occurs twice |
| `wrong_type` | a number where a string belongs, and the like |
| `invalid_value` | the right type, and a value that is not one of those allowed |
| `invalid_address` | not an e-mail address, or more than one |
| `invalid_base64` | the content is not base64 in the standard alphabet, or not complete |
| `invalid_unicode` | not UTF-8, or half of a surrogate pair |
| `control_character` | a line break or another control where none may be |
| `header_not_allowed` | a header field that mailhatch or a server on the way writes |
| `invalid_header` | a finished message's header is broken |
| `line_too_long` | a finished message has a line of more than 998 octets |
| `too_long` | more octets than allowed |
| `too_many` | more elements than allowed |
| `unknown_relay` | no relay of this name is configured |
| `not_implemented` | in the contract, not in this version; the whole answer is then 501 |
"""
RETRYABLE = {"yes": "yes", "no": "no", "by_class": "by class"}


def anchor(code):
    return f"[`{code}`](#{code})"


def cell(text):
    return text.replace("|", "\\|")


def page(entries):
    yield HEAD
    yield "| code | status | retryable | what happened |"
    yield "|---|---|---|---|"
    for entry in entries:
        row = (anchor(entry["code"]), str(entry["status"]), RETRYABLE[entry["retryable"]], cell(entry["title"]))
        yield "| " + " | ".join(row) + " |"
    for entry in entries:
        yield ""
        yield f"## `{entry['code']}`"
        yield ""
        yield f"**{entry['title']}.** Status {entry['status']}, retryable: {RETRYABLE[entry['retryable']]}."
        yield ""
        yield entry["meaning"]
        yield ""
        yield f"*What to do:* {cell(entry['hint'])}"
        if entry["variants"]:
            yield ""
            yield "| when | what to do instead |"
            yield "|---|---|"
        for variant in entry["variants"]:
            yield f"| {cell(variant['when'])} | {cell(variant['hint'])} |"
    yield MISTAKES.rstrip("\n")


def main():
    entries = json.load(sys.stdin)["data"]
    print("\n".join(page(entries)))


if __name__ == "__main__":
    main()
