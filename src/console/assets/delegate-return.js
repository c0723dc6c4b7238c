// The redirect URI of sign-ins for sending: passes the answer of Microsoft on to the page that began the sign-in.
//
// The answer is behind the `#`, which no server sees. It is passed on to a page of the console only, and MSAL.js checks there
// that it belongs to a sign-in of this tab. Nothing is kept here.

const root = document.querySelector("[data-delegate-return]");
const { page } = JSON.parse(sessionStorage.getItem("mailwright.delegate") ?? "{}");
const isOwn = typeof page === "string" && page.startsWith(`${root.dataset.delegateReturn}/console/`) && !/[\\#]|\/\//.test(page);
if (isOwn && location.hash.length > 1) location.replace(page + location.hash);
else root.hidden = false;
