"use strict";
(async () => {
  const { config, charts } = JSON.parse(document.getElementById("charts").textContent);
  const all = (query) => [...document.querySelectorAll(query)];
  const views = new Map();
  const hidden = new Set();
  const GAP = 20, PAPER = 700; // pixels between panels, and of a printed page's width

  for (const chart of Object.values(charts)) {
    chart.table = chart.rows.map((row) => Object.fromEntries(row.map((value, at) => [chart.columns[at], value]).filter(([, value]) => value !== null)));
  }

  // As many panels beside each other as fit; a panel that alone is too wide shrinks.
  const fitted = (chart, room) => {
    const spec = structuredClone(chart.spec);
    const panels = spec.concat ?? [spec.spec ?? spec];
    const left = room - chart.axis;
    for (const panel of panels) panel.width = Math.min(chart.width, left - chart.beside);
    if (spec.columns) spec.columns = Math.max(1, Math.min(spec.columns, Math.floor((left + GAP) / (chart.width + chart.beside + GAP))));
    return spec;
  };

  // Vega-Lite places no labels; Vega does, around the marks that have one.
  const labelled = (spec) => {
    const marks = spec.marks.find((mark) => mark.name === "labelled_marks");
    if (marks) {
      spec.marks.push({
        type: "text",
        from: { data: "labelled_marks" },
        encode: { enter: { text: { field: "datum.label" }, fill: { field: "stroke" }, fontSize: { value: 12 }, fontWeight: { value: 600 }, stroke: { value: "var(--paper)" }, strokeWidth: { value: 3 } } },
        transform: [{ type: "label", size: { signal: "[width, height]" }, offset: [5, 5, 5, 5, 4, 4, 4, 4, 16, 16, 16, 16], anchor: ["right", "left", "top", "bottom", "top-right", "bottom-right", "top-left", "bottom-left", "right", "left", "top", "bottom"] }],
      });
    }
    return spec;
  };

  // Where a row lacks a value that others have, Vega-Lite formats nothing as a number: NaN, or NaNT with a unit.
  const sanitize = (value) => (/^(NaN\w?|undefined)$/.test(value) ? "–" : String(value).replace(/&/g, "&amp;").replace(/</g, "&lt;"));
  const draw = async (holder, room) => {
    const chart = charts[holder.dataset.chart];
    const spec = fitted(chart, room);
    spec.datasets = { ...spec.datasets, table: chart.table };
    views.get(holder)?.finalize();
    const options = { mode: "vega-lite", renderer: "svg", actions: false, defaultStyle: false, ast: true, config, patch: labelled, tooltip: { disableDefaultStyle: true, sanitize } };
    views.set(holder, (await vegaEmbed(holder, spec, options)).view);
    if (hidden.size) await views.get(holder).signal("hidden", [...hidden]).runAsync();
  };

  const drawAll = async (width) => {
    for (const holder of all("[data-chart]")) {
      const room = width ?? Math.floor(holder.closest("figure").clientWidth);
      if (holder.dataset.room !== String(room)) {
        holder.dataset.room = room;
        await draw(holder, room);
      }
    }
    document.documentElement.dataset.drawn = views.size;
  };

  for (const button of all("[data-toggle]")) {
    button.addEventListener("click", () => {
      const { toggle, name } = button.dataset;
      const shown = hidden.delete(name);
      if (!shown) hidden.add(name);
      button.setAttribute("aria-pressed", String(shown));
      for (const part of all(`[data-arm="${toggle}"]`)) part.classList.toggle("off", !shown);
      for (const view of views.values()) view.signal("hidden", [...hidden]).runAsync();
    });
  }

  for (const input of all(".switch input")) {
    input.addEventListener("change", () => {
      for (const view of input.closest("figure").querySelectorAll(".view")) view.hidden = view.dataset.view !== input.value;
    });
  }

  // Outside of the page a drawing has neither its variables nor its patterns.
  const resolved = (text) => {
    const style = getComputedStyle(document.documentElement);
    return text.replace(/var\((--[\w-]+)\)/g, (_, name) => style.getPropertyValue(name).trim());
  };
  const drawing = async (view) => {
    const patterns = `<style>text { paint-order: stroke; }</style><defs>${document.getElementById("patterns").innerHTML}</defs><rect width="100%" height="100%" fill="var(--paper)"/>`;
    return resolved((await view.toSVG()).replace(/<svg[^>]*>/, (open) => open + patterns));
  };
  const picture = async (svg, scale) => {
    const image = new Image();
    image.src = `data:image/svg+xml,${encodeURIComponent(svg)}`;
    await image.decode();
    const canvas = Object.assign(document.createElement("canvas"), { width: image.width * scale, height: image.height * scale });
    canvas.getContext("2d").drawImage(image, 0, 0, canvas.width, canvas.height);
    return new Promise((done) => canvas.toBlob(done));
  };
  const csv = ({ csv: columns, table }) => {
    const quoted = (value) => (/[",\n\r]/.test(value) ? `"${value.replaceAll('"', '""')}"` : value);
    const rows = table.filter((row) => row[columns[0]] !== undefined).map((row) => columns.map((column) => quoted(String(row[column] ?? ""))));
    return [columns, ...rows].map((row) => row.join(",")).join("\n") + "\n";
  };
  const save = async (name, kind) => {
    const chart = charts[name];
    const view = views.get(document.querySelector(`[data-chart="${name}"]`));
    if (kind === "csv") return new Blob([csv(chart)], { type: "text/csv" });
    const svg = await drawing(view);
    return kind === "svg" ? new Blob([svg], { type: "image/svg+xml" }) : picture(svg, 2);
  };
  for (const button of all(".save button")) {
    button.addEventListener("click", async () => {
      const name = button.parentElement.dataset.save, kind = button.textContent.toLowerCase();
      const link = Object.assign(document.createElement("a"), { download: `${name}.${kind}`, href: URL.createObjectURL(await save(name, kind)) });
      link.click();
      URL.revokeObjectURL(link.href);
    });
  }

  addEventListener("beforeprint", () => drawAll(PAPER));
  addEventListener("afterprint", () => drawAll());
  let waiting;
  addEventListener("resize", () => { clearTimeout(waiting); waiting = setTimeout(drawAll, 150); });
  await drawAll();
})();
