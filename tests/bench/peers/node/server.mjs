// The commonest choice: fastify + nodemailer with a connection pool.
import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
const require = createRequire(process.env.NODE_MODULES_AT + '/')
const Fastify = require('fastify'), nodemailer = require('nodemailer')
const e = process.env
const transport = nodemailer.createTransport({
  host: e.SMTP_HOST, port: +e.SMTP_PORT, secure: false, requireTLS: true,
  pool: true, maxConnections: +e.SMTP_SESSIONS,
  maxMessages: e.MAX_MESSAGES ? +e.MAX_MESSAGES : Infinity,   // nodemailer's default is 100
  auth: { user: e.SMTP_USER, pass: e.SMTP_PASS },
  tls: { ca: readFileSync(e.SMTP_CA) },
  disableFileAccess: true, disableUrlAccess: true
})
const app = Fastify({ logger: false, bodyLimit: 40 << 20 })
const schema = { body: { type: 'object', required: ['from', 'to', 'subject'], properties: {
  from: { type: 'string' }, to: { type: 'array', items: { type: 'string' } }, subject: { type: 'string' },
  text: { type: 'string' }, html: { type: 'string' },
  attachments: { type: 'array', items: { type: 'object', required: ['filename', 'content'], properties: {
    filename: { type: 'string' }, content_type: { type: 'string' }, content: { type: 'string' } } } } } } }
app.post('/v1/emails', { schema }, async (req, reply) => {
  const m = req.body
  try {
    const info = await transport.sendMail({
      from: m.from, to: m.to, subject: m.subject, text: m.text, html: m.html,
      attachments: m.attachments?.map(a =>
        ({ filename: a.filename, contentType: a.content_type, content: a.content, encoding: 'base64' }))
    })
    return { id: info.messageId, response: info.response }
  } catch (err) { reply.code(err.responseCode >= 500 ? 422 : 503); return { error: err.message } }
})
app.get('/healthz', async () => 'ok')
process.on('SIGTERM', () => process.exit(0))
app.listen({ host: '127.0.0.1', port: +e.PORT })
