// Lines of plots that follow the filter, and hints at the pointer.

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
        mark.classList.add("hot");
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

document.addEventListener("DOMContentLoaded", startHints);
