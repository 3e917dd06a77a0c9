// What moves on an open page: it is fetched again when the portal says that something changed, and morphed in place,
// so that focus, typed text, open folds and scroll stay. Without this script every page works; it only stands still.
(() => {
  "use strict";
  const main = () => document.getElementById("live");
  const all = (selector) => document.querySelectorAll(selector);
  const tell = (id, on) => { document.getElementById(id).hidden = !on; };

  // --- times in the reader's zone; the UTC time stays on hover ---

  const FORMATS = {
    clock: new Intl.DateTimeFormat(undefined, { timeStyle: "medium", hourCycle: "h23" }),
    day: new Intl.DateTimeFormat(undefined, { month: "short", day: "numeric", hour: "2-digit", minute: "2-digit", hourCycle: "h23" }),
    moment: new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short", hourCycle: "h23" }),
  };
  const UNITS = [[86400, 2, "d"], [3600, 2, "h"], [60, 1, "min"], [1, 0, "s"]];
  let skew = 0; // seconds that this computer's clock is ahead of the portal's
  const now = () => Date.now() / 1000 - skew;

  function length(seconds) {
    const whole = Math.floor(Math.max(0, seconds));
    const [size, , unit] = UNITS.find(([size, least]) => whole >= least * size);
    return `${Math.floor(whole / size)} ${unit}`;
  }

  function measured(seconds, digits) {
    const whole = Math.floor(seconds), minutes = Math.floor(whole / 60);
    if (whole < 60) return `${seconds.toFixed(digits)} s`;
    return minutes < 60 ? `${minutes} min ${whole % 60} s` : `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
  }

  function said(format, at) {
    const seconds = now() - at / 1000;
    if (format === "lasting") return seconds < 1 ? "just now" : `for ${length(seconds)}`;
    if (format === "elapsed") return measured(Math.floor(Math.max(0, seconds)), 0);
    if (format === "ago") return Math.abs(seconds) < 1 ? "now" : seconds > 0 ? `${length(seconds)} ago` : `in ${length(-seconds)}`;
    if (format === "clock" && Math.abs(seconds) > 43200) return FORMATS.day.format(at);
    return FORMATS[format]?.format(at);
  }

  const write = (node, text) => { if (node && node.textContent !== text) node.textContent = text; };

  function paintTimes() {
    for (const node of all("time[data-format]")) {
      const at = new Date(node.dateTime);
      if (!Number.isNaN(at.getTime())) write(node, said(node.dataset.format, at) ?? node.textContent);
    }
  }

  function paintClocks() { // the downtime so far
    for (const clock of all(".clock[data-down-before]")) {
      const since = Number(clock.dataset.downSince || 0);
      const down = Number(clock.dataset.downBefore) + (since ? Math.max(0, now() - since) : 0);
      write(clock.querySelector(".now"), measured(down, 1));
      clock.querySelector("meter").value = down;
    }
  }

  function paint() { paintTimes(); paintClocks(); }

  // --- refreshing: one request at a time, and at most one more after it ---

  const opened = new WeakSet(); // the folds that the reader opened, closed or reads in: theirs to decide
  const KEEP = 3; // pixels from the end that still count as "at the end"
  let busy = false, again = false;

  // Words that nobody has sent yet: a page that has no longer a place for them is not shown over them.
  const typed = () => [...main().querySelectorAll("textarea[id], input[id]")].filter((field) => field.value !== field.defaultValue);
  const keeps = (text) => typed().every((field) => text.includes(`id="${field.id}"`));

  async function refresh() {
    if (busy) { again = true; return; }
    busy = true;
    try {
      const response = await fetch(location.href, { headers: { "HX-Request": "true", "HX-Request-Type": "full" } });
      if (response.redirected && new URL(response.url).pathname !== location.pathname) location.reload();
      else if (response.ok) {
        const text = await response.text();
        tell("outdated", !keeps(text));
        if (keeps(text)) await swap(text);
      }
    } catch { again = false; } finally { // what a lost connection left out is made up for when it is back
      busy = false;
      if (again) { again = false; refresh(); }
    }
  }

  async function swap(text) {
    const away = new Set();
    for (const pane of all("pre.machine[id]")) {
      const ended = pane.scrollTop + pane.clientHeight >= pane.scrollHeight - KEEP;
      if (!ended) away.add(pane.id);
      if (!ended || pane === document.activeElement) opened.add(pane.closest("details"));
    }
    await htmx.swap({ text, target: main(), sourceElement: main(), select: "#live", swap: "outerMorph" });
    follow(away);
  }

  function follow(away = new Set()) {
    for (const pane of all("pre.machine[id]")) if (!away.has(pane.id)) pane.scrollTop = pane.scrollHeight;
  }

  htmx.registerExtension("folds", {
    htmx_before_morph_attr: (node, detail) => !(detail.attrName === "open" && opened.has(node)),
  });

  // --- listening; not from a tab that nobody sees, because a browser opens only a few connections to one host ---

  let source = null, lost = 0;
  function listen() {
    if (source || document.hidden) return;
    source = new EventSource(document.body.dataset.live);
    source.addEventListener("change", refresh); // one comes at once: what happened meanwhile is made up for
    source.addEventListener("open", () => { clearTimeout(lost); lost = 0; tell("offline", false); });
    source.addEventListener("error", () => {
      lost ||= setTimeout(tell, 2000, "offline", true);
      if (source?.readyState === EventSource.CLOSED) { hush(); setTimeout(listen, 5000); }
    });
  }
  function hush() { source?.close(); source = null; }

  addEventListener("DOMContentLoaded", () => {
    const clock = document.querySelector(".clock[data-now]");
    if (clock && Math.abs(Date.now() / 1000 - clock.dataset.now) > 3) skew = Date.now() / 1000 - clock.dataset.now;
    paint();
    follow();
    setInterval(paintClocks, 100);
    setInterval(paintTimes, 1000);
    new MutationObserver(paint).observe(document.body, { childList: true, subtree: true, characterData: true });
    document.addEventListener("click", (event) => {
      const summary = event.target.closest?.("summary");
      if (summary) opened.add(summary.parentElement);
      const link = event.target.closest?.("a[data-fill]");
      if (!link) return;
      event.preventDefault();
      document.querySelector("input[list]").value = link.dataset.fill;
      for (const each of all("a[data-fill]")) each.removeAttribute("aria-current");
      link.setAttribute("aria-current", "true");
    });
    if (!document.body.dataset.live || !document.body.dataset.topic) return;
    document.addEventListener("visibilitychange", () => { if (document.hidden) hush(); else listen(); });
    addEventListener("pagehide", hush);
    addEventListener("pageshow", (event) => { if (event.persisted) listen(); });
    listen();
  });
})();
