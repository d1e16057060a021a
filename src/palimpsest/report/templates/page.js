"use strict";
(() => {
  const hidden = new Set();
  const tip = document.getElementById("tip");
  const compact = new Intl.NumberFormat("en", { notation: "compact", maximumSignificantDigits: 3 });

  for (const button of document.querySelectorAll("[data-toggle]")) {
    button.addEventListener("click", () => {
      const shown = hidden.delete(button.dataset.toggle);
      if (!shown) hidden.add(button.dataset.toggle);
      button.setAttribute("aria-pressed", String(shown));
      for (const part of document.querySelectorAll(`[data-arm="${button.dataset.toggle}"]`)) part.classList.toggle("off", !shown);
    });
  }

  const put = (event, rows) => {
    tip.replaceChildren(...rows);
    tip.hidden = false;
    const { clientWidth: width, clientHeight: height } = document.documentElement;
    const box = tip.getBoundingClientRect();
    const right = event.clientX + 16 + box.width < width;
    tip.style.left = `${Math.max(4, right ? event.clientX + 16 : event.clientX - 16 - box.width)}px`;
    tip.style.top = `${Math.max(4, Math.min(event.clientY + 14, height - box.height - 4))}px`;
  };
  const row = (content, name) => {
    const part = document.createElement("div");
    part.className = name;
    part.dir = "auto";
    part.textContent = content;
    return part;
  };

  for (const part of document.querySelectorAll("[data-tip]")) {
    part.addEventListener("pointermove", (event) => put(event, [row(part.dataset.tip, "plain")]));
    part.addEventListener("pointerleave", () => { tip.hidden = true; });
  }

  const nearest = (places, x) => {
    let best = 0;
    places.forEach((place, index) => { if (Math.abs(place - x) < Math.abs(places[best] - x)) best = index; });
    return best;
  };

  for (const chart of document.querySelectorAll("svg[data-lines]")) {
    const lines = JSON.parse(chart.dataset.lines);
    const cursor = chart.querySelector(".cursor");
    chart.addEventListener("pointermove", (event) => {
      const shown = lines.filter((line) => !hidden.has(String(line.arm)));
      if (!shown.length) return;
      const x = new DOMPoint(event.clientX, event.clientY).matrixTransform(chart.getScreenCTM().inverse()).x;
      const places = shown.map((line) => ({ line, at: nearest(line.x, x) }));
      const closest = places.reduce((a, b) => (Math.abs(b.line.x[b.at] - x) < Math.abs(a.line.x[a.at] - x) ? b : a));
      const at = closest.line.x[closest.at];
      for (const [name, value] of [["x1", at], ["x2", at], ["y1", chart.dataset.top], ["y2", chart.dataset.bottom]]) cursor.setAttribute(name, value);
      const rows = places.filter(({ line, at: index }) => Math.abs(line.x[index] - at) < 12).sort((a, b) => b.line.loss[b.at] - a.line.loss[a.at]);
      put(event, rows.map(({ line, at: index }) => {
        const spread = line.range[index] ? ` (${line.range[index][0].toFixed(3)}–${line.range[index][1].toFixed(3)})` : "";
        const part = row(`${line.loss[index].toFixed(3)}${spread}  ${line.name}`, "value");
        part.append(row(`${line.stages[line.stage[index]]}, step ${line.step[index]}, ${compact.format(line.tokens[index])} tokens`, "note"));
        return part;
      }));
    });
    chart.addEventListener("pointerleave", () => {
      tip.hidden = true;
      for (const name of ["x1", "x2", "y1", "y2"]) cursor.setAttribute(name, 0);
    });
  }
})();
