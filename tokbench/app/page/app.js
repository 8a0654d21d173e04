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

function say(text, wrong = false, place = "says") {
  $(place).textContent = text;
  $(place).classList.toggle("wrong", wrong);
}

// Asks the server; gives its answer, or says what is wrong with the question.
async function ask(path, query, body, place) {
  try {
    const response = await fetch(`/${path}?${new URLSearchParams(query)}`, { method: "POST", headers: { "X-Tokbench": "1" }, body });
    const answer = await response.json();
    if (answer.error) say(answer.error, true, place);
    return answer.error ? null : answer;
  } catch {
    say("The server of this page does not answer; is tokbench app still running?", true, place);
    return null;
  }
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
  figure(first, original, `${size[0]} × ${size[1]} pixels`);
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
  const query = [["size", $("size").value], ["seed", $("seed").value], ...names.map((name) => ["tokenizer", name])];
  if (!picture) query.push(["photo", photo]);
  const mine = ++asked;
  say(`Encoding and decoding with ${names.join(", ")} …`);
  $("go").disabled = true;
  const answer = await ask("compare", query, picture, "says");
  if (mine !== asked) return;
  $("go").disabled = false;
  if (!answer) return;
  show(answer);
  say("");
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

// Drawing and editing in turns: the newest picture is the one that is changed, and what names no thing is of those last spoken of.
function startStudio() {
  const turns = $("turns"), buttons = ["draw", "edit", "describe", "complete"];
  let current = null, spoken = [], busy = false;
  const fields = [["seed", "draw-seed"], ["temperature", "temperature"], ["guidance", "guidance"]];
  const settings = () => fields.map(([name, id]) => [name, $(id).value]).filter(([, value]) => value !== ""); // else as the model has it
  const ready = () => {
    for (const name of buttons) $(name).disabled = busy || (name !== "draw" && !current);
    $("own").disabled = busy;
  };
  const blob = async (uri) => new Blob([Uint8Array.from(atob(uri.split(",")[1]), (c) => c.charCodeAt(0))]);

  function turn(source, words) {
    const made = document.createElement("li"), image = element("img", undefined, made);
    image.src = source;
    image.alt = words;
    element("p", words, made);
    turns.prepend(made);
  }

  async function work(path, query, body, doing) {
    busy = true;
    ready();
    say(doing, false, "studio-says");
    const answer = await ask(path, query, body, "studio-says");
    busy = false;
    if (answer) say("", false, "studio-says");
    if (answer && answer.picture) [current, spoken] = [await blob(answer.picture), answer.spoken || []];
    ready();
    return answer;
  }

  async function change(path, doing, words) {
    const asked = $("words").value; // it may be another one when the answer comes
    const before = path === "edit" ? spoken.map((name) => ["spoken", name]) : [];
    const answer = await work(path, [...settings(), ["words", asked], ...before], path === "draw" ? undefined : current, doing);
    if (!answer) return;
    const heard = answer.instruction && answer.instruction !== asked.trim() ? `${asked} (${answer.instruction})` : asked;
    turn(answer.picture, words || heard);
  }

  $("ask").addEventListener("submit", (event) => { event.preventDefault(); if (!busy) change("draw", "Drawing …"); });
  $("edit").addEventListener("click", () => change("edit", "Changing …"));
  $("complete").addEventListener("click", () => change("complete", "Drawing the lower half …", "lower half drawn anew"));
  $("describe").addEventListener("click", async () => {
    const answer = await work("describe", [], current, "Looking …");
    if (answer) element("p", `It says: ${answer.words}`, turns.firstElementChild);
  });
  $("own").addEventListener("change", () => {
    const [file] = $("own").files;
    if (!file) return;
    [current, spoken] = [file, []];
    turn(URL.createObjectURL(file), file.name);
    ready();
  });
}

if ($("studio")) startStudio();
