"use strict";
(() => {
const data = JSON.parse(document.getElementById("data").textContent);
const chart = document.getElementById("chart"), tip = document.getElementById("tip");
const count = new Intl.NumberFormat("en-US"), SIZE = 4;  // numbers of one item: start, length, tag or pauses, key
const lowest = data.rows.reduce((y, row) => Math.max(y, row.y + row.height), 0) + 8;
let first = 0, last = data.cycles, width = 1000, layer = null, drag = null, waiting = false;

const scale = () => width / (last - first);
const least = Math.min(8, data.cycles);  // cycles of the closest view

// Index of the first item of a row that ends after `cycle`.
function search(items, cycle) {
  let low = 0, high = items.length / SIZE;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (items[middle * SIZE] + items[middle * SIZE + 1] > cycle) high = middle; else low = middle + 1;
  }
  return low;
}

// The same rule as in the SVG: what is narrower than a third of a pixel joins its neighbours within one pixel,
// or as far as they follow each other without a gap and are of one key.
function marks(row) {
  const items = row.items;
  const fine = 1 / (3 * scale()), pixel = 1 / scale(), found = [];
  let group = null;
  const flush = () => {
    if (!group) return;
    let key = -1, most = 0;
    for (const [k, filled] of group.keys) if (filled > most) { key = k; most = filled; }
    found.push({...group, key});
    group = null;
  };
  for (let i = search(items, first) * SIZE; i < items.length && items[i] < last; i += SIZE) {
    const start = items[i], length = items[i + 1], end = start + length, narrow = length < fine;
    if (group) {
      group.even &&= start === group.end && group.keys.has(items[i + 3]);
      const near = start - group.end < fine && end - group.start <= pixel;
      if (!(narrow && (group.even || near))) flush();
    }
    group ??= {start, end, tag: items[i + 2], filled: 0, count: 0, even: true, keys: new Map()};
    group.end = end;
    const filled = row.cause === null ? length : length - items[i + 2];
    group.filled += filled;
    group.count += 1;
    group.keys.set(items[i + 3], (group.keys.get(items[i + 3]) ?? 0) + filled);
    if (!narrow) flush();
  }
  flush();
  return found;
}

function drawMark(row, mark) {
  const stall = row.cause !== null;
  const left = Math.max((mark.start - first) * scale(), 0), right = Math.min((mark.end - first) * scale(), width);
  const w = Math.max(right - left, stall ? data.leastStall : data.leastSpan), x = Math.min(left, width - w);
  const filled = mark.filled * (right - left) / (mark.end - mark.start);
  const h = row.height * Math.max(data.leastShare, Math.min(1, filled / w));
  const kind = (stall ? `s${mark.key % data.hatches} stall` : `l${mark.key % data.looks} bar`)
    + (w >= data.wide ? " wide" : "") + (w >= data.broad ? " broad" : "") + (!stall && layer !== null && mark.key !== layer ? " dim" : "");
  let shape = `<rect x="${x.toFixed(2)}" y="${(row.y + row.height - h).toFixed(2)}" width="${w.toFixed(2)}" `
    + `height="${h.toFixed(2)}" class="${kind}"/>`;
  if (!stall && mark.count === 1 && w >= 10 + 7 * String(mark.tag).length)
    shape += `<text x="${(x + w / 2).toFixed(2)}" y="${row.y + 17}" class="tag k${mark.key % data.colours}">`
      + `${mark.tag}</text>`;
  return shape;
}

function drawTicks() {
  let step = 1;
  for (let i = 0; step * scale() < data.tick; i++) step = [1, 2, 5][(i + 1) % 3] * 10 ** Math.floor((i + 1) / 3);
  let shapes = "";
  for (let t = Math.ceil(first / step) * step; t <= last; t += step) {
    const x = ((t - first) * scale()).toFixed(2);
    shapes += `<path d="M${x} 0V${lowest + 5}" class="grid"/><text x="${x}" y="${lowest + 19}" class="tick">`
      + `${count.format(t)}</text>`;
  }
  return shapes;
}

function draw() {
  waiting = false;
  width = Math.max(chart.parentNode.clientWidth - data.left - data.right, 200);
  chart.setAttribute("width", width + data.left + data.right);
  for (const lane of chart.querySelectorAll(".lane")) lane.setAttribute("width", width);
  document.getElementById("ticks").innerHTML = drawTicks();
  document.getElementById("marks").innerHTML =
    data.rows.map(row => marks(row).map(mark => drawMark(row, mark)).join("")).join("");
  const from = Math.floor(first), to = Math.ceil(last);
  document.getElementById("view").textContent =
    `cycles ${count.format(from)} to ${count.format(to - 1)}, ${count.format(to - from)} of ${count.format(data.cycles)}`;
}

function redraw() {
  if (!waiting) { waiting = true; requestAnimationFrame(draw); }
}

// Show `span` cycles from `from` on, inside the timeline.
function show(from, span) {
  span = Math.min(Math.max(span, least), data.cycles);
  first = Math.min(Math.max(from, 0), data.cycles - span);
  last = first + span;
  redraw();
}

// The cycle at `anchor` stays where it is on the screen.
function zoom(factor, anchor = (first + last) / 2) {
  const span = Math.min(Math.max((last - first) * factor, least), data.cycles);
  show(anchor - (anchor - first) * span / (last - first), span);
}

const pan = share => show(first + share * (last - first), last - first);
const reset = () => show(0, data.cycles);

function place(event) {
  const box = chart.getBoundingClientRect();
  const x = event.clientX - box.left - data.left;
  return {x, y: event.clientY - box.top, cycle: first + Math.min(Math.max(x, 0), width) / scale()};
}

// Index into `items` of what lies at `cycle`, or no farther than `reach` cycles; -1 if nothing does.
function find(items, cycle, reach) {
  let best = -1, distance = reach;
  const at = search(items, cycle);
  for (const n of [at, at - 1]) {
    const i = n * SIZE;
    if (i < 0 || i >= items.length) continue;
    const away = Math.max(items[i] - cycle, cycle - items[i] - items[i + 1], 0);
    if (away === 0 && n === at) return i;
    if (away < distance) { best = i; distance = away; }
  }
  return best;
}

function describe({x, y, cycle}) {
  const under = data.rows.find(row => y >= row.y - 1 && y < row.y + row.height + 1);
  if (!under || x < 0 || x > width) return "";
  const lines = [];
  for (const row of data.rows.filter(row => row.unit === under.unit)) {
    const i = find(row.items, cycle, row === under ? 3 / scale() : 0);
    if (i < 0) continue;
    const [start, length, tag, key] = row.items.slice(i, i + SIZE);
    const share = row.cause !== null && tag ? ` in ${Math.round(100 - 100 * tag / length)}% of` : ",";
    lines.push((row.cause === null ? `tag ${tag}, ${data.layers[key]}` : `stalled: ${row.cause}`)
      + `\n  first cycle ${count.format(start)}${share} ${count.format(length)} ${length === 1 ? "cycle" : "cycles"}`);
  }
  return lines.length ? [under.unit, ...lines].join("\n") : "";
}

function hover(event) {
  tip.textContent = drag ? "" : describe(place(event));
  tip.hidden = !tip.textContent;
  if (tip.hidden) return;
  tip.style.left = `${Math.max(0, Math.min(event.clientX + 14, window.innerWidth - tip.offsetWidth - 8))}px`;
  tip.style.top = `${Math.max(0, Math.min(event.clientY + 14, window.innerHeight - tip.offsetHeight - 8))}px`;
}

chart.addEventListener("wheel", event => {
  event.preventDefault();
  const unit = [1, 30, 400][event.deltaMode];  // pixels, lines, pages
  if (Math.abs(event.deltaX) > Math.abs(event.deltaY)) pan(event.deltaX * unit / width);
  else zoom(Math.exp(Math.min(Math.max(event.deltaY * unit, -300), 300) / 400), place(event).cycle);
  hover(event);
}, {passive: false});
chart.addEventListener("pointerdown", event => {
  if (event.button !== 0) return;
  drag = {x: event.clientX, first};
  chart.setPointerCapture(event.pointerId);
  chart.classList.add("dragging");
});
chart.addEventListener("pointermove", event => {
  if (drag) show(drag.first - (event.clientX - drag.x) / scale(), last - first);
  hover(event);
});
for (const name of ["pointerup", "pointercancel"]) chart.addEventListener(name, () => {
  drag = null;
  chart.classList.remove("dragging");
});
chart.addEventListener("pointerleave", () => { tip.hidden = true; });
chart.addEventListener("dblclick", reset);

const keys = {
  "+": () => zoom(1 / 1.5), "=": () => zoom(1 / 1.5), "-": () => zoom(1.5), "_": () => zoom(1.5), "0": reset,
  ArrowLeft: () => pan(-0.15), ArrowRight: () => pan(0.15), ArrowUp: () => zoom(1 / 1.5), ArrowDown: () => zoom(1.5),
  Home: () => show(0, last - first), End: () => show(data.cycles, last - first),
};
chart.addEventListener("keydown", event => {
  if (event.ctrlKey || event.metaKey || event.altKey || !Object.hasOwn(keys, event.key)) return;
  event.preventDefault();
  keys[event.key]();
});
for (const button of document.querySelectorAll("button[data-key]"))
  button.addEventListener("click", () => keys[button.dataset.key]());
for (const button of document.querySelectorAll("button[data-first]"))
  button.addEventListener("click", () => {
    const start = Number(button.dataset.first), length = Number(button.dataset.length);
    show(start - 2 * length, 5 * length);
    chart.scrollIntoView({block: "nearest"});
  });
const legend = [...document.querySelectorAll("button[data-layer]")];
for (const button of legend)
  button.addEventListener("click", () => {
    const chosen = Number(button.dataset.layer);
    layer = layer === chosen ? null : chosen;
    for (const other of legend) other.setAttribute("aria-pressed", String(Number(other.dataset.layer) === layer));
    redraw();
  });
window.addEventListener("resize", redraw);
document.body.classList.add("live");
chart.focus({preventScroll: true});
draw();
})();
