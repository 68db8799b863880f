"""What openapi.yaml says by itself: linters, an example for each error, and a TypeScript client made from it."""
import http.client
import json
import os
import re
import subprocess

HERE = os.path.dirname(os.path.abspath(__file__))
CONTRACT = os.path.normpath(os.path.join(HERE, "..", "..", "openapi.yaml"))
NODE_BIN = os.path.join(HERE, "node_modules", ".bin")
CLIENT = os.path.join(HERE, "client")
# Codes of the catalogue whose features are to come: there are no real answers to show. ErrorCode's description says so.
NOT_ANSWERED = {
    "invalid_idempotency_key", "idempotency_in_progress", "idempotency_key_reused", "not_cancelable", "queue_full",
    "store_unavailable", "expired", "canceled", "not_acceptable", "proxy_failed", "oauth_token_failed",
}


def tool(name, *arguments, **more):
    command = [os.path.join(NODE_BIN, name), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, **more)


def complaints(done, words=("warning", "error")):
    """All that a tool said, when it failed or found anything."""
    said = done.stdout + done.stderr
    return [said] if done.returncode or any(re.search(r"\b%ss?\b" % w, said) for w in words) else []


def check_linters(checks):
    lint = tool("redocly", "lint", "--config", os.path.join(HERE, "redocly.yaml"), "--format=stylish", CONTRACT)
    checks.check("redocly lint", complaints(lint))
    lint = tool("spectral", "lint", "--quiet", "--fail-severity", "hint", "--display-only-failures", "--ruleset",
                os.path.join(HERE, "spectral.yaml"), "--format", "text", CONTRACT)
    checks.check("spectral lint", complaints(lint, ()))


def load():
    bundle = tool("redocly", "bundle", "--ext", "json", "--config", os.path.join(HERE, "redocly.yaml"), CONTRACT)
    return json.loads(bundle.stdout)


def responses(document):
    """(status, response) of each operation, references followed."""
    for path in document["paths"].values():
        for operation in path.values():
            for status, response in operation.get("responses", {}).items() if isinstance(operation, dict) else ():
                name = response.get("$ref", "").rsplit("/", 1)[-1]
                yield status, document["components"]["responses"][name] if name else response


def examples_in(response):
    media = response.get("content", {}).get("application/problem+json", {})
    return [e["$ref"].rsplit("/", 1)[1] for e in media.get("examples", {}).values()]


def problem_with_example(code, example, row):
    """What is wrong with the example of a code, by the catalogue's row."""
    value = example["value"]
    wrong = [f"{code}: {name} is {value.get(name)!r}, in the catalogue {row[name]!r}"
             for name in ("code", "title", "status") if value.get(name) != row[name]]
    hints = [row["hint"], *(v["hint"] for v in row.get("variants", []))]
    if not any(fits(hint, value["hint"]) for hint in hints):
        wrong.append(f"{code}: its hint is none of the catalogue's: {value['hint']}")
    copies = (("name", "code"), ("message", "detail"), ("statusCode", "status"))
    return wrong + [f"{code}: {a} is not its {b}" for a, b in copies if value.get(a) != value.get(b)]


def fits(template, hint):
    """A hint's template has names in braces where an answer has the case's own words."""
    return re.fullmatch(re.sub(r"\\\{\w+\\\}", ".+", re.escape(template)), hint) is not None


def check_codes(checks, api):
    """Each code of the running program's catalogue stands in the contract, with an example under its status."""
    document = load()
    connection = http.client.HTTPConnection(api, timeout=30)
    connection.request("GET", "/v1/errors")
    rows = {row["code"]: row for row in json.loads(connection.getresponse().read())["data"] if row["code"] != "sent"}
    connection.close()
    schemas, examples = document["components"]["schemas"], document["components"]["examples"]
    checks.equal("the codes of the contract", sorted(schemas["ErrorCode"]["enum"]), sorted(rows))
    described = set(re.findall(r"`(\w+)`", schemas["ErrorCode"]["description"]))
    checks.equal("codes that are to come", sorted(described), sorted(NOT_ANSWERED))
    shown = {name for name in examples if name in rows}
    checks.equal("codes with an example", sorted(shown), sorted(set(rows) - NOT_ANSWERED))
    used = {}
    for status, response in responses(document):
        for code in examples_in(response):
            used.setdefault(code, set()).add(status)
    for code in sorted(shown):
        wrong = problem_with_example(code, examples[code], rows[code])
        places = used.get(code, set()) - {"default"}
        if not used.get(code) or places - {str(rows[code]["status"])}:
            wrong.append(f"{code}: stands under {sorted(used.get(code, []))}, its status is {rows[code]['status']}")
        checks.check(f"the example of {code}", wrong)


def check_client(checks, keyless, api, broken, key):
    """The types are made from what the service itself serves, as README says."""
    made = tool("openapi-typescript", f"http://{keyless}/openapi.yaml", "-o", os.path.join(CLIENT, "mailhatch.d.ts"))
    checks.check("openapi-typescript", complaints(made, ()))
    compiled = tool("tsc", "-p", CLIENT)
    checks.check("tsc --strict", complaints(compiled, ()))
    ran = subprocess.run(["node", os.path.join(CLIENT, "out", "client.js"), f"http://{api}", f"http://{broken}", key],
                         capture_output=True, text=True, check=False, timeout=120)
    lines = ran.stdout.splitlines()
    for line in lines:
        checks.check(f"client: {line}", [] if line.startswith("ok: ") else [line])
    checks.check("the client ran to its end", complaints(ran, ()) if ran.returncode or len(lines) < 15 else [])
