// A web application that sends a mail: POST /contact {"email": "bob@example.net", "message": "…"}.
import { createServer } from 'node:http';

const mailUrl = process.env.MAIL_URL ?? 'http://127.0.0.1:8587/v1/emails';

const server = createServer(async (request, response) => {
    const answer = (status, body) =>
        response.writeHead(status, { 'Content-Type': 'application/json' }).end(JSON.stringify(body));
    try {
        if (request.url === '/healthz') return answer(200, { status: 'ok' });
        if (request.method !== 'POST' || request.url !== '/contact') return answer(404, { error: 'not found' });
        let text = '';
        for await (const piece of request) text += piece;
        const { email, message } = JSON.parse(text);
        const sent = await fetch(mailUrl, {
            method: 'POST',
            headers: { 'Content-Type': 'application/json' },
            body: JSON.stringify({ from: 'web@example.org', to: email, subject: 'Your message', text: message }),
        });
        const result = await sent.json();
        // A mail that failed says why, and whether it may be sent again.
        if (sent.ok) answer(200, { id: result.id });
        else answer(502, { error: result.detail, hint: result.hint, retryable: result.retryable });
    } catch (error) {
        answer(500, { error: String(error) });
    }
});
server.listen(Number(process.env.PORT ?? 8080));
process.on('SIGTERM', () => server.close());
