"use strict";
// Sorting, filtering, hints at the pointer, and the viewer. Everything it needs is on the page; text goes in as text only.
(() => {
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

  // Which tokenizers are shown: chips switch subjects, words and figures in the filter choose rows of the tables.
  function startFilter() {
    const chips = all(".chip"), rows = all(".figures tbody tr"), filter = $("filter");
    const marked = all("[data-e]").filter((element) => !element.matches(".figures tbody tr"));
    const subjectOf = new Map(), keysOf = new Map();
    const names = chips.map((chip) => chip.textContent);
    for (const row of rows) {
      const table = row.closest("table");
      if (!keysOf.has(table)) keysOf.set(table, all("thead th[data-key]", table).map((th) => [th.dataset.key.toLowerCase(), Number(th.dataset.scale)]));
      subjectOf.set(row, row.dataset.t);
    }
    const comparisons = { "<": (a, b) => a < b, ">": (a, b) => a > b, "<=": (a, b) => a <= b, ">=": (a, b) => a >= b, "=": (a, b) => a === b };
    const parse = (text) => text.toLowerCase().split(/\s+/).filter(Boolean).map((word) => {
      const found = /^([a-z_]\w*)(<=|>=|<|>|=)(-?\d+(?:\.\d*)?(?:e-?\d+)?)$/.exec(word);
      return found ? { key: found[1], test: comparisons[found[2]], number: Number(found[3]) } : { word };
    });
    const holds = (row, terms) => terms.every((term) => {
      if (term.word !== undefined) return row.querySelector(".name").textContent.toLowerCase().includes(term.word);
      const column = keysOf.get(row.closest("table")).findIndex(([key]) => key === term.key);
      const value = column < 0 ? null : figure(row.cells[column + 1].dataset.v);
      return value !== null && term.test(value * keysOf.get(row.closest("table"))[column][1], term.number);
    });
    function apply() {
      const on = new Set(chips.filter((chip) => chip.getAttribute("aria-pressed") === "true").map((chip) => chip.dataset.t));
      const terms = parse(filter.value), shown = new Set(), subjects = new Set();
      for (const row of rows) {
        const visible = on.has(row.dataset.t) && holds(row, terms);
        row.hidden = !visible;
        if (visible) { shown.add(row.dataset.e); subjects.add(row.dataset.t); }
      }
      for (const element of marked) element.classList.toggle("off", !shown.has(element.dataset.e));
      for (const section of all("main section:has(> .scroll > .figures)")) section.querySelector(".nothing").hidden = all("tbody tr:not([hidden])", section).length > 0;
      $("count").textContent = `${subjects.size} of ${names.length} shown`;
      all(".dimmed").forEach((element) => element.classList.remove("dimmed"));
    }
    for (const chip of chips) chip.addEventListener("click", () => { chip.setAttribute("aria-pressed", String(chip.getAttribute("aria-pressed") !== "true")); apply(); });
    const setAll = (value) => { chips.forEach((chip) => chip.setAttribute("aria-pressed", String(value))); if (value) filter.value = ""; apply(); };
    $("all").addEventListener("click", () => setAll(true));
    $("none").addEventListener("click", () => setAll(false));
    filter.addEventListener("input", apply);
    filter.addEventListener("keydown", (event) => { if (event.key === "Escape" && filter.value) { filter.value = ""; apply(); event.preventDefault(); } });
    for (const control of [...chips, filter, $("all"), $("none")]) control.disabled = false;
    apply();
  }

  function startSorting() {
    for (const table of all(".figures")) {
      const body = table.tBodies[0], headings = all("thead th", table);
      const original = [...body.rows];
      for (const button of all(".sort", table)) {
        button.disabled = false;
        button.addEventListener("click", () => {
          const heading = button.closest("th"), column = Number(button.dataset.column), now = heading.getAttribute("aria-sort");
          const first = heading.dataset.better === "higher" ? "descending" : "ascending", second = first === "ascending" ? "descending" : "ascending";
          const order = now === "none" ? first : now === first ? second : "none";
          headings.forEach((other) => other.setAttribute("aria-sort", "none"));
          heading.setAttribute("aria-sort", order);
          const sign = order === "descending" ? -1 : 1;
          const value = (row) => figure(row.cells[column + 1].dataset.v);
          const compare = (a, b) => {
            if (column < 0) return sign * a.cells[0].textContent.localeCompare(b.cells[0].textContent, "en", { numeric: true });
            const x = value(a), y = value(b);
            return x === y ? 0 : x === null ? 1 : y === null ? -1 : x < y ? -sign : sign;
          };
          body.append(...(order === "none" ? original : [...original].sort(compare)));
        });
      }
    }
  }

  // Hints: whatever has data-tip says it at the pointer and at the keyboard's focus; a mark lights up its tokenizer everywhere.
  function startHints() {
    const tip = $("tip");
    let at = null;
    function place(x, y) {
      const width = tip.offsetWidth, height = tip.offsetHeight;
      tip.style.left = `${Math.max(8, Math.min(x + 14, innerWidth - width - 8))}px`;
      tip.style.top = `${y + 18 + height > innerHeight - 8 ? Math.max(8, y - height - 12) : y + 18}px`;
    }
    // Several marks may lie on each other: all of them speak, the topmost first.
    function show(element, x, y, others = []) {
      const together = [element, ...others.filter((other) => other !== element)];
      const text = together.slice(0, 4).map((one) => one.dataset.tip).join("\n\n") + (together.length > 4 ? `\n\nand ${together.length - 4} more` : "");
      if (element !== at || text !== tip.textContent) {
        hide();
        at = element;
        tip.textContent = text;
        tip.hidden = false;
        for (const mark of together.filter((one) => one.matches(".mark"))) {
          if (mark === element) mark.classList.add("at");
          const chart = mark.closest(".chart");
          if (chart) chart.classList.add("dimmed");
          for (const twin of all(`.mark[data-e="${mark.dataset.e}"]`)) twin.classList.add("hot");
        }
      }
      place(x, y);
    }
    function hide() {
      if (!at) return;
      tip.hidden = true;
      all(".mark.hot, .mark.at").forEach((mark) => mark.classList.remove("hot", "at"));
      all(".chart.dimmed").forEach((chart) => chart.classList.remove("dimmed"));
      at = null;
    }
    const below = (element) => { const box = element.getBoundingClientRect(); return [box.left + box.width / 2, Math.min(box.bottom - 8, box.top + 22)]; };
    document.addEventListener("pointermove", (event) => {
      const element = event.target instanceof Element ? event.target.closest("[data-tip]") : null;
      if (element && element.matches(".mark")) {
        const under = document.elementsFromPoint(event.clientX, event.clientY).map((one) => one.closest(".mark")).filter(Boolean);
        show(element, event.clientX, event.clientY, [...new Set(under)]);
      } else if (element) show(element, event.clientX, event.clientY);
      else if (at && !at.contains(document.activeElement) && !at.closest(".chart:focus")) hide();
    }, { passive: true });
    document.addEventListener("focusin", (event) => { if (event.target.matches("[data-tip]:focus-visible")) show(event.target, ...below(event.target)); });
    document.addEventListener("focusout", hide);
    document.addEventListener("scroll", () => { if (at && at.closest(".chart:focus")) place(...below(at)); else hide(); }, { passive: true, capture: true });
    document.addEventListener("keydown", (event) => { if (event.key === "Escape") hide(); });
    for (const chart of all(".chart[tabindex]")) {
      chart.addEventListener("keydown", (event) => {
        const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
        if (!step) return;
        event.preventDefault();
        const marks = all(".mark:not(.off)", chart);
        if (!marks.length) return;
        const here = marks.findIndex((mark) => mark.classList.contains("at"));
        const mark = marks[here < 0 ? (step > 0 ? 0 : marks.length - 1) : (here + step + marks.length) % marks.length];
        show(mark, ...below(mark));
      });
    }
  }

  function pixels(image) {
    const canvas = document.createElement("canvas");
    canvas.width = image.naturalWidth;
    canvas.height = image.naturalHeight;
    const context = canvas.getContext("2d", { willReadFrequently: true });
    context.drawImage(image, 0, 0);
    return context.getImageData(0, 0, canvas.width, canvas.height);
  }

  // White where two pictures agree; darker by the mean absolute difference of the channels, times the gain.
  async function drawErrors(canvas, one, other, gain) {
    await Promise.all([one.decode(), other.decode()]);
    const a = pixels(one), b = pixels(other), out = new ImageData(a.width, a.height);
    for (let i = 0; i < a.data.length; i += 4) {
      const difference = (Math.abs(a.data[i] - b.data[i]) + Math.abs(a.data[i + 1] - b.data[i + 1]) + Math.abs(a.data[i + 2] - b.data[i + 2])) / 3;
      const grey = 255 - Math.round(Math.min(255, difference * gain));
      out.data[i] = out.data[i + 1] = out.data[i + 2] = grey;
      out.data[i + 3] = 255;
    }
    canvas.width = a.width;
    canvas.height = a.height;
    canvas.getContext("2d").putImageData(out, 0, 0);
  }

  const GAIN = 4, FEW = 6, MANY = 300;

  function startGallery() {
    for (const gallery of all(".gallery")) {
      const select = gallery.querySelector(".reasons"), button = gallery.querySelector(".errors");
      if (!select) continue;
      select.disabled = button.disabled = false;
      const images = all(".image", gallery);
      const choose = () => images.forEach((image, i) => {
        image.hidden = select.value === "few" ? i >= FEW : select.value !== "" && !image.dataset.reasons.split("\n").includes(select.value);
      });
      select.addEventListener("change", choose);
      if (images.length > FEW && all(".shot", gallery).length > MANY) {
        select.prepend(new Option(`the first ${FEW}`, "few", true, true));
        choose();
      }
      const seen = new IntersectionObserver((entries) => {
        for (const entry of entries) if (entry.isIntersecting) { seen.unobserve(entry.target); fill(entry.target); }
      }, { rootMargin: "400px" });
      async function fill(image) {
        const original = image.querySelector(".original img");
        for (const shot of all(".shot:not(.original)", image)) {
          if (shot.querySelector("canvas")) continue;
          const canvas = document.createElement("canvas");
          canvas.setAttribute("aria-hidden", "true");
          await drawErrors(canvas, original, shot.querySelector("img"), GAIN);
          if (button.getAttribute("aria-pressed") === "true" && !shot.querySelector("canvas")) shot.querySelector(".open").append(canvas);
        }
      }
      button.addEventListener("click", () => {
        const on = button.getAttribute("aria-pressed") !== "true";
        button.setAttribute("aria-pressed", String(on));
        for (const image of all(".image", gallery)) {
          if (on) seen.observe(image);
          else { seen.unobserve(image); all("canvas", image).forEach((canvas) => canvas.remove()); }
        }
      });
    }
    for (const button of all(".open")) button.disabled = false;
  }

  function startViewer(data) {
    const dialog = $("viewer"), stage = $("stage"), wipe = $("wipe"), left = $("left"), right = $("right"), gain = $("gain");
    const images = { left: $("left-layer").firstElementChild, right: $("right-layer").firstElementChild };
    const canvas = $("error-layer").firstElementChild;
    let article = null, mode = "wipe", view = { zoom: 1, x: 0, y: 0 }, drawing = 0;

    const shots = () => all(".shot:not(.off)", article);
    const source = (select) => article.querySelector(select.value === "" ? ".original img" : `.shot[data-e="${CSS.escape(select.value)}"] img`);
    const label = (shot) => { const button = shot.querySelector("figcaption"); return [button.querySelector(".who"), button.querySelector("small:not(.number)")].filter(Boolean).map((part) => part.textContent.trim()).join(" "); };
    function fillSelect(select, wanted) {
      select.replaceChildren(...shots().map((shot) => {
        const original = shot.classList.contains("original");
        return new Option(original ? "original" : label(shot), original ? "" : shot.dataset.e);
      }));
      select.value = [...select.options].some((option) => option.value === wanted) ? wanted : select.options[select.options.length - 1].value;
    }
    function draw() {
      for (const [side, select] of [["left", left], ["right", right]]) {
        images[side].src = source(select).src;
        images[side].alt = select.selectedOptions[0].textContent;
      }
      drawValues();
      drawMode();
    }
    function number(column, value) {
      if (value === undefined) return "–";
      if (typeof value === "string") return value === "inf" ? "∞" : value;
      return (value * column.scale).toFixed(column.digits);
    }
    function drawValues() {
      const values = data.images[Number(article.dataset.i)].values;
      const rows = [];
      for (const [key, column] of Object.entries(data.columns)) {
        const pair = [left, right].map((select) => (values[select.value] || {})[key]);
        if (pair.every((value) => value === undefined)) continue;
        const row = document.createElement("tr"), head = document.createElement("th");
        head.scope = "row";
        head.textContent = `${column.title} ${column.arrow}`;
        const cells = pair.map((value) => { const cell = document.createElement("td"); cell.textContent = number(column, value); return cell; });
        const [a, b] = pair.map((value) => (value === "inf" ? Infinity : Number(value)));
        if (column.arrow && !pair.includes(undefined) && a !== b) cells[(a > b) === (column.arrow === "↑") ? 0 : 1].classList.add("wins");
        row.append(head, ...cells);
        rows.push(row);
      }
      dialog.querySelector(".values tbody").replaceChildren(...rows);
    }
    async function drawMode() {
      const errors = mode === "error";
      $("mode-wipe").setAttribute("aria-pressed", String(!errors));
      $("mode-error").setAttribute("aria-pressed", String(errors));
      $("gain-label").hidden = $("right-layer").hidden = $("left-layer").hidden = false;
      $("gain-label").hidden = !errors;
      $("error-layer").hidden = !errors;
      wipe.disabled = errors;
      $("wipe-line").hidden = errors;
      $("gain-value").textContent = `×${gain.value}`;
      if (!errors) return;
      const turn = ++drawing, fresh = document.createElement("canvas");
      await drawErrors(fresh, source(left), source(right), Number(gain.value));
      if (turn !== drawing) return;
      canvas.width = fresh.width;
      canvas.height = fresh.height;
      canvas.getContext("2d").drawImage(fresh, 0, 0);
      canvas.dataset.drawn = gain.value;
    }
    function drawWipe() {
      $("right-layer").style.clipPath = `inset(0 0 0 ${wipe.value}%)`;
      $("wipe-line").style.left = `${wipe.value}%`;
    }
    function setZoom(zoom, at) {
      const size = [stage.clientWidth, stage.clientHeight], centre = at || [size[0] / 2, size[1] / 2];
      const next = Math.min(32, Math.max(1, zoom)), ratio = next / view.zoom;
      setView(next, centre[0] - (centre[0] - view.x) * ratio, centre[1] - (centre[1] - view.y) * ratio);
    }
    function setView(zoom, x, y) {
      const inside = (value, size) => Math.min(0, Math.max(size * (1 - zoom), value));
      view = { zoom, x: inside(x, stage.clientWidth), y: inside(y, stage.clientHeight) };
      for (const element of [images.left, images.right, canvas]) element.style.transform = `translate(${view.x}px, ${view.y}px) scale(${zoom})`;
      $("zoom-value").textContent = `${Number(zoom.toFixed(1))}×`;
      stage.classList.toggle("zoomed", zoom > 1);
    }
    function show(next, leftEntry, rightEntry) {
      article = next;
      $("viewer-title").textContent = article.querySelector("h4").textContent;
      $("viewer-why").replaceChildren(...all(".why li", article).map((item) => item.cloneNode(true)));
      fillSelect(left, leftEntry);
      fillSelect(right, rightEntry);
      draw();
    }
    function step(by) {
      const others = all(".image:not([hidden])", article.closest(".gallery"));
      show(others[(others.indexOf(article) + by + others.length) % others.length], left.value, right.value);
    }
    function setMode(value) { mode = value; drawMode(); }

    document.addEventListener("click", (event) => {
      const button = event.target instanceof Element ? event.target.closest(".open") : null;
      if (!button) return;
      const shot = button.closest(".shot");
      wipe.value = 50;
      mode = "wipe";
      show(button.closest(".image"), "", shot.dataset.e === undefined ? "none" : shot.dataset.e);
      dialog.showModal();
      setView(1, 0, 0);
      drawWipe();
    });
    $("close").addEventListener("click", () => dialog.close());
    dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); });
    $("previous").addEventListener("click", () => step(-1));
    $("next").addEventListener("click", () => step(1));
    left.addEventListener("change", draw);
    right.addEventListener("change", draw);
    wipe.addEventListener("input", drawWipe);
    gain.addEventListener("input", drawMode);
    $("mode-wipe").addEventListener("click", () => setMode("wipe"));
    $("mode-error").addEventListener("click", () => setMode("error"));
    $("zoom-in").addEventListener("click", () => setZoom(view.zoom * 2));
    $("zoom-out").addEventListener("click", () => setZoom(view.zoom / 2));
    $("zoom-fit").addEventListener("click", () => setView(1, 0, 0));
    stage.addEventListener("wheel", (event) => {
      event.preventDefault();
      const box = stage.getBoundingClientRect();
      setZoom(view.zoom * Math.exp(-event.deltaY / 300), [event.clientX - box.left, event.clientY - box.top]);
    }, { passive: false });

    const fingers = new Map();
    let grip = null;
    stage.addEventListener("pointerdown", (event) => {
      stage.setPointerCapture(event.pointerId);
      fingers.set(event.pointerId, [event.clientX, event.clientY]);
      if (fingers.size === 2) { const [a, b] = fingers.values(); grip = { apart: Math.hypot(a[0] - b[0], a[1] - b[1]), zoom: view.zoom }; return; }
      const box = stage.getBoundingClientRect(), line = box.left + box.width * wipe.value / 100;
      const wiping = mode === "wipe" && (view.zoom === 1 || Math.abs(event.clientX - line) < 18);
      grip = wiping ? { wiping } : { x: event.clientX - view.x, y: event.clientY - view.y };
      if (wiping) moveWipe(event);
    });
    function moveWipe(event) {
      const box = stage.getBoundingClientRect();
      wipe.value = Math.round(100 * Math.min(1, Math.max(0, (event.clientX - box.left) / box.width)));
      drawWipe();
    }
    stage.addEventListener("pointermove", (event) => {
      if (!fingers.has(event.pointerId) || !grip) return;
      fingers.set(event.pointerId, [event.clientX, event.clientY]);
      if (fingers.size === 2 && grip.apart) {
        const [a, b] = fingers.values(), box = stage.getBoundingClientRect();
        setZoom(grip.zoom * Math.hypot(a[0] - b[0], a[1] - b[1]) / grip.apart, [(a[0] + b[0]) / 2 - box.left, (a[1] + b[1]) / 2 - box.top]);
      } else if (grip.wiping) moveWipe(event);
      else if (grip.x !== undefined) setView(view.zoom, event.clientX - grip.x, event.clientY - grip.y);
    });
    for (const kind of ["pointerup", "pointercancel"]) stage.addEventListener(kind, (event) => { fingers.delete(event.pointerId); grip = null; });

    dialog.addEventListener("keydown", (event) => {
      if (event.ctrlKey || event.metaKey || event.altKey) return;
      const keys = { "+": () => setZoom(view.zoom * 2), "=": () => setZoom(view.zoom * 2), "-": () => setZoom(view.zoom / 2), 0: () => setView(1, 0, 0),
        "[": () => step(-1), "]": () => step(1), PageUp: () => step(-1), PageDown: () => step(1), e: () => setMode(mode === "error" ? "wipe" : "error") };
      if (event.target === stage) {
        const [across, down] = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key] || [0, 0];
        if (across || down) {
          event.preventDefault();
          if (view.zoom > 1) setView(view.zoom, view.x - across * 40, view.y - down * 40);
          else { wipe.value = Number(wipe.value) + (across - down) * 2; drawWipe(); }
          return;
        }
      } else if (event.target.matches("select")) return;
      if (keys[event.key]) { event.preventDefault(); keys[event.key](); }
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

  document.addEventListener("DOMContentLoaded", () => {
    startTheme();
    startFilter();
    startSorting();
    startHints();
    startGallery();
    startViewer(JSON.parse($("data").textContent));
    startRest();
  });
})();
