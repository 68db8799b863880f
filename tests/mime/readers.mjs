// mailparser and postal-mime on what the composer wrote: frames on stdin (four octets of length, big-endian, then the
// message), one line of JSON on stdout for each, in order.
import { simpleParser } from 'mailparser';
import PostalMime from 'postal-mime';

// Without conversions of our bodies into other forms: what was sent is compared, not what could be made of it.
const options = {
    skipHtmlToText: true, skipTextToHtml: true, skipTextLinks: true, skipImageLinks: true, keepCidLinks: true,
    checksumAlgo: false, maxHtmlLengthToParse: 0,
};
const list = (v) => (v ? [].concat(v).flatMap((a) => a.value ?? a).map((a) => [a.name || '', a.address ?? null]) : []);
const base64 = (v) => Buffer.from(v).toString('base64');

async function mailparser(raw) {
    const m = await simpleParser(raw, options);
    return {
        subject: m.subject ?? null, message_id: m.messageId ?? null,
        from: list(m.from), to: list(m.to), cc: list(m.cc), bcc: list(m.bcc), reply_to: list(m.replyTo),
        text: m.text || '', html: m.html || '',
        attachments: m.attachments.map((a) => ({
            filename: a.filename ?? null, type: (a.headers.get('content-type') || {}).value ?? null, cid: a.cid ?? null,
            related: !!a.related, disposition: a.contentDisposition || null, content: base64(a.content),
        })),
    };
}

async function postal(raw) {
    const m = await PostalMime.parse(raw);
    return {
        subject: m.subject ?? null, message_id: m.messageId ?? null,
        from: list(m.from), to: list(m.to), cc: list(m.cc), bcc: list(m.bcc), reply_to: list(m.replyTo),
        text: m.text || '', html: m.html || '', headers: m.headers.map((h) => [h.originalKey, h.value]),
        attachments: m.attachments.map((a) => ({
            filename: a.filename, type: a.mimeType, cid: a.contentId ? a.contentId.replace(/^<|>$/g, '') : null,
            related: !!a.related, disposition: a.disposition || null, content: base64(a.content),
        })),
    };
}

const careful = (reader, raw) => reader(raw).catch((e) => ({ error: String(e && e.stack) }));

async function answer(raw) {
    const [m, p] = await Promise.all([careful(mailparser, raw), careful(postal, raw)]);
    process.stdout.write(JSON.stringify({ mailparser: m, 'postal-mime': p }) + '\n');
}

let held = Buffer.alloc(0);
for await (const chunk of process.stdin) {
    held = held.length ? Buffer.concat([held, chunk]) : chunk;
    while (held.length >= 4 && held.length >= 4 + held.readUInt32BE(0)) {
        const end = 4 + held.readUInt32BE(0);
        await answer(held.subarray(4, end));
        held = held.subarray(end);
    }
}
