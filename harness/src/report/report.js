// A read-out under the pointer. The page says everything without it.
(() => {
  const source = document.getElementById("night-data");
  const svg = document.getElementById("night");
  if (!source || !svg) return;
  const data = JSON.parse(source.textContent);
  const cursor = document.getElementById("cursor");
  const readout = document.getElementById("readout");

  const three = (value) => Number(value.toPrecision(3)).toString();
  const count = (n) => (n < 1e3 ? Math.round(n).toString() : n < 1e6 ? three(n / 1e3) + "k" : three(n / 1e6) + "M");
  const latency = (ns) =>
    ns < 1e6 ? three(ns / 1e3) + " µs" : ns < 1e9 ? three(ns / 1e6) + " ms" : three(ns / 1e9) + " s";

  const nearest = (times, t) => {
    let low = 0;
    let high = times.length - 1;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (times[middle] < t) low = middle + 1;
      else high = middle;
    }
    return low > 0 && t - times[low - 1] < times[low] - t ? low - 1 : low;
  };

  const cell = (row, kind, text, name) => {
    const element = row.appendChild(document.createElement(kind));
    element.textContent = text;
    if (name) element.className = name;
  };

  const show = (event) => {
    const at = new DOMPoint(event.clientX, event.clientY).matrixTransform(svg.getScreenCTM().inverse());
    const t = ((at.x - data.left) / (data.right - data.left)) * data.end;
    if (t < 0 || t > data.end || at.y < data.top - 20 || at.y > data.bottom + 20) return hide();
    cursor.setAttribute("d", `M${at.x} ${data.top}V${data.bottom}`);

    const table = document.createElement("table");
    const head = table.appendChild(document.createElement("tr"));
    const relative = t - data.markAt;
    cell(head, "th", `${relative < 0 ? "−" : "+"}${Math.abs(relative).toFixed(1)} s`);
    for (const name of ["achieved", "queue", "p99.9"]) cell(head, "td", name, "faint");
    for (const engine of data.engines) {
      const row = table.appendChild(document.createElement("tr"));
      const n = nearest(engine.t, t);
      cell(row, "th", engine.name, engine.class);
      cell(row, "td", count(engine.achieved[n]));
      cell(row, "td", count(engine.queue[n]));
      const p999 = engine.p999[n];
      const p99 = engine.p99[n];
      cell(row, "td", p999 !== null ? latency(p999) : p99 !== null ? `p99 ${latency(p99)}` : "–");
    }
    const row = table.appendChild(document.createElement("tr"));
    cell(row, "th", "offered");
    cell(row, "td", count(data.offered[Math.floor(t / data.interval)] ?? 0));
    readout.replaceChildren(table);
    readout.hidden = false;
    const box = svg.getBoundingClientRect();
    const left = event.clientX - box.left;
    readout.style.left = `${left + (left > box.width / 2 ? -readout.offsetWidth - 16 : 16)}px`;
  };

  const hide = () => {
    cursor.removeAttribute("d");
    readout.hidden = true;
  };

  svg.addEventListener("pointermove", show);
  svg.addEventListener("pointerleave", hide);
})();
