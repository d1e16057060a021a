"use strict"; // Runs in the page of test_browser.py and tells what it saw.
addEventListener("load", async () => {
  const all = (query, within = document) => [...within.querySelectorAll(query)];
  const until = async (ready) => { while (!ready()) await new Promise((next) => setTimeout(next, 50)); };
  const settled = () => new Promise((next) => setTimeout(next, 300));
  const seen = {}, root = document.documentElement;
  await until(() => root.dataset.drawn);
  const charts = all("[data-chart]");
  for (const view of all(".view")) view.hidden = false;
  seen.charts = charts.map((chart) => chart.dataset.chart);
  const marks = (chart) => all(".role-mark path, .role-mark line, .role-mark text", chart).filter((mark) => mark.getAttribute("d") !== "");
  seen.drawn = charts.filter((chart) => chart.querySelector("svg") && marks(chart).length > 3).map((chart) => chart.dataset.chart);
  seen.wide = root.scrollWidth - innerWidth;
  seen.cropped = charts.filter((chart) => chart.querySelector("svg").getBoundingClientRect().right > innerWidth + 1).length;
  seen.figures = all("figure").filter((figure) => figure.getBoundingClientRect().height > 40).map((figure) => figure.id);
  seen.links = all("nav.contents a").every((link) => document.querySelector(link.getAttribute("href")));

  // Names beside lines do not touch.
  const apart = (a, b) => a.right - 2 < b.left || b.right - 2 < a.left || a.bottom - 2 < b.top || b.bottom - 2 < a.top;
  seen.touching = charts.flatMap((chart) => {
    const names = all(".role-mark text[font-weight='600'], .mark-text text[font-weight='600']", chart).filter((text) => text.closest(".role-mark") && text.getAttribute("opacity") !== "0");
    const boxes = names.map((name) => [name.textContent, name.getBoundingClientRect()]);
    return boxes.flatMap(([name, box], i) => boxes.slice(i + 1).filter(([, other]) => !apart(box, other)).map(([other]) => `${name}/${other}`));
  });

  const point = async (part) => {
    const box = part.getBoundingClientRect();
    const at = { clientX: box.left + box.width / 2, clientY: box.top + box.height / 2, bubbles: true };
    for (const kind of ["pointerover", "pointermove"]) part.dispatchEvent(new PointerEvent(kind, at));
    for (const kind of ["mouseover", "mousemove"]) part.dispatchEvent(new MouseEvent(kind, at));
    await settled();
    return document.getElementById("vg-tooltip-element")?.textContent ?? "";
  };
  const first = (chart, query) => document.querySelector(`[data-chart="${chart}"] ${query}`);
  const tips = { curves: ["loss-by-stages", ".cursor_line_voronoi path"], cosines: ["gradient-cosines", ".cursor_line_voronoi path"], plane: ["stability-plasticity", ".labelled_marks path"], matrix: ["loss-matrix-nats-per-token", ".mark-rect path"], tokens: ["training-tokens", ".mark-rect path"] };
  seen.tips = {};
  for (const [name, [chart, query]] of Object.entries(tips)) seen.tips[name] = await point(first(chart, query));

  const texts = (chart) => all("text", document.querySelector(`[data-chart="${chart}"]`)).filter((text) => !text.closest(".role-legend")).map((text) => text.textContent);
  const button = document.querySelector("[data-toggle='0']");
  button.click();
  await settled();
  seen.off = { pressed: button.getAttribute("aria-pressed"), parts: all("[data-arm='0'].off").length, tip: await point(first(...tips.curves)) };
  seen.off.named = ["loss-by-stages", "forgetting", "stability-plasticity", "loss-matrix-nats-per-token"].filter((chart) => texts(chart).includes("sequential"));
  button.click();
  await settled();
  seen.on = ["loss-by-stages", "forgetting", "loss-matrix-nats-per-token"].filter((chart) => texts(chart).includes("sequential"));

  // The wheel zooms while Ctrl is held, and else scrolls the page.
  const ticks = () => texts("stability-plasticity").join(" ");
  const wheel = async (ctrlKey) => {
    const mark = first("stability-plasticity", ".labelled_marks path"), box = mark.getBoundingClientRect();
    mark.dispatchEvent(new WheelEvent("wheel", { deltaY: -300, ctrlKey, clientX: box.left + 2, clientY: box.top + 2, bubbles: true, cancelable: true }));
    await settled();
    return ticks();
  };
  const before = ticks();
  seen.zoom = [(await wheel(false)) === before, (await wheel(true)) === before];

  const saved = [];
  URL.createObjectURL = (blob) => { saved.push(blob); return "data:,"; };
  HTMLAnchorElement.prototype.click = function () { (seen.names ??= []).push(this.download); };
  for (const save of all("[data-save='loss-by-stages'] button, [data-save='stability-plasticity'] button")) {
    const number = saved.length;
    save.click();
    await until(() => saved.length > number);
  }
  seen.svg = await saved[0].text();
  seen.png = [...new Uint8Array(await saved[1].arrayBuffer())].slice(1, 4).map((byte) => String.fromCharCode(byte)).join("") + (saved[1].size > 5000);
  seen.csv = (await saved[2].text()).split("\n").slice(0, 3);

  dispatchEvent(new Event("beforeprint"));
  await until(() => charts.every((chart) => chart.dataset.room === "700"));
  seen.printed = charts.map((chart) => Math.ceil(chart.querySelector("svg").viewBox.baseVal.width)).filter((width) => width > 720);
  const arabic = document.querySelector(".prompt[lang='ar']");
  if (arabic) {
    arabic.closest("details").open = true;
    const written = all(".continuation p[lang='ar']").find((text) => /[\u0600-\u06ff]/.test(text.textContent));
    seen.direction = [arabic, written].map((text) => getComputedStyle(text).direction);
  }
  parent.tell(seen);
});
