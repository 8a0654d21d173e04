// Error maps, the gallery, and the viewer of two pictures.

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

function startViewer() {
  const data = JSON.parse($("data").textContent);
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
    if (value === "inf") return column.arrow === "↑" ? "exact" : "∞";  // as in the tables
    if (value === "-inf") return column.arrow === "↓" ? "exact" : "-∞";
    if (typeof value === "string") return value;
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
      const [a, b] = pair.map((value) => (typeof value === "string" ? Number(value.replace("inf", "Infinity")) : Number(value)));
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

document.addEventListener("DOMContentLoaded", startGallery);
document.addEventListener("DOMContentLoaded", startViewer);
