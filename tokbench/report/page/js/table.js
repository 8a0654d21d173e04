// The filter, which chooses tokenizers everywhere on the page, and sorting.

// What the filter asks for: "vq psnr>25" is a word of a name, and a condition on the column with this key.
const CONDITION = /^(.*?)(<=|>=|!=|[<>=])(.*)$/, GAPS = /\s*(<=|>=|!=|[<>=])\s*/g;

function readFilter(text, columns) {
  const words = [], conditions = [], problems = new Set();
  for (const term of text.replace(GAPS, "$1").split(/\s+/).filter(Boolean)) {
    const [, key, operator, written] = CONDITION.exec(term) || [];
    if (operator === undefined) { words.push(term.toLowerCase()); continue; }
    const column = columns.find((one) => one.key.toLowerCase() === key.toLowerCase());
    const number = written === "" ? NaN : Number(written.replace(/(?:inf|∞)$/i, "Infinity"));
    if (!key) problems.add(`the key of a column belongs before ${operator}`);
    else if (!column) problems.add(`no column has the key ${key}; keys are ${columns.map((one) => one.key).join(", ")}`);
    else if (Number.isNaN(number)) problems.add(`${column.key}${operator} needs a number after it${written && `, got ${written}`}`);
    else conditions.push({ ...column, operator, number });
  }
  return { words, conditions, problems: [...problems] };
}

// Which tokenizers are shown: chips switch subjects, words and figures in the filter choose rows of the tables.
function startFilter() {
  const chips = all(".chip"), rows = all(".figures tbody tr"), filter = $("filter"), says = $("filter-says");
  if (!filter) return;
  const codecs = $("codecs"), aside = new Set(codecs ? chips.filter((chip) => chip.matches(".of-codec")).map((chip) => chip.dataset.t) : []);
  const compared = all(".matrix tbody tr[data-t]");
  const marked = all("[data-e]").filter((element) => !element.matches(".figures tbody tr"));
  const columnsOf = new Map(all(".figures").map((table) => [table, all("thead th[data-key]", table).map(({ dataset }) => ({ key: dataset.key, title: dataset.title, scale: Number(dataset.scale) }))]));
  const columns = [...new Map([...columnsOf.values()].flat().map((column) => [column.key, column])).values()];
  const holds = (row, { words, conditions }) => {
    const name = row.querySelector(".name").textContent.toLowerCase(), own = columnsOf.get(row.closest("table"));
    return words.every((word) => name.includes(word)) && conditions.every((condition) => {
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
    const apart = codecs && codecs.getAttribute("aria-pressed") !== "true" ? aside : new Set();
    const there = chips.filter((chip) => !apart.has(chip.dataset.t));
    const on = new Set(there.filter((chip) => chip.getAttribute("aria-pressed") === "true").map((chip) => chip.dataset.t));
    const asked = readFilter(filter.value, columns), shown = new Set(), subjects = new Set();
    for (const row of rows) {
      const visible = on.has(row.dataset.t) && holds(row, asked);
      row.hidden = !visible;
      if (visible) { shown.add(row.dataset.e); subjects.add(row.dataset.t); }
    }
    for (const element of marked) element.classList.toggle("off", !shown.has(element.dataset.e));
    for (const row of compared) row.hidden = !subjects.has(row.dataset.t);
    for (const section of all(".fold:has(> .scroll > .figures)")) {
      const nothing = section.querySelector(".nothing"), own = columnsOf.get(section.querySelector(".figures")).map(({ key }) => key);
      const lacking = asked.conditions.filter(({ key }) => !own.includes(key)).map(({ title }) => title);
      nothing.textContent = lacking.length ? `This table has no column ${lacking.join(", ")}.` : "No tokenizer fits the filter.";
      nothing.hidden = all("tbody tr:not([hidden])", section).length > 0;
    }
    all(".scatter").forEach(drawLines);
    says.textContent = asked.problems.join("; ");
    filter.setAttribute("aria-invalid", String(asked.problems.length > 0));
    $("count").textContent = `${subjects.size} of ${there.length} shown${apart.size ? `, ${apart.size} ${apart.size === 1 ? "codec" : "codecs"} aside` : ""}`;
    all(".dimmed").forEach((element) => element.classList.remove("dimmed"));
  }
  for (const chip of chips) chip.addEventListener("click", () => { chip.setAttribute("aria-pressed", String(chip.getAttribute("aria-pressed") !== "true")); apply(); });
  const setAll = (value) => { chips.forEach((chip) => chip.setAttribute("aria-pressed", String(value))); if (value) filter.value = ""; apply(); };
  $("all").addEventListener("click", () => setAll(true));
  $("none").addEventListener("click", () => setAll(false));
  if (codecs) {
    // The style sheet keeps them aside before this runs, so that nothing moves.
    codecs.setAttribute("aria-pressed", "false");
    codecs.addEventListener("click", () => {
      const brought = codecs.getAttribute("aria-pressed") !== "true";
      codecs.setAttribute("aria-pressed", String(brought));
      if (brought) root.dataset.codecs = ""; else delete root.dataset.codecs;
      apply();
    });
    codecs.disabled = false;
  }
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

document.addEventListener("DOMContentLoaded", startFilter);
document.addEventListener("DOMContentLoaded", startSorting);
