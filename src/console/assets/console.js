// Comfort of the console: local times, and keys. Every page works without it. Elements that htmx replaces need no set-up: this
// module listens to the document only.

const language = document.documentElement.lang;
// The form that the browser is set to, if it is of the language of the page.
const locale = navigator.languages.find((one) => one.split('-')[0] === language) ?? language;
const local = new Intl.DateTimeFormat(locale, { dateStyle: 'medium', timeStyle: 'short' });

// Shows local times; the time in UTC moves to the title.
function localise(root) {
  for (const element of root.querySelectorAll('time[datetime]:not([title])')) {
    const at = new Date(element.dateTime);
    if (Number.isNaN(at.getTime())) continue;
    element.title = element.textContent;
    element.textContent = local.format(at);
  }
}
localise(document);
new MutationObserver((changes) => {
  for (const change of changes) {
    for (const node of change.addedNodes) if (node.nodeType === Node.ELEMENT_NODE) localise(node.parentNode ?? node);
  }
}).observe(document.body, { childList: true, subtree: true });

const keys = document.getElementById('keys');
const showKeys = document.getElementById('show-keys');
showKeys.hidden = false;
showKeys.addEventListener('click', () => keys.showModal());
// A click next to the dialog closes it.
keys.addEventListener('click', (event) => { if (event.target === keys) keys.close(); });

// Moves the focus to the next or previous row.
function move(step) {
  const rows = [...document.querySelectorAll('main [data-row]')];
  if (rows.length === 0) return;
  const now = rows.findIndex((row) => row.contains(document.activeElement));
  const next = now < 0 ? (step > 0 ? 0 : rows.length - 1) : Math.min(Math.max(now + step, 0), rows.length - 1);
  const target = rows[next].querySelector('a, button, input') ?? rows[next];
  target.focus();
  rows[next].scrollIntoView({ block: 'nearest' });
}

document.addEventListener('keydown', (event) => {
  const editing = event.target.closest('input:not([type=checkbox]), select, textarea, [contenteditable]');
  if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return;
  if (event.key === 'Escape' && editing && editing.matches('[data-filter]')) editing.blur();
  if (editing || keys.open) return;
  const filter = document.querySelector('[data-filter]');
  if (event.key === '/' && filter) { filter.focus(); filter.select(); }
  else if (event.key === 'j') move(1);
  else if (event.key === 'k') move(-1);
  else if (event.key === '?') keys.showModal();
  else return;
  event.preventDefault();
});

// A list that is replaced while a row has the focus would lose it. That update is left out, and a later one brings it.
document.addEventListener('htmx:sse:before:message', (event) => {
  if (document.getElementById('fresh')?.contains(document.activeElement)) event.preventDefault();
});

// A signature states the offset of the person's clock from UTC, in minutes.
document.addEventListener('submit', (event) => {
  for (const field of event.target.querySelectorAll('input[data-offset]')) field.value = String(-new Date().getTimezoneOffset());
}, { capture: true });
