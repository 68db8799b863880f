// Programs that are wrong do not compile: each line behind a mark is one, and a mark without a mistake is an error too.
import createClient from "openapi-fetch";
import type { components, paths } from "./mailhatch.js";

export async function mistakes(): Promise<void> {
  const api = createClient<paths>({ baseUrl: "" });

  // @ts-expect-error: a misspelt field
  const mail: components["schemas"]["Email"] = { from: "ann@example.com", to: "bob@example.org", sbject: "Hello" };
  await api.POST("/v1/emails", { body: mail });
  // @ts-expect-error: a number is no address
  await api.POST("/v1/emails", { body: { from: "ann@example.com", to: 7, text: "" } });
  // @ts-expect-error: no sender
  await api.POST("/v1/emails", { body: { to: "bob@example.org", text: "" } });
  // @ts-expect-error: not a word of partial
  await api.POST("/v1/emails", { body: { from: "ann@example.com", to: "bob@example.org", text: "", partial: "maybe" } });
  // @ts-expect-error: no such path
  await api.POST("/v1/email", { body: {} });
  // @ts-expect-error: no such method
  await api.DELETE("/v1/emails");
  // @ts-expect-error: the name is missing
  await api.GET("/v1/relays/{name}");

  const { data, error } = await api.POST("/v1/emails", { body: { from: "ann@example.com", to: "bob@example.org" } });
  // @ts-expect-error: the result may be missing
  data.id.toString();
  // @ts-expect-error: no such status
  if (data?.status === "delivered") return;
  // @ts-expect-error: no such code
  if (error?.code === "recipient_rejected") return;
  // @ts-expect-error: no such stage
  if (error?.stage === "smtp") return;
  // @ts-expect-error: a problem has no such member
  console.log(error?.reason);
  // @ts-expect-error: an attachment needs its content
  const attachment: components["schemas"]["Attachment"] = { filename: "a.txt" };
  console.log(attachment);
}
