// Fetches the live part of the page every two seconds, or shows that the fetch failed. Everything
// else on the page, the forms above all, is left alone.
"use strict";
(() => {
  const PERIOD_MS = 2000;
  const LIMIT_MS = 5000; // longer than the page itself waits for the supervisor
  const HOLD_MS = 3000; // the longest press: its end may be outside of the window
  const PATIENCE = 8; // answers of somebody else, the stand-in mostly, before it is shown
  const live = document.querySelector("[data-live]");
  const [note, detail] = document.querySelectorAll("#connection span");
  let seen = Date.now();
  let lost = false;
  let strangers = 0;
  let etag = "";
  let heldUntil = 0; // a press of a pointer or a key counts only where it began

  function busy() {
    const selection = getSelection();
    return !selection.isCollapsed && live.contains(selection.anchorNode);
  }

  // Screen readers announce the note when it changes, but not the seconds beside it.
  function showConnection() {
    const words = lost ? "No connection" : busy() ? "Paused while text is selected" : "";
    if (note.textContent !== words) note.textContent = words;
    detail.textContent = lost ? `, last seen ${Math.round((Date.now() - seen) / 1000)} s ago` : "";
    live.classList.toggle("old", lost);
  }

  function followLog(toEnd) {
    const log = live.querySelector("[data-follow]");
    if (log && toEnd) log.scrollTop = log.scrollHeight;
  }

  function atEnd() {
    const log = live.querySelector("[data-follow]");
    return !log || log.scrollTop + log.clientHeight > log.scrollHeight - 20;
  }

  // What stays the same of an element when it is replaced.
  function nameOf(one) {
    return `${one.tagName} ${one.id || one.getAttribute("aria-label") || one.textContent}`;
  }

  // Returns whether it was shown: not while somebody is in the middle of something.
  function show(text) {
    if (busy() || Date.now() < heldUntil) return false;
    const page = new DOMParser().parseFromString(text, "text/html");
    if (page.title) document.title = page.title;
    page.querySelector("title")?.remove();
    const open = [...live.querySelectorAll("details[open][id]")].map((one) => one.id);
    const toEnd = atEnd();
    const top = live.querySelector("pre.log")?.scrollTop;
    const focused = live.contains(document.activeElement) && nameOf(document.activeElement);
    live.replaceChildren(...page.head.childNodes, ...page.body.childNodes);
    for (const one of open) document.getElementById(one)?.setAttribute("open", "");
    if (focused) {
      const all = [...live.querySelectorAll("a, button, summary, [tabindex]")];
      all.find((one) => nameOf(one) === focused)?.focus({ preventScroll: true });
    }
    if (toEnd) followLog(true);
    else if (top !== undefined) live.querySelector("pre.log")?.scrollTo(0, top);
    return true;
  }

  async function refresh() {
    const limit = new AbortController();
    const timer = setTimeout(() => limit.abort(), LIMIT_MS);
    try {
      const headers = { Accept: "text/html", "X-Live": "1", "If-None-Match": etag };
      const answer = await fetch(location.href, { cache: "no-store", headers, signal: limit.signal });
      if (answer.status === 401) location.reload(); // logged out meanwhile: to the form
      if (!answer.headers.has("X-Live")) {
        // Not this app: mostly the supervisor's stand-in, while this app starts anew.
        strangers += 1;
        if (strangers >= PATIENCE) location.reload();
        throw new Error("somebody else answers");
      }
      strangers = 0;
      if (answer.status !== 304) {
        const isShown = show(await answer.text());
        etag = isShown ? answer.headers.get("ETag") || "" : "";
      }
      seen = Date.now();
      lost = false;
    } catch {
      lost = true;
    } finally {
      clearTimeout(timer);
    }
    showConnection();
  }

  async function run() {
    if (!document.hidden) await refresh();
    setTimeout(run, PERIOD_MS);
  }

  // A second press of a button would do it twice.
  document.addEventListener("submit", (event) => {
    const button = event.submitter;
    setTimeout(() => button?.setAttribute("disabled", ""), 0);
    if (event.target.enctype === "multipart/form-data") note.textContent = "Sending the archive …";
  });
  addEventListener("pageshow", () => {
    for (const one of document.querySelectorAll("button[disabled]")) one.removeAttribute("disabled");
    note.textContent = "";
  });

  if (!live) return;
  followLog(true);
  const hold = (time) => () => (heldUntil = Date.now() + time);
  for (const begin of ["pointerdown", "keydown"]) addEventListener(begin, hold(HOLD_MS));
  for (const end of ["pointerup", "keyup"]) addEventListener(end, hold(100)); // then comes the click
  document.addEventListener("selectionchange", showConnection);
  setInterval(showConnection, 1000);
  setTimeout(run, PERIOD_MS);
})();
