// Seals values with the console's script, outside of a browser, and returns age files or the reasons for which there is none.
//
// `given.cases`: value (base64), kind, places, parts, environment and recipients of each.

import { readFileSync } from "node:fs";
import { join } from "node:path";
import { given } from "./browser.mjs";

// The files are modules for a browser. Their ending does not say so to Node.
const load = (name) => import(`data:text/javascript;base64,${readFileSync(join(given.assets, name)).toString("base64")}`);
const [sealing, age] = await Promise.all([load("seal.js"), load("age.js")]);

async function run({ value, kind, places, parts, environment, recipients }) {
  try {
    const bytes = sealing.checkValue(kind, Buffer.from(value, "base64"));
    const destination = sealing.canonicalDestination(environment, kind, places, parts);
    return { file: await sealing.seal(age, bytes, sealing.parseRecipients(recipients), destination) };
  } catch (error) {
    if (!(error instanceof sealing.Refused)) throw error;
    return { reason: error.reason };
  }
}

const results = [];
for (const one of given.cases) results.push(await run(one));
process.stdout.write(JSON.stringify({ results, reasons: sealing.REASONS }));
