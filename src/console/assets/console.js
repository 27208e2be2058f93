// The pages work without this: it only keeps them up to date. What the server sends is HTML that it has escaped.
"use strict";

const MOST_ROWS = 200;

function follow(part, source) {
  const state = document.querySelector("[data-state]");
  const say = (text) => { if (state && state.textContent !== text) state.textContent = text; };
  source.addEventListener("open", () => say("Live"));
  source.addEventListener("error", () => say("Not live: the connection is lost, and tried again"));
  source.addEventListener("end", () => { source.close(); say("Ended"); });
  return part;
}

for (const part of document.querySelectorAll("[data-live]")) {
  const source = new EventSource(part.dataset.live);
  follow(part, source).hidden = false;
  source.addEventListener("part", (event) => {
    // Who has moved into it by the keyboard is not thrown out.
    if (!part.contains(document.activeElement)) part.innerHTML = event.data;
  });
}

for (const rows of document.querySelectorAll("[data-tail]")) {
  const source = new EventSource(rows.dataset.tail);
  const hold = document.querySelector("[data-hold]");
  follow(rows, source);
  if (hold) {
    hold.hidden = false;
    hold.addEventListener("click", () => {
      const held = hold.getAttribute("aria-pressed") !== "true";
      hold.setAttribute("aria-pressed", String(held));
      hold.textContent = held ? "Go on" : "Hold";
    });
  }
  source.addEventListener("part", (event) => {
    if (hold && hold.getAttribute("aria-pressed") === "true") return;
    rows.insertAdjacentHTML("afterbegin", event.data);
    while (rows.children.length > MOST_ROWS) rows.lastElementChild.remove();
  });
}
