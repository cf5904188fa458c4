// Of report.html: what stands at a point is shown at once, series are hidden and shown, tables are sorted.
"use strict";

const readOut = document.getElementById("read-out");

// The nearest point of a picture's shown series, no further than this from the pointer, in its own pixels.
const REACH = 24;

for (const svg of document.querySelectorAll("figure svg")) {
  readPoints(svg);
  toggleSeries(svg);
}
for (const table of document.querySelectorAll("table.sorts")) {
  sortable(table);
}

function readPoints(svg) {
  const points = [...svg.querySelectorAll("circle.point")].map((circle) => {
    const title = circle.querySelector("title");
    const text = title.textContent;
    title.remove(); // else the browser shows it a second time
    return { circle, text, x: circle.cx.baseVal.value, y: circle.cy.baseVal.value };
  });
  let near = null;
  const leave = () => {
    near?.circle.classList.remove("near");
    near = null;
    readOut.hidden = true;
  };
  svg.addEventListener("pointermove", (event) => {
    const at = new DOMPoint(event.clientX, event.clientY).matrixTransform(svg.getScreenCTM().inverse());
    const found = nearest(points, at);
    if (found !== near) {
      leave();
      near = found;
      near?.circle.classList.add("near");
    }
    if (near) {
      readOut.textContent = near.text;
      readOut.hidden = false;
      const right = innerWidth - readOut.offsetWidth - 8;
      readOut.style.left = `${Math.max(8, Math.min(event.clientX + 14, right))}px`;
      const below = event.clientY + 16;
      const fits = below + readOut.offsetHeight < innerHeight;
      readOut.style.top = `${fits ? below : event.clientY - readOut.offsetHeight - 12}px`;
    }
  });
  svg.addEventListener("pointerleave", leave);
}

function nearest(points, at) {
  let best = null;
  let least = REACH * REACH;
  for (const point of points) {
    const distance = (point.x - at.x) ** 2 + (point.y - at.y) ** 2;
    if (distance < least && !point.circle.closest(".off")) {
      best = point;
      least = distance;
    }
  }
  return best;
}

function toggleSeries(svg) {
  for (const sample of svg.querySelectorAll("[data-legend]")) {
    const series = svg.querySelectorAll(`[data-series="${sample.dataset.legend}"]`);
    if (series.length === 0) {
      continue; // it explains bands or crosses
    }
    sample.setAttribute("aria-pressed", "true");
    pressable(sample, () => {
      const isOff = sample.getAttribute("aria-pressed") === "true";
      sample.setAttribute("aria-pressed", String(!isOff));
      for (const group of series) {
        group.classList.toggle("off", isOff);
      }
    });
  }
}

function sortable(table) {
  const headings = [...table.tHead.rows[0].cells];
  const body = table.tBodies[0];
  headings.forEach((heading, column) => {
    pressable(heading, () => {
      const isDown = heading.getAttribute("aria-sort") === "ascending";
      headings.forEach((other) => other.removeAttribute("aria-sort"));
      heading.setAttribute("aria-sort", isDown ? "descending" : "ascending");
      const rows = [...body.rows].sort((a, b) => compare(a.cells[column], b.cells[column]));
      body.append(...(isDown ? rows.reverse() : rows));
    });
  });
}

// By number where both have one; what has none stands last.
function compare(a, b) {
  const [left, right] = [a, b].map((cell) => parseFloat(cell.dataset.value ?? "Infinity"));
  if (left === right || !(Number.isFinite(left) || Number.isFinite(right))) {
    return a.textContent.localeCompare(b.textContent);
  }
  return left - right;
}

function pressable(element, press) {
  element.setAttribute("role", "button");
  element.setAttribute("tabindex", "0");
  element.addEventListener("click", press);
  element.addEventListener("keydown", (event) => {
    if (event.key === "Enter" || event.key === " ") {
      event.preventDefault();
      press();
    }
  });
}
