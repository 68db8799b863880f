"""Writes the deterministic payloads (1k, 20k, 1m as JSON; 1m-form as multipart/form-data) to the folder given."""
import base64
import json
import os
import random
import sys

WORDS = ("invoice order ticket please confirm your address delivery meeting account thank regards team update monthly "
         "report").split()
NOT_ASCII = ["Grüße", "naïve", "café", "łódź", "日本語", "→", "€42"]
DICE = random.Random(1)


def prose(size, share_not_ascii=0.0):
    """Words in lines of some 70 columns, about so many bytes."""
    parts, length, column = [], 0, 0
    while length < size:
        foreign = share_not_ascii and DICE.random() < share_not_ascii
        word = DICE.choice(NOT_ASCII) if foreign else DICE.choice(WORDS)
        word += "\n" if column > 66 else " "
        column = 0 if word[-1] == "\n" else column + len(word)
        parts.append(word)
        length += len(word.encode())
    return "".join(parts)[:size]


def html():
    rows = "".join(f'<tr class="row"><td style="padding:4px 8px">{prose(60, .04).strip()}</td>'
                   f'<td align="right">{i * 7 % 100}.00 &euro;</td></tr>\n' for i in range(118))
    return f"<!doctype html>\n<html><body>\n{rows}</body></html>\n"


def form(payload):
    """The same mail as a form, its file as it is."""
    parts = []
    for name in ("from", "subject", "text"):
        parts.append(f'Content-Disposition: form-data; name="{name}"\r\n\r\n{payload[name]}'.encode())
    parts.append(f'Content-Disposition: form-data; name="to"\r\n\r\n{payload["to"][0]}'.encode())
    for file in payload["attachments"]:
        head = (f'Content-Disposition: form-data; name="attachment"; filename="{file["filename"]}"\r\n'
                f'Content-Type: {file["content_type"]}\r\n\r\n')
        parts.append(head.encode() + base64.b64decode(file["content"]))
    return b"".join(b"--bench\r\n" + part + b"\r\n" for part in parts) + b"--bench--\r\n"


def main(folder):
    base = {"from": "a@example.com", "to": ["b@example.net"]}
    file = {"filename": "x.bin", "content_type": "application/octet-stream"}
    payloads = {
        "1k": dict(base, subject="Your order 4711 has shipped", text=prose(1024)),
        "20k": dict(base, subject="Monatsübersicht März", text=prose(4096, .04), html=html()),
        "1m": dict(base, subject="Report attached", text=prose(1024),
                   attachments=[dict(file, content=base64.b64encode(DICE.randbytes(1 << 20)).decode())]),
    }
    os.makedirs(folder, exist_ok=True)
    for name, payload in payloads.items():
        with open(f"{folder}/{name}.json", "wb") as out:
            out.write(json.dumps(payload, ensure_ascii=False, separators=(",", ":")).encode())
    with open(f"{folder}/1m-form.json", "wb") as out:      # all payloads have one suffix, whatever they are
        out.write(form(payloads["1m"]))


if __name__ == "__main__":
    main(sys.argv[1])
