"""A smaller request that still fails in the same way."""
import base64
import copy
import time

from expect import decode_content

SECONDS, TRIES = 20, 1500


def places(value, path=()):
    """All paths into a request, the outer ones first."""
    out, waiting = [], [(path, value)]
    while waiting:
        at, v = waiting.pop(0)
        if at:
            out.append(at)
        items = v.items() if isinstance(v, dict) else enumerate(v) if isinstance(v, list) else ()
        waiting += [(at + (key,), child) for key, child in items]
    return out


def get(value, path):
    for key in path:
        value = value[key]
    return value


def changed(request, path, new):
    """A copy with another value at the path; without it when `new` is None."""
    out = copy.deepcopy(request)
    holder = get(out, path[:-1])
    if new is None:
        del holder[path[-1]]
    else:
        holder[path[-1]] = new
    return out


def shorter(text):
    """Pieces left out: halves first, then smaller ones, then single characters; then plainer characters."""
    size = len(text) // 2
    while size >= 1:
        for at in range(0, len(text), size):
            yield text[:at] + text[at + size:]
        size //= 2
    if isinstance(text, str) and len(text) <= 60:
        for at, c in enumerate(text):
            if c not in "a@":
                yield text[:at] + "a" + text[at + 1:]


def smaller_values(path, value):
    if isinstance(value, str):
        if path[-1] == "content" and path[0] == "attachments":
            for octets in shorter(decode_content(value)):
                yield base64.b64encode(octets).decode()
        else:
            yield from shorter(value)
    elif isinstance(value, list):
        if len(value) == 1 and path[0] in ("to", "cc", "bcc", "reply_to"):
            yield value[0]
        yield from (v for v in shorter(value) if v)
    elif isinstance(value, dict) and set(value) == {"email"}:
        yield value["email"]


def candidates(request):
    for path in places(request):
        yield changed(request, path, None)
    for path in places(request):
        try:
            value = get(request, path)
            for new in smaller_values(path, value):
                yield changed(request, path, new)
        except (LookupError, ValueError):
            continue


def shrink(request, still_fails):
    """The smallest request found within the time; `still_fails` must be true of each step."""
    end, tries, moved = time.monotonic() + SECONDS, 0, True
    while moved:
        moved = False
        for smaller in candidates(request):
            tries += 1
            if tries > TRIES or time.monotonic() > end:
                return request
            if still_fails(smaller):
                request, moved = smaller, True
                break
    return request
