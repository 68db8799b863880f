// Posts a body with fetch to URL again and again: node linger.mjs URL SIZE… prints a status, or the error, for each.
const [url, ...sizes] = process.argv.slice(2);
const body = new Uint8Array(Math.max(...sizes)).fill(0x20);
const post = async (size) => {
  try {
    const answer = await fetch(url, { method: 'POST', body: body.subarray(0, size) });
    return `${answer.status} ${(await answer.json()).code}`;
  } catch (e) {
    return `${e} ${e.cause}`;
  }
};
const queue = sizes.map(Number);
const worker = async () => {
  for (let size; (size = queue.shift()) !== undefined;) console.log(await post(size));
};
await Promise.all([worker(), worker(), worker(), worker()]);
