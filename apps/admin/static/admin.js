// Fetches the page every two seconds and replaces its content, or shows that the fetch failed.
"use strict";
(() => {
  const PERIOD_MS = 2000;
  const LIMIT_MS = 5000; // longer than the page itself waits for the supervisor
  const main = document.querySelector("main");
  const [note, detail] = document.querySelectorAll("#connection span");
  let seen = Date.now();
  let lost = false;

  function selecting() {
    const selection = getSelection();
    return !selection.isCollapsed && main.contains(selection.anchorNode);
  }

  // Screen readers announce the note when it changes, but not the seconds beside it.
  function showConnection() {
    const words = lost ? "No connection" : selecting() ? "Paused while text is selected" : "";
    if (note.textContent !== words) note.textContent = words;
    detail.textContent = lost ? `, last seen ${Math.round((Date.now() - seen) / 1000)} s ago` : "";
    main.classList.toggle("old", lost);
  }

  function show(page) {
    if (selecting()) return;
    document.title = page.title;
    const fresh = page.querySelector("main");
    if (main.innerHTML === fresh.innerHTML) return;
    const focused = main.contains(document.activeElement) && document.activeElement.id;
    main.replaceChildren(...fresh.childNodes);
    if (focused) document.getElementById(focused)?.focus({ preventScroll: true });
  }

  async function refresh() {
    const limit = new AbortController();
    const timer = setTimeout(() => limit.abort(), LIMIT_MS);
    try {
      const headers = { Accept: "text/html" };
      const options = { cache: "no-store", headers, signal: limit.signal };
      const answer = await fetch(location.pathname, options);
      const text = await answer.text();
      if (!text.includes("<main")) {
        // Not this app. The supervisor's stand-in refreshes itself until this app is back.
        if (text.includes('http-equiv="refresh"')) location.reload();
        throw new Error("another page");
      }
      seen = Date.now();
      lost = false;
      show(new DOMParser().parseFromString(text, "text/html"));
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

  document.addEventListener("selectionchange", showConnection);
  setInterval(showConnection, 1000);
  setTimeout(run, PERIOD_MS);
})();
