// A client made from the contract, against the running service: client.js SERVICE BROKEN KEY. SERVICE has the sandbox,
// BROKEN a relay that refuses connections; KEY opens both. Prints a line for each case and ends with 1 when one is wrong.
import createClient from "openapi-fetch";
import type { components, paths } from "./mailhatch.js";

type Problem = components["schemas"]["Problem"];
type Email = components["schemas"]["Email"];

declare const process: { argv: string[]; exitCode?: number };

const [, , service = "", broken = "", key = ""] = process.argv;
const options = { headers: { Authorization: `Bearer ${key}` } };
const mail: Email = { from: "Ann <ann@example.com>", to: "bob@example.org", subject: "Hello", text: "It works." };

function check(what: string, ok: boolean, seen: unknown): void {
  console.log(`${ok ? "ok" : "FAIL"}: ${what}${ok ? "" : `: ${JSON.stringify(seen)}`}`);
  if (!ok) process.exitCode = 1;
}

// What an application does with a problem: the code decides, the types know all of them.
function advice(problem: Problem): string {
  switch (problem.code) {
    case "validation_failed":
      return (problem.errors ?? []).map((e) => `${e.pointer}: ${e.detail}`).join("; ");
    case "outcome_unknown":
      return `do not repeat ${problem.id}`;
    case "connect_refused":
    case "recipients_rejected":
      return problem.hint;
    default:
      return problem.retryable ? "try again" : problem.detail;
  }
}

async function main(): Promise<void> {
  const api = createClient<paths>({ baseUrl: service, ...options });

  const sent = await api.POST("/v1/emails", { body: mail });
  check("a mail is sent", sent.data?.status === "sent" && sent.response.status === 200, sent);
  check("its recipient is told", sent.data?.recipients[0]?.status === "accepted", sent.data);
  check("its TLS is told", sent.data?.tls?.verified === true, sent.data);

  const file = await api.POST("/v1/emails", {
    body: {
      ...mail,
      to: ["bob@example.org", { email: "carol@example.org", name: "Carol" }],
      html: '<img src="cid:logo">',
      attachments: [
        { filename: "note.txt", content: "SGkgQm9iCg==" },
        { filename: "logo.gif", content_id: "logo", content: "R0lGODlh" },
      ],
      on_temporary_failure: "retry",
    },
    params: { header: { "X-Request-Id": "client-1" } },
  });
  check("a mail with files", file.data?.status === "sent", file);
  check("the request's id comes back", file.response.headers.get("X-Request-Id") === "client-1", file.response.headers);

  const batch = await api.POST("/v1/emails/batch", { body: [mail, { ...mail, to: "bob@fail.test" }] });
  const answers = batch.data?.data ?? [];
  check("a batch of two", batch.response.status === 207 && answers.length === 2, batch);
  const problems = answers.filter((a): a is Problem => "code" in a);
  check("one of them failed", problems.length === 1 && problems[0]?.code === "recipients_rejected", answers);

  const wrong = await api.POST("/v1/emails", { body: { ...mail, to: "bob@" } });
  check("a mistake", wrong.error?.code === "validation_failed" && advice(wrong.error).startsWith("/to:"), wrong.error);

  const refused = await api.POST("/v1/emails", { body: { ...mail, to: "bob@fail.test" } });
  check("a refusal", refused.error?.delivery === "rejected" && !refused.error.retryable, refused.error);

  const other = createClient<paths>({ baseUrl: broken, ...options });
  const down = await other.POST("/v1/emails", { body: { ...mail, diagnose: true } });
  check("a relay that is down", down.error?.code === "connect_refused", down.error);
  check("nothing was sent", down.error?.delivery === "not_sent" && down.error.stage === "connect", down.error);
  check("the hint names it", down.error !== undefined && advice(down.error).includes("127.0.0.1"), down.error);
  check("the diagnosis is there", down.error?.diagnosis?.failed_at === "tcp", down.error);

  const relay = await other.GET("/v1/relays/{name}", { params: { path: { name: "default" } } });
  check("the relay's last error", relay.data?.last_error?.code === "connect_refused", relay);
  const looked = await api.POST("/v1/relays/{name}/diagnose", { params: { path: { name: "sandbox" } }, body: {} });
  check("a diagnosis", looked.data?.ok === true, looked);

  const stranger = createClient<paths>({ baseUrl: service });
  const refusal = await stranger.POST("/v1/emails", { body: mail });
  check("no key", refusal.error?.code === "missing_api_key" && refusal.response.status === 401, refusal.error);

  const code = await api.GET("/v1/errors/{code}", { params: { path: { code: "starttls_not_offered" } } });
  check("a code's meaning", code.data?.status === 502, code);
}

await main();
