"use strict";
// What the other files share, the theme, and small things. Everything the script needs is on the page; text goes in as text only.

const root = document.documentElement;
const themes = ["", "light", "dark"];
const kept = { get: () => { try { return localStorage.getItem("tokbench-theme") || ""; } catch { return ""; } },
  set: (value) => { try { localStorage.setItem("tokbench-theme", value); } catch { /* a page opened from disk may have no storage */ } } };
const setTheme = (value) => { if (value) root.dataset.theme = value; else delete root.dataset.theme; };
root.dataset.script = "";
setTheme(themes.includes(kept.get()) ? kept.get() : "");
const $ = (id) => document.getElementById(id);
const all = (selector, from = document) => [...from.querySelectorAll(selector)];
// A figure as it was written: null where there is none.
const figure = (text) => (text === undefined || text === "" ? null : text === "inf" ? Infinity : text === "-inf" ? -Infinity : Number(text));

function startTheme() {
  const words = { "": "as the system", light: "light", dark: "dark" };
  const button = $("theme");
  const say = () => { button.querySelector("span").textContent = words[root.dataset.theme || ""]; };
  say();
  button.addEventListener("click", () => {
    const next = themes[(themes.indexOf(root.dataset.theme || "") + 1) % themes.length];
    setTheme(next);
    kept.set(next);
    say();
  });
}

function startRest() {
  for (const box of all(".scroll")) {
    const fade = () => box.classList.toggle("more", box.scrollLeft + box.clientWidth < box.scrollWidth - 2);
    box.addEventListener("scroll", fade, { passive: true });
    new ResizeObserver(fade).observe(box);
  }
  const copy = $("copy");
  copy.disabled = !navigator.clipboard;
  if (navigator.clipboard) {
    copy.addEventListener("click", async () => {
      try { await navigator.clipboard.writeText($("command-lines").textContent); copy.textContent = "Copied"; } catch { copy.textContent = "Select and copy by hand"; }
    });
  }
  let closed = [];
  addEventListener("beforeprint", () => { closed = all("details:not([open])"); closed.forEach((details) => { details.open = true; }); });
  addEventListener("afterprint", () => { closed.forEach((details) => { details.open = false; }); });
}

document.addEventListener("DOMContentLoaded", startTheme);
document.addEventListener("DOMContentLoaded", startRest);
