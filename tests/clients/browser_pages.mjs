// Opens each page of a service in every way that pages must withstand, and returns the problems by page.
//
// `given.pages`: name and path of each, for who has signed in; `given.open`: those without a session. `given.address` and
// `given.token`: the service.

import { checkPages, given, withBrowser } from "./browser.mjs";

await withBrowser(async (browser) => ({
  ...(await checkPages(browser, given.address, given.pages, given.token)),
  ...(await checkPages(browser, given.address, given.open)),
}));
