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

  const SIGN = /(<=|>=|==|!\s*=|<>|[<>=≤≥≠])/, OPERATORS = { "==": "=", "≤": "<=", "≥": ">=", "≠": "!=", "<>": "!=" };
  const NUMBER = /^([+-]?(?:(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?|inf|∞))(.*)$/iu, FLIPPED = { "<": ">", ">": "<", "<=": ">=", ">=": "<=" };

  // The number a text begins with, which may have a unit: one of the words given. Without one, what stands there instead; and the text after it.
  function readNumber(text, units, more) {
    const [whole, word] = /^\s*((?:[^\s,&|]|,(?=\d))*)/.exec(text), [, digits, unit] = NUMBER.exec(word.replace("−", "-")) || [];
    let after = text.slice(whole.length);
    if (digits === undefined || (unit && !units.includes(unit.toLowerCase()))) return { number: null, got: word, after };
    // A unit that stands alone before the next sign is the next column.
    for (let next; (next = /^\s+([^\s,&|]+)/.exec(after)) && units.includes(next[1].toLowerCase());) {
      if (more && !after.slice(next[0].length).trim()) break;
      after = after.slice(next[0].length);
    }
    return { number: Number(digits.toLowerCase().replace(/∞|inf/, "Infinity")), got: word, after };
  }

  // What stands between conditions, as words of names. "and", & and commas beside a condition join it; "or" and "not" beside one are
  // not understood, and take what they stand between along.
  function readBetween(text, afterOne, beforeOne) {
    const words = text.replace(/^[\s,&|!]+|[\s,&|!]+$/g, (signs) => ` ${signs.match(/\S+/g)?.join(" ") ?? ""} `).split(/\s+/).filter(Boolean);
    const joins = (word) => /^(?:and|[,&]+)$/i.test(word), either = (word) => /^(?:or|,*\|+)$/i.test(word), negates = (word) => /^(?:not|[,&]*!+)$/i.test(word);
    const signs = (word) => word !== undefined && (joins(word) || either(word) || negates(word));
    const first = [], last = [];
    while (afterOne && signs(words[0])) first.push(words.shift());
    while (beforeOne && signs(words.at(-1))) last.push(words.pop());
    const denied = [...first, ...last].filter((word) => !joins(word)).map((word) => (either(word) ? "or" : "not"));
    let left = first.some(either), right = last.some((word) => !joins(word));
    if (first.some((word) => !joins(word))) { if (words.length) words.shift(); else right = true; }
    if (last.some(either)) { if (words.length) words.pop(); else left = true; }
    return { words, denied, left, right };
  }

  // Conditions of the filter: "dead codes < 3" by a column's title or key, or the beginning of either where only one column has it;
  // "2 < dead codes < 9" are two. Returns words of names, conditions by key, and what could not be understood.
  function readFilter(text, columns) {
    const plain = (name) => name.toLowerCase().replace(/[^\p{L}\p{N}]/gu, "");
    const having = (holds) => columns.filter((column) => [column.key, column.title].map(plain).some(holds));
    const looks = [(name) => having((own) => own === name), (name) => having((own) => own.startsWith(name))];
    const inside = (name) => columns.filter((column) => column.title.split(/[\s/-]+/).some((part) => plain(part).startsWith(name)));
    const named = (text) => [...text.matchAll(/(?:[^\s,&|!]|(?<=\d),(?=\d))+/g)];
    // The longest run of words at an end of a text that names a column is the column; other words belong to the tokenizer's name.
    function run(tokens, cut) {
      for (const look of looks) {
        for (let out = 0; out < tokens.length; out += 1) {
          const kept = cut(out), name = plain(kept.map(([word]) => word).join("")), found = name ? look(name) : [];
          if (found.length) return { kept, found };
        }
      }
      return null;
    }
    function columnBefore(text) {
      const tokens = named(text), last = tokens.at(-1), taken = run(tokens, (out) => tokens.slice(out));
      if (!last) return { rest: text, asked: "", found: [] };
      const found = taken ? taken.found : plain(last[0]) ? inside(plain(last[0])) : [];
      return { rest: text.slice(0, (taken ? taken.kept[0] : last).index), asked: last[0], found };
    }
    function columnAfter(text) {
      const tokens = named(text), taken = run(tokens, (out) => tokens.slice(0, tokens.length - out)), end = taken ? taken.kept.at(-1) : tokens[0];
      if (!end) return { asked: "", found: [], after: text };
      return { asked: tokens[0][0], found: taken ? taken.found : inside(plain(tokens[0][0]) || " "), after: text.slice(end.index + end[0].length) };
    }
    const unitsOf = (found) => found.flatMap((column) => column.title.toLowerCase().split(/\s+/));
    const every = unitsOf(columns);
    // Where the number at the end of a text begins, and whether a unit stands apart after it; null where there is none.
    function numberAtEnd(text, units) {
      const [apart, last] = [undefined, undefined, ...named(text)].slice(-2), is = (token) => token && readNumber(token[0], every, false).number !== null;
      if (is(last)) return { index: last.index, unit: false };
      return is(apart) && units.includes(last[0].toLowerCase()) ? { index: apart.index, unit: true } : null;
    }
    const read = { words: [], conditions: [], problems: [] };
    const say = (problem) => { if (!read.problems.includes(problem)) read.problems.push(problem); };
    const which = (asked, found) => {
      if (!found.length && /^(?:tokenizer|name)s?$/i.test(asked)) say("names are just written as words");
      else if (!found.length) say(`no column ${asked}; columns are ${columns.map((column) => column.title).join(", ")}`);
      else if (found.length > 1) say(`${asked} may be ${found.map((column) => column.title).join(" or ")}: write more of it`);
      return found.length === 1;
    };
    const parts = text.split(SIGN);
    let before = parts[0], last = [], chained = false, broken = false, misread = false;
    const take = (between, afterOne, beforeOne) => {
      // What stood where a number was expected is no word of a name.
      const { words, denied, left, right } = readBetween(misread ? between.replace(/^\s*(?:[^\s,&|]|,(?=\d))+/, "") : between, afterOne, beforeOne);
      denied.forEach((word) => say(`conditions are joined; there is no ${word}`));
      if (left) read.conditions = read.conditions.filter((condition) => !last.includes(condition));
      read.words.push(...words);
      return !right;
    };
    for (let i = 1; i < parts.length; i += 2) {
      const sign = parts[i].replace(/\s/g, ""), operator = OPERATORS[sign] || sign, right = parts[i + 1], more = i + 2 < parts.length;
      let { rest, asked, found } = columnBefore(before), condition = null;
      const column = columnAfter(right), number = numberAtEnd(before, unitsOf(column.found)), wasChained = chained;
      const turned = number && column.asked && (!found.length || number.unit) && readNumber(right, every, false).number === null;
      chained = false;
      if (turned) {
        const value = readNumber(before.slice(number.index), unitsOf(column.found), false);
        rest = before.slice(0, number.index);
        if (which(column.asked, column.found)) {
          if (value.number === null) say(`${column.found[0].title} ${FLIPPED[operator] || operator} needs a number after it, got ${value.got}`);
          else condition = { ...column.found[0], operator: FLIPPED[operator] || operator, number: value.number };
        }
        chained = more && !column.after.trim();
        before = chained ? right : column.after;
      } else {
        const value = readNumber(right, found.length === 1 ? unitsOf(found) : every, more);
        before = value.number === null && more ? right : value.after;
        if (!asked) say(`a column's title belongs before ${sign}`);
        else if (which(asked, found)) {
          if (value.number === null) say(`${found[0].title} ${sign} needs a number after it${value.got && `, got ${value.got}`}`);
          else condition = { ...found[0], operator, number: value.number };
        }
      }
      const stands = take(rest, i > 1, true) && !broken;
      misread = before === right && !chained;
      // Of conditions on one figure, such as 20 < psnr < 30, all hold or none.
      broken = !condition && misread && column.found.length > 0 && !column.after.trim();
      if (!condition && (wasChained || !asked)) read.conditions = read.conditions.filter((one) => !last.includes(one));
      last = condition && stands ? [...(wasChained ? last : []), condition] : [];
      if (last.length) read.conditions.push(condition);
    }
    take(before, parts.length > 1, false);
    return read;
  }

  // Which tokenizers are shown: chips switch subjects, words and figures in the filter choose rows of the tables.
  function startFilter() {
    const chips = all(".chip"), rows = all(".figures tbody tr"), filter = $("filter"), says = $("filter-says");
    if (!filter) return;
    const marked = all("[data-e]").filter((element) => !element.matches(".figures tbody tr"));
    const columnsOf = new Map(all(".figures").map((table) => [table, all("thead th[data-key]", table).map(({ dataset }) => ({ key: dataset.key, title: dataset.title, scale: Number(dataset.scale) }))]));
    const columns = [...new Map([...columnsOf.values()].flat().map((column) => [column.key, column])).values()];
    const holds = (row, { words, conditions }) => {
      const name = row.querySelector(".name").textContent.toLowerCase(), own = columnsOf.get(row.closest("table"));
      return words.every((word) => name.includes(word.toLowerCase())) && conditions.every((condition) => {
        const place = own.findIndex((column) => column.key === condition.key), cell = row.cells[place + 1];
        const value = place < 0 ? null : figure(cell.dataset.v);
        if (value === null) return false;
        const [a, b] = [value * own[place].scale, condition.number];
        // A figure equals what is written of it, too.
        const equal = a === b || parseFloat(cell.textContent) === b;
        return { "<": a < b, ">": a > b, "<=": a <= b, ">=": a >= b, "=": equal, "!=": !equal }[condition.operator];
      });
    };
    function apply() {
      const on = new Set(chips.filter((chip) => chip.getAttribute("aria-pressed") === "true").map((chip) => chip.dataset.t));
      const asked = readFilter(filter.value, columns), shown = new Set(), subjects = new Set();
      for (const row of rows) {
        const visible = on.has(row.dataset.t) && holds(row, asked);
        row.hidden = !visible;
        if (visible) { shown.add(row.dataset.e); subjects.add(row.dataset.t); }
      }
      for (const element of marked) element.classList.toggle("off", !shown.has(element.dataset.e));
      for (const section of all("main section:has(> .scroll > .figures)")) {
        const nothing = section.querySelector(".nothing"), own = columnsOf.get(section.querySelector(".figures")).map(({ key }) => key);
        const lacking = asked.conditions.filter(({ key }) => !own.includes(key)).map(({ title }) => title);
        nothing.textContent = lacking.length ? `This table has no column ${lacking.join(", ")}.` : "No tokenizer fits the filter.";
        nothing.hidden = all("tbody tr:not([hidden])", section).length > 0;
      }
      all(".scatter").forEach(drawLines);
      says.textContent = asked.problems.join("; ");
      filter.setAttribute("aria-invalid", String(asked.problems.length > 0));
      $("count").textContent = `${subjects.size} of ${chips.length} shown`;
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

  // The front and the codecs' lines of the marks that are shown. What beats a mark is written on it: on the front is what none of these beats.
  function drawLines(chart) {
    const marks = all(".mark:not(.off)", chart).map(({ dataset }) => ({ ...dataset, place: `${dataset.x} ${dataset.y}` }));
    const front = chart.querySelector(".front");
    if (front) {
      const shown = new Set(marks.map((mark) => mark.e)), beaten = (mark) => (mark.beaten || "").split(" ").some((other) => shown.has(other));
      const kept = marks.filter((mark) => mark.codec === undefined && !beaten(mark));
      if (Number(front.dataset.more)) kept.reverse();
      const steps = kept.map((mark, i) => (i ? `L${mark.x} ${kept[i - 1].y}L${mark.place}` : `M${mark.place}`));
      front.setAttribute("d", kept.length ? `${steps.join("")}L${front.dataset.end} ${kept.at(-1).y}` : "");
    }
    for (const line of all(".codec-line", chart)) {
      const places = marks.filter((mark) => mark.codec === line.dataset.codec).map((mark) => mark.place);
      line.setAttribute("d", places.length > 1 ? `M${places.join("L")}` : "");
    }
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

  // Hints: whatever has data-tip says it at the pointer, at a touch and at the keyboard's focus; a mark lights up its tokenizer everywhere.
  function startHints() {
    const tip = $("tip");
    const stood = new Map();
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
        element.classList.add("at");
        if (element.matches("button")) element.setAttribute("aria-describedby", "tip");
        for (const mark of together.filter((one) => one.matches(".mark"))) {
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
      at.classList.remove("at");
      if (at.matches("button")) at.removeAttribute("aria-describedby");
      all(".mark.hot").forEach((mark) => mark.classList.remove("hot"));
      all(".chart.dimmed").forEach((chart) => chart.classList.remove("dimmed"));
      at = null;
    }
    const below = (element) => { const box = element.getBoundingClientRect(); return [box.left + box.width / 2, Math.min(box.bottom - 8, box.top + 22)]; };
    const point = (event) => {
      const element = event.target instanceof Element ? event.target.closest("[data-tip]") : null;
      if (element && element.matches(".mark")) {
        const under = document.elementsFromPoint(event.clientX, event.clientY).map((one) => one.closest(".mark")).filter(Boolean);
        show(element, event.clientX, event.clientY, [...new Set(under)]);
      } else if (element) show(element, event.clientX, event.clientY);
      else if (at && !at.matches(":focus-visible")) hide();
    };
    for (const kind of ["pointermove", "pointerdown"]) document.addEventListener(kind, point, { passive: true });
    document.addEventListener("focusin", (event) => { if (event.target.matches("[data-tip]:focus-visible")) show(event.target, ...below(event.target)); });
    document.addEventListener("focusout", hide);
    document.addEventListener("scroll", () => { if (at && at.matches(":focus-visible")) place(...below(at)); else hide(); }, { passive: true, capture: true });
    document.addEventListener("keydown", (event) => { if (event.key === "Escape") hide(); });
    for (const chart of all(".chart[tabindex]")) {
      chart.addEventListener("keydown", (event) => {
        const marks = all(":is(.mark:not(.off), .bar)", chart), here = marks.indexOf(stood.get(chart)), last = marks.length - 1;
        const next = { ArrowRight: here < last ? here + 1 : 0, ArrowLeft: here > 0 ? here - 1 : last, Home: 0, End: last };
        const mark = marks[{ ...next, ArrowDown: next.ArrowRight, ArrowUp: next.ArrowLeft }[event.key]];
        if (!mark) return;
        event.preventDefault();
        stood.set(chart, mark);
        mark.focus();
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
        gallery.querySelector(".error-scale").hidden = !on;
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
      $("gain-label").hidden = $("gain-scale").hidden = !errors;
      $("error-layer").hidden = !errors;
      wipe.disabled = errors;
      $("wipe-line").hidden = errors;
      $("gain-value").textContent = `×${gain.value}`;
      $("gain-factor").textContent = gain.value;
      $("gain-scale").querySelector(".scale-end").textContent = Number((255 / gain.value).toFixed(2));
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
