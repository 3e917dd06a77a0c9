// What moves on an open page: it is fetched again when the portal says that something changed, and morphed in place,
// so that focus, typed text, open folds and scroll stay. Without this script every page works; it only stands still.
(() => {
  "use strict";
  const main = () => document.getElementById("live");
  const all = (selector) => document.querySelectorAll(selector);

  // Times in the reader's zone; the UTC time stays on hover.
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

  function said(format, at) {
    const seconds = now() - at / 1000;
    if (format === "lasting") return `for ${length(seconds)}`;
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

  // The downtime so far. Written as the server writes it: 0.4 s, 12.0 s, 1 min 5 s.
  function paintClocks() {
    for (const clock of all(".clock[data-down-before]")) {
      const since = Number(clock.dataset.downSince || 0);
      const down = Number(clock.dataset.downBefore) + (since ? Math.max(0, now() - since) : 0);
      const whole = Math.floor(down);
      write(clock.querySelector(".now"), whole < 60 ? `${down.toFixed(1)} s` : `${Math.floor(whole / 60)} min ${whole % 60} s`);
      const bar = clock.querySelector("meter");
      if (bar) bar.value = down;
    }
  }

  function paint() { paintTimes(); paintClocks(); }

  // Refreshing: one request at a time, and at most one more after it.
  const opened = new WeakSet(); // the folds that the reader opened or closed: theirs to decide
  const KEEP = 3; // pixels from the end that still count as "at the end"
  let busy = false, again = false, waiting = false;

  function typing() {
    const node = document.activeElement;
    return Boolean(node?.matches?.("textarea, input:not([type=checkbox], [type=radio], [type=submit])") &&
      main().contains(node) && node.value !== node.defaultValue);
  }

  async function refresh() {
    if (document.hidden || typing()) { waiting = true; return; }
    if (busy) { again = true; return; }
    busy = true; waiting = false;
    try {
      const response = await fetch(location.href, { headers: { "HX-Request": "true", "HX-Request-Type": "full" } });
      if (response.redirected && new URL(response.url).pathname !== location.pathname) location.reload();
      else if (response.ok && !typing()) await swap(await response.text());
      else waiting = true;
    } catch { waiting = true; } finally {
      busy = false;
      if (again) { again = false; refresh(); }
    }
  }

  async function swap(text) {
    const away = new Set();
    for (const pane of all("pre.machine[id]"))
      if (pane.scrollTop + pane.clientHeight < pane.scrollHeight - KEEP) away.add(pane.id);
    await htmx.swap({ text, target: main(), sourceElement: main(), select: "#live", swap: "outerMorph" });
    follow(away);
  }

  function follow(away = new Set()) {
    for (const pane of all("pre.machine[id]")) if (!away.has(pane.id)) pane.scrollTop = pane.scrollHeight;
  }

  let lost = 0; // the timer that tells of a lost connection
  function listen() {
    const source = new EventSource(document.body.dataset.live);
    source.addEventListener("change", refresh);
    source.addEventListener("open", () => {
      if (lost) refresh();
      clearTimeout(lost);
      lost = 0;
      document.getElementById("offline").hidden = true;
    });
    source.addEventListener("error", () => {
      lost ||= setTimeout(() => { document.getElementById("offline").hidden = false; }, 2000);
      if (source.readyState === EventSource.CLOSED) setTimeout(listen, 5000);
    });
    addEventListener("pagehide", () => source.close());
  }

  htmx.registerExtension("folds", {
    htmx_before_morph_attr: (node, detail) => !(detail.attrName === "open" && opened.has(node)),
  });

  addEventListener("DOMContentLoaded", () => {
    const clock = document.querySelector(".clock[data-now]");
    if (clock && Math.abs(Date.now() / 1000 - clock.dataset.now) > 3) skew = Date.now() / 1000 - clock.dataset.now;
    paint();
    follow();
    setInterval(paintClocks, 100);
    setInterval(paintTimes, 1000);
    document.addEventListener("click", (event) => {
      const link = event.target.closest?.("a[data-fill]");
      if (!link) return;
      event.preventDefault();
      document.querySelector("input[list]").value = link.dataset.fill;
      for (const each of all("a[data-fill]")) each.toggleAttribute("aria-current", each === link);
    });
    if (!document.body.dataset.live || !document.body.dataset.topic) return;
    new MutationObserver(paint).observe(document.body, { childList: true, subtree: true, characterData: true });
    document.addEventListener("click", (event) => {
      const summary = event.target.closest?.("summary");
      if (summary) opened.add(summary.parentElement);
    });
    document.addEventListener("focusout", () => { if (waiting) setTimeout(refresh, 300); });
    document.addEventListener("visibilitychange", () => { if (!document.hidden && waiting) refresh(); });
    listen();
  });
})();
