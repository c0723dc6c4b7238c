// Asks a service by HTTP/2 over TLS, as a browser does: pages and assets compressed, events as they happen.
//
// `address`, `certificate` (a file) and `token`: the service. `pages`: their paths.
// Returns what was seen; nothing here judges.

import { connect } from "node:http2";
import { readFileSync } from "node:fs";
import { connect as connectByTls } from "node:tls";
import { gunzipSync } from "node:zlib";

const given = JSON.parse(readFileSync(process.argv[2], "utf8"));
const { port } = new URL(given.address);
const ca = readFileSync(given.certificate);
// Both versions are offered, as browsers do; the service chooses.
const createConnection = () => connectByTls({ host: "127.0.0.1", port, servername: "localhost", ca, ALPNProtocols: ["h2", "http/1.1"] });
const session = connect(`https://localhost:${port}`, { createConnection });

/** Begins a request. Returns the stream, when the answer begins. */
function begin(method, path, headers = {}, body = "") {
  const stream = session.request({ ":method": method, ":path": path, ...headers });
  // One of GET ends at once.
  if (method !== "GET") stream.end(body);
  return new Promise((resolve, reject) => {
    stream.on("error", reject);
    stream.on("response", (answer) => resolve({ stream, headers: answer }));
  });
}

async function ask(method, path, headers, body) {
  const answer = await begin(method, path, headers, body);
  const chunks = [];
  for await (const chunk of answer.stream) chunks.push(chunk);
  return { status: answer.headers[":status"], headers: answer.headers, body: Buffer.concat(chunks) };
}

/** Asks for a path with compression and without. */
async function sizes(path, cookie) {
  const plain = await ask("GET", path, { cookie });
  const packed = await ask("GET", path, { cookie, "accept-encoding": "gzip, deflate, br, zstd" });
  const encoding = packed.headers["content-encoding"] ?? "";
  return { status: packed.status, encoding, size: plain.body.length, compressed: packed.body.length, text: (encoding === "gzip" ? gunzipSync(packed.body) : packed.body).toString("utf8") };
}

try {
  const form = { "content-type": "application/x-www-form-urlencoded", "sec-fetch-site": "same-origin" };
  const signedIn = await ask("POST", "/console/sign-in", form, `token=${given.token}&next=/console`);
  const cookie = signedIn.headers["set-cookie"][0].split(";")[0];
  const result = { protocol: session.alpnProtocol, status: signedIn.status, pages: {}, assets: {} };
  const addresses = new Set();
  for (const path of given.pages) {
    const { text, ...page } = await sizes(path, cookie);
    result.pages[path] = page;
    for (const [address] of text.matchAll(/\/console\/assets\/[^"]+/g)) addresses.add(address);
  }
  for (const address of addresses) {
    const { text, ...asset } = await sizes(address, cookie);
    result.assets[address.split("/").at(-1)] = asset;
  }

  const live = await begin("GET", "/console/live", { cookie, accept: "text/event-stream", "accept-encoding": "gzip" });
  result.live = { type: live.headers["content-type"], encoding: live.headers["content-encoding"] ?? "", arrived: false };
  const api = { authorization: `Bearer ${given.token}`, "content-type": "application/json" };
  const hold = await ask("POST", "/v1/holds", api, JSON.stringify({ function: "all-reports", reason: "The event of this test" }));
  result.live.hold = hold.status;
  // Keep-alive comments come as well; without the event, the stream is left after a minute.
  const timer = setTimeout(() => live.stream.close(), 60_000);
  let seen = "";
  for await (const chunk of live.stream) {
    seen += chunk.toString("utf8");
    if (!seen.includes("The event of this test")) continue;
    result.live.arrived = true;
    break;
  }
  clearTimeout(timer);
  process.stdout.write(JSON.stringify(result));
} finally {
  session.destroy();
}
