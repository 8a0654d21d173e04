// Sections that fold: a link to something inside opens what it lies in, one button opens or closes all.

function startFolds() {
  const folds = all("details.fold"), button = $("folds");
  // What a link points at, and whatever it lies in, is opened before it is scrolled to.
  function reveal() {
    const target = location.hash.length > 1 && document.getElementById(decodeURIComponent(location.hash.slice(1)));
    if (!target) return;
    for (let at = target; at; at = at.parentElement) if (at.matches("details")) at.open = true;
    const own = target.querySelector(":scope > details.fold");
    if (own) own.open = true;
    target.scrollIntoView();
  }
  addEventListener("hashchange", reveal);
  // A link to where one is already changes no address.
  document.addEventListener("click", (event) => {
    const link = event.target instanceof Element && event.target.closest('a[href^="#"]');
    if (link && link.hash === location.hash) reveal();
  });
  reveal();
  if (!folds.length) { button.hidden = true; return; }
  const say = () => {
    const open = folds.every((fold) => fold.open);
    button.setAttribute("aria-pressed", String(open));
    button.textContent = open ? "Close all sections" : "Open all sections";
  };
  button.addEventListener("click", () => {
    const open = button.getAttribute("aria-pressed") !== "true";
    folds.forEach((fold) => { fold.open = open; });
  });
  folds.forEach((fold) => fold.addEventListener("toggle", say));
  button.disabled = false;
  say();
}

document.addEventListener("DOMContentLoaded", startFolds);
