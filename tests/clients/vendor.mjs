// Makes the third-party scripts of the console, and the documents about them: node tests/clients/vendor.mjs CLIENTS OUTPUT
//
// CLIENTS: the folder in which npm installed tests/clients/package-lock.json (`./test` does: target/tools/clients). npm has
// compared each package with the lock's digest. OUTPUT: src/console/assets. The same lock makes the same bytes; a test compares.
// To update: change tests/clients/package.json, `npm install --package-lock-only` there, `./test`, then this script.

import { createHash } from "node:crypto";
import { createRequire } from "node:module";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";

const [clients, output] = process.argv.slice(2).map((path) => resolve(path));
const require = createRequire(join(clients, "package.json"));
const lock = JSON.parse(readFileSync(join(clients, "package-lock.json"), "utf8")).packages;

/** The parts of age that `seal.js` uses. The curve's arithmetic is for recipients that are SSH keys. */
const AGE = `
  export { Encrypter, Stanza, armor } from "age-encryption";
  export { ed25519, x25519 } from "@noble/curves/ed25519.js";
  export { chacha20poly1305 } from "@noble/ciphers/chacha.js";
  export { hkdf } from "@noble/hashes/hkdf.js";
  export { sha256 } from "@noble/hashes/sha2.js";
`;

/** The parts of MSAL.js that `delegate.js` uses. */
const MSAL = 'export { CacheLookupPolicy, InteractionRequiredAuthError, PublicClientApplication } from "@azure/msal-browser";';

/** Licences as SPDX names them, where npm's record of a package does not. */
const LICENCES = { "BSD-0-Clause": "0BSD" };

const build = (contents) => require("esbuild").build({
  stdin: { contents, resolveDir: clients },
  bundle: true,
  format: "esm",
  minify: true,
  target: "es2022",
  legalComments: "eof",
  metafile: true,
  write: false,
  absWorkingDir: clients,
});

/** The folders of the packages that a bundle has something of, in the order of the lock. */
function packagesOf({ inputs }) {
  const files = Object.keys(inputs).filter((file) => file.startsWith("node_modules/"));
  const folders = files.map((file) => Object.keys(lock).filter((folder) => folder && file.startsWith(`${folder}/`)).sort((a, b) => b.length - a.length)[0]);
  return [...new Set(folders)].sort();
}

const describe = (folder) => {
  const { version, integrity, license } = lock[folder];
  return { package: folder.split("node_modules/").pop(), version, integrity, licence: LICENCES[license] ?? license };
};

const bundled = async (file, contents) => {
  const bundle = await build(contents);
  const made = `esbuild ${lock["node_modules/esbuild"].version}, by tests/clients/vendor.mjs`;
  return { file, bytes: Buffer.from(bundle.outputFiles[0].contents), folders: packagesOf(bundle.metafile), made };
};

const files = [
  await bundled("age.js", AGE),
  await bundled("msal.js", MSAL),
  ...[["htmx.min.js", "dist/htmx.min.js"], ["hx-sse.min.js", "dist/ext/hx-sse.min.js"]].map(([file, path]) => ({
    file, bytes: readFileSync(join(clients, "node_modules/htmx.org", path)), folders: ["node_modules/htmx.org"], made: `${path} of the package`,
  })),
];

mkdirSync(output, { recursive: true });
for (const { file, bytes } of files) writeFileSync(join(output, file), bytes);

const documents = files.map(({ file, bytes, folders, made }) => ({
  file, sha256: createHash("sha256").update(bytes).digest("hex"), made, packages: folders.map(describe),
}));
writeFileSync(join(output, "vendor.json"), `${JSON.stringify(documents, null, 2)}\n`);

// For the bill of materials of a release (packaging/build): a component a line.
const components = [...new Set(files.flatMap(({ folders }) => folders))].map(describe).map(({ package: name, version, integrity, licence }) => ({
  type: "library",
  "bom-ref": `pkg:npm/${name.replace("@", "%40")}@${version}`,
  name,
  version,
  scope: "required",
  hashes: [{ alg: "SHA-512", content: Buffer.from(integrity.replace("sha512-", ""), "base64").toString("hex") }],
  licenses: [{ expression: licence }],
  purl: `pkg:npm/${name.replace("@", "%40")}@${version}`,
}));
writeFileSync(join(output, "vendor.cdx.json"), `[\n${components.map((component) => JSON.stringify(component)).join(",\n")}\n]\n`);

const seen = new Map();
for (const folder of files.flatMap(({ folders }) => folders)) {
  const { package: name, version, licence } = describe(folder);
  const text = readFileSync(join(clients, folder, "LICENSE"), "utf8").replace(/\r\n/g, "\n").trim();
  // Several packages of one author have one text.
  seen.set(text, [...new Set([...(seen.get(text) ?? []), `${name} ${version} (${licence})`])]);
}
const texts = [...seen].map(([text, names]) => `${names.join(", ")}\n\n${text}\n`);
writeFileSync(join(output, "licences.txt"), `Parts of the console that others have written.\n\n${texts.join(`\n${"-".repeat(72)}\n\n`)}`);
