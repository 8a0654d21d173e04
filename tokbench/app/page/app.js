// Sends the picture to the server of the page and lays out what comes back.
"use strict";

const $ = (id) => document.getElementById(id);
let picture = null, photo = null, asked = 0;

function element(tag, text, parent) {
  const made = document.createElement(tag);
  if (text !== undefined) made.textContent = text;
  if (parent) parent.append(made);
  return made;
}

function say(text, wrong = false) {
  $("says").textContent = text;
  $("says").classList.toggle("wrong", wrong);
}

function figure(parent, source, caption) {
  const made = element("figure", undefined, parent), image = element("img", undefined, made);
  image.src = source;
  image.alt = caption;
  element("figcaption", caption, made);
}

function show({ original, size, results }) {
  const place = $("results");
  place.replaceChildren();
  const first = element("article", undefined, place);
  first.className = "result";
  element("h3", "original", first);
  figure(first, original, `${size} × ${size} pixels`);
  for (const result of results) {
    const made = element("article", undefined, place);
    made.className = "result";
    element("h3", result.name, made);
    if (result.problem) { element("p", result.problem, made).className = "note wrong"; continue; }
    figure(made, result.picture, "reconstruction");
    const list = element("ul", undefined, made);
    for (const text of result.figures) element("li", text, list);
    figure(made, result.errors, "error map, darker is further off");
    for (const { title, picture } of result.tokens) figure(made, picture, title);
  }
  place.hidden = false;
}

async function compare() {
  const names = [...document.querySelectorAll("input[name=tokenizer]:checked")].map((box) => box.value);
  if (!names.length) return say("Choose at least one tokenizer.", true);
  if (!picture && photo === null) return say("Choose a picture first, or take an embedded photo.", true);
  const query = new URLSearchParams({ size: $("size").value, seed: $("seed").value });
  for (const name of names) query.append("tokenizer", name);
  if (!picture) query.set("photo", photo);
  const mine = ++asked;
  say(`Encoding and decoding with ${names.join(", ")} …`);
  $("go").disabled = true;
  try {
    const response = await fetch(`/compare?${query}`, { method: "POST", headers: { "X-Tokbench": "1" }, body: picture });
    const answer = await response.json();
    if (mine !== asked) return;
    if (answer.error) return say(answer.error, true);
    show(answer);
    say("");
  } catch {
    if (mine === asked) say("The server of this page does not answer; is tokbench app still running?", true);
  } finally {
    if (mine === asked) $("go").disabled = false;
  }
}

function take(file) {
  picture = file;
  photo = null;
  URL.revokeObjectURL($("preview").src);
  $("preview").src = URL.createObjectURL(file);
  $("preview").hidden = false;
  $("drop-says").textContent = file.name;
  compare();
}

$("preview").addEventListener("error", () => { $("preview").hidden = true; });
$("file").addEventListener("change", () => { if ($("file").files.length) take($("file").files[0]); });
$("photo").addEventListener("click", () => {
  picture = null;
  photo = Math.floor(Math.random() * 736);
  $("preview").hidden = true;
  $("drop-says").textContent = `embedded photo ${photo}`;
  compare();
});
$("compare").addEventListener("submit", (event) => { event.preventDefault(); compare(); });
for (const kind of ["dragenter", "dragover"]) $("drop").addEventListener(kind, (event) => { event.preventDefault(); $("drop").classList.add("over"); });
for (const kind of ["dragleave", "drop"]) $("drop").addEventListener(kind, () => $("drop").classList.remove("over"));
$("drop").addEventListener("drop", (event) => {
  event.preventDefault();
  if (event.dataTransfer.files.length) take(event.dataTransfer.files[0]);
});
