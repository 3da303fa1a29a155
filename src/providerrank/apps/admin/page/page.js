// Keeps the figures and tables current: fetches them as HTML every two seconds while the page is looked at.
"use strict";

const PERIOD_MS = 2000;
const live = document.getElementById("live");
const age = document.getElementById("age");
const pause = document.getElementById("pause");
let paused = false;

function say(text, lost) {
  if (age.textContent !== text) age.textContent = text;
  age.parentElement.classList.toggle("lost", lost);
}

// Text being selected, or a control in use inside the tables, must not be pulled from under the reader.
function isBusy() {
  const selection = document.getSelection();
  return document.hidden || paused || (selection && !selection.isCollapsed && live.contains(selection.anchorNode));
}

async function refresh() {
  if (isBusy()) return;
  try {
    const answer = await fetch("/page/live" + location.search, { signal: AbortSignal.timeout(10000) });
    if (!answer.ok) throw new Error(String(answer.status));
    const html = await answer.text();
    if (isBusy()) return;
    const scrolled = [...live.querySelectorAll(".scroll")].map((box) => box.scrollLeft);
    const focused = [...live.querySelectorAll(".scroll")].indexOf(document.activeElement);
    live.innerHTML = html;
    [...live.querySelectorAll(".scroll")].forEach((box, at) => {
      box.scrollLeft = scrolled[at] || 0;
      if (at === focused) box.focus({ preventScroll: true });
    });
    say("Live", false);
  } catch {
    say("Gateway not answering, trying again", true);
  }
}

async function keepCurrent() {
  await refresh();
  setTimeout(keepCurrent, PERIOD_MS);
}

pause.hidden = false;
pause.addEventListener("click", () => {
  paused = !paused;
  pause.setAttribute("aria-pressed", String(paused));
  say(paused ? "Paused" : "Live", false);
});
document.addEventListener("visibilitychange", refresh);
say("Live", false);
setTimeout(keepCurrent, PERIOD_MS);
