// Opens each page of a service in every way that pages must withstand, and returns the problems by page.
//
// `given.pages`: name and path of each. `given.address` and `given.token`: the service.

import { checkPages, given, withBrowser } from "./browser.mjs";

await withBrowser((browser) => checkPages(browser, given.address, given.pages, given.token));
