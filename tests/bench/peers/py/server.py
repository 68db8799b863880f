"""The Python peer: aiohttp and aiosmtplib (Debian's), uvloop, a pool of persistent sessions."""
import asyncio
import base64
import os
import ssl
from email.message import EmailMessage
from email.utils import formatdate, make_msgid

import aiosmtplib
import uvloop
from aiohttp import web

ENV = os.environ
TLS = ssl.create_default_context(cafile=ENV["SMTP_CA"])


async def connect():
    session = aiosmtplib.SMTP(hostname=ENV["SMTP_HOST"], port=int(ENV["SMTP_PORT"]), use_tls=False, start_tls=True,
                              tls_context=TLS, username=ENV["SMTP_USER"], password=ENV["SMTP_PASS"], timeout=30)
    await session.connect()
    return session


def compose(fields):
    mail = EmailMessage()
    mail["From"] = fields["from"]
    mail["To"] = ", ".join(fields["to"])
    mail["Subject"] = fields["subject"]
    mail["Date"] = formatdate()
    mail["Message-ID"] = make_msgid(domain="example.com")
    if fields.get("text"):
        mail.set_content(fields["text"])
        if fields.get("html"):
            mail.add_alternative(fields["html"], subtype="html")
    else:
        mail.set_content(fields["html"], subtype="html")
    for attachment in fields.get("attachments", ()):
        maintype, subtype = attachment.get("content_type", "application/octet-stream").split("/", 1)
        mail.add_attachment(base64.b64decode(attachment["content"]), maintype=maintype, subtype=subtype,
                            filename=attachment["filename"])
    return mail


async def send(request):
    mail = compose(await request.json())
    pool = request.app["pool"]
    session = await pool.get()
    try:
        for _ in range(2):
            fresh = session is None
            session = session or await connect()
            try:
                await session.send_message(mail)
                break
            except aiosmtplib.SMTPServerDisconnected:
                session = None
                if fresh:
                    raise
    except aiosmtplib.SMTPException as error:
        return web.json_response({"error": str(error)}, status=503)
    finally:
        pool.put_nowait(session)
    return web.json_response({"status": "sent"})


async def fill_pool(app):
    app["pool"] = asyncio.Queue()
    for _ in range(int(ENV["SMTP_SESSIONS"])):
        app["pool"].put_nowait(None)


def main():
    app = web.Application(client_max_size=40 << 20)
    app.router.add_post("/v1/emails", send)
    app.on_startup.append(fill_pool)
    uvloop.install()
    web.run_app(app, host="127.0.0.1", port=int(ENV["PORT"]), print=None, access_log=None)


if __name__ == "__main__":
    main()
