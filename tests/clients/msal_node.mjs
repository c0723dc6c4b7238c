// Obtains tokens from the sandbox with MSAL for Node, then reads and sends with Microsoft's Graph client.

import assert from "node:assert/strict";
import { createHash, randomBytes } from "node:crypto";
import { readFileSync } from "node:fs";
import { ConfidentialClientApplication, PublicClientApplication } from "@azure/msal-node";
import { BatchRequestContent, BatchResponseContent, Client, LargeFileUploadTask, PageIterator, GraphError } from "@microsoft/microsoft-graph-client";

const given = JSON.parse(readFileSync(process.argv[2], "utf8"));
const authority = `${given.address}/${given.tenant}`;
const scopes = [`${given.address}/.default`];
const ok = (flow) => console.log("ok", flow);
const host = new URL(given.address).host;
const auth = (clientId, more) => ({ auth: { clientId, authority, knownAuthorities: [host], ...more } });

// --- tokens

const bySecret = new ConfidentialClientApplication(auth(given.direct, { clientSecret: given.secret }));
const direct = await bySecret.acquireTokenByClientCredential({ scopes });
assert.ok(direct.accessToken);
ok("client credentials, secret");

const pem = readFileSync(given.certificate, "utf8");
const der = Buffer.from(pem.replace(/-----[^-]+-----|\s/g, ""), "base64");
const clientCertificate = {
  thumbprintSha256: createHash("sha256").update(der).digest("hex"),
  privateKey: readFileSync(given.key, "utf8"),
};
const byCertificate = new ConfidentialClientApplication(auth(given.direct, { clientCertificate }));
assert.ok((await byCertificate.acquireTokenByClientCredential({ scopes })).accessToken);
ok("client credentials, certificate");

const wrong = new ConfidentialClientApplication(auth(given.direct, { clientSecret: "wrong" }));
await assert.rejects(wrong.acquireTokenByClientCredential({ scopes }), (error) => {
  assert.equal(error.errorCode, "invalid_client");
  assert.match(error.message, /7000215/);
  return true;
});
ok("a wrong secret");

const application = new PublicClientApplication(auth(given.public));
const byDevice = await application.acquireTokenByDeviceCode({
  scopes: [`${given.address}/User.Read`],
  deviceCodeCallback: ({ userCode }) => assert.ok(userCode),
});
assert.ok(byDevice.accessToken);
ok("device code");

const verifier = randomBytes(32).toString("base64url");
const codeChallenge = createHash("sha256").update(verifier).digest("base64url");
const asked = { scopes: [`${given.address}/Mail.Send`], redirectUri: "https://localhost" };
const address = await application.getAuthCodeUrl({
  ...asked, codeChallenge, codeChallengeMethod: "S256", loginHint: given.user,
});
const page = await fetch(address, { redirect: "manual" });
const code = new URL(page.headers.get("location")).searchParams.get("code");
const signedIn = await application.acquireTokenByCode({ ...asked, code, codeVerifier: verifier });
assert.equal(signedIn.account.username, given.user);
ok("authorization code with PKCE");

const silent = await application.acquireTokenSilent({ scopes: asked.scopes, account: signedIn.account, forceRefresh: true });
assert.notEqual(silent.accessToken, signedIn.accessToken);
ok("refresh token");

// --- Graph

const reader = new ConfidentialClientApplication(auth(given.reader, { clientSecret: given.readerSecret }));
const client = (application) => Client.init({
  baseUrl: `${given.address}/`,
  defaultVersion: "v1.0",
  customHosts: new Set(["localhost"]),
  authProvider: (done) => application.acquireTokenByClientCredential({ scopes }).then((token) => done(null, token.accessToken), done),
});
const directory = client(reader);

const first = await directory.api("/applications").select("appId").top(2).get();
assert.equal(first.value.length, 2);
assert.deepEqual(Object.keys(first.value[0]), ["appId"]);
const ids = [];
await new PageIterator(directory, first, (item) => ids.push(item.appId) > 0).iterate();
assert.equal(new Set(ids).size, given.applications);
ok("pages");

const user = await directory.api(`/users/${given.user}`).select("id,userPrincipalName").get();
assert.equal(user.userPrincipalName, given.user);
await assert.rejects(directory.api("/users/nobody@contoso.example").get(), (error) => {
  assert.ok(error instanceof GraphError);
  assert.equal(error.statusCode, 404);
  assert.equal(error.code, "Request_ResourceNotFound");
  assert.ok(error.requestId);
  return true;
});
await assert.rejects(client(bySecret).api("/users").get(), (error) => error.statusCode === 403 && error.code === "Authorization_RequestDenied");
ok("users");

const batch = new BatchRequestContent(["/users", "/applications", "/nowhere"].map((path, index) => ({
  id: String(index), request: new Request(`${given.address}${path}`, { method: "GET" }),
})));
const answers = new BatchResponseContent(await directory.api("/$batch").post(await batch.getContent()));
assert.deepEqual(["0", "1", "2"].map((id) => answers.getResponseById(id).status), [200, 200, 400]);
ok("batch");

await fetch(`${given.address}/sandbox/faults`, {
  method: "POST",
  headers: { "content-type": "application/json" },
  body: JSON.stringify({ at: "/v1.0/organization", times: 1, status: 429, retryAfter: 1 }),
});
const [organization] = (await directory.api("/organization").get()).value;
assert.ok(organization.verifiedDomains.some((domain) => domain.name === given.tenant));
ok("429, tried again after the time that it names");

const sender = client(bySecret);
await sender.api(`/users/${given.sender}/sendMail`).post({
  message: {
    subject: "An invoice",
    body: { contentType: "Text", content: "Here it is." },
    toRecipients: [{ emailAddress: { address: "customer@elsewhere.example" } }],
  },
});
const mail = async () => (await fetch(`${given.address}/sandbox/mail`)).json();
assert.equal((await mail()).at(-1).mail.subject, "An invoice");
ok("sendMail");

const writer = client(new ConfidentialClientApplication(auth(given.writer, { clientSecret: given.writerSecret })));
const draft = await writer.api(`/users/${given.sender}/messages`).post({
  subject: "A large one", toRecipients: [{ emailAddress: { address: "customer@elsewhere.example" } }],
});
const content = new Uint8Array(5 * 1024 * 1024);
const session = await LargeFileUploadTask.createUploadSession(
  writer, `${given.address}/v1.0/users/${given.sender}/messages/${draft.id}/attachments/createUploadSession`,
  { AttachmentItem: { attachmentType: "file", name: "plan.pdf", size: content.length } },
);
const file = { content, name: "plan.pdf", size: content.length };
const upload = new LargeFileUploadTask(
  writer,
  { content: file.content, name: file.name, size: file.size, sliceFile: (range) => content.slice(range.minValue, range.maxValue + 1) },
  session,
  { rangeSize: 2 * 1024 * 1024 },
);
await upload.upload();
await writer.api(`/users/${given.sender}/messages/${draft.id}/send`).post({});
const sent = (await mail()).at(-1).mail;
assert.deepEqual([sent.subject, sent.attachments[0].name, sent.attachments[0].size], ["A large one", "plan.pdf", content.length]);
ok("a large attachment by an upload session");
