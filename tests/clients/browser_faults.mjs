// Shows pages with known faults to the checks of `browser.mjs`, and a page without any. Returns the problems by page.

import { checkPages, given, serve, withBrowser } from "./browser.mjs";

const css = `
  :root { color-scheme: light dark; }
  body { margin: 1rem; font: 1rem sans-serif; background: Canvas; color: CanvasText; }
  a, button, summary { display: inline-block; min-height: 1.5rem; }
  .scroll { overflow-x: auto; }
  td, th { white-space: nowrap; padding: 0 2rem; }
  .wide { min-width: 60rem; }
  .unmarked:focus { outline: none; }
  @media (prefers-color-scheme: dark) { .pale { color: #333; background: #222; } }
`;

const page = (body, head = "") => ({
  body: `<!doctype html><html lang="en"><head><title>A page</title><meta name="viewport" content="width=device-width">
    <link rel="stylesheet" href="/style.css">${head}</head><body><a href="#main">Skip to the contents</a><main id="main" tabindex="-1"><h1>A page</h1>${body}</main></body></html>`,
});

const table = `<table><caption>Cells</caption><tr>${"<th scope=col>A heading</th>".repeat(9)}</tr></table>`;
const form = (field, button = "<button>Save</button>") => `<form method="post" action="/posted">${field}${button}</form>`;

const texts = {
  "/style.css": { type: "text/css", body: css },
  "/trap.js": {
    type: "text/javascript",
    body: "document.getElementById('trap').addEventListener('keydown', (event) => { if (event.key === 'Tab') event.preventDefault(); });",
  },
  "/throws.js": { type: "text/javascript", body: "throw new Error('a fault of the script');" },
  "/sound": page(
    form("<label>Name <input name=name></label><fieldset><legend>One of</legend><label><input type=radio name=one value=a> a</label><label><input type=radio name=one value=b> b</label></fieldset><details><summary>More</summary><a href='/sound'>inside</a></details>") +
      `<div class="scroll" role="region" aria-label="Cells" tabindex="0">${table}</div>`,
  ),
  "/label": page(form("<input name=name>")),
  "/pale": page("<p class=pale>Hardly seen in the dark.</p>"),
  "/wide": page(`${table}<p class=wide>Wide</p>`),
  "/unmarked": page("<a class=unmarked href='/sound'>Another page</a>"),
  "/trap": page(form("<label>Name <input id=trap></label>"), "<script src='/trap.js' defer></script>"),
  "/unreachable": page("<div id=opens tabindex=0>Opens</div><a id=after href='/sound'>After</a><input aria-label=Last autofocus>", "<script src='/skip.js' defer></script>"),
  "/skip.js": {
    type: "text/javascript",
    body: "document.getElementById('opens').addEventListener('focus', () => document.querySelector('input').focus()); document.querySelector('a').remove();",
  },
  "/inline": page("<script>document.title = 'x';</script>"),
  "/throws": page("", "<script src='/throws.js'></script>"),
  "/missing": page("<img alt='A picture' src='/no-such-file.png'>"),
  "/button": page("<button type=button>Does nothing</button>" + form("<label>Name <input name=name></label>", "")),
};

await withBrowser(async (browser) => {
  const server = await serve(texts);
  try {
    const names = Object.keys(texts).filter((path) => !path.includes("."));
    const pages = [...names, "/nowhere"].map((path) => ({ name: path.slice(1), path }));
    given.screenshots += "/faults";
    return await checkPages(browser, server.address, pages);
  } finally {
    server.close();
  }
});
