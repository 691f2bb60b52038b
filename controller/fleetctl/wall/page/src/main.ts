// The page: one picture of all VMs, and what people do with it. It only reads.

import { Cells, STATES, UNKNOWN } from "./cells.js";
import { ask, byId, count, make } from "./dom.js";
import { cornerOf, geometry, middleOf, placeAt, type Geometry, type Place } from "./geometry.js";
import { drawHistory, note } from "./history.js";
import { OpenHost, cellText, type HostTold } from "./host.js";
import { css, faded, palette, type Palette } from "./palette.js";
import { pictureOn } from "./picture.js";
import { connectionIs, keepTelling } from "./standing.js";
import { watch } from "./stream.js";

const canvas = byId<HTMLCanvasElement>("wall"), view = byId("view"), tip = byId("tip");
const picture = pictureOn(canvas, new URLSearchParams(location.search).get("renderer") === "canvas");
const opened = new OpenHost(() => { location.hash = ""; });
const lit = new Set<number>();
let cells = new Cells([]), shape: Geometry = geometry(cells, 1, 1), colours: Palette;
let chosen = -1, due = false, frames = 0, bytes = 0, drawn = 0;

const stored = (name: string) => { try { return localStorage.getItem(name); } catch { return null; } };
const store = (name: string, value: string) => { try { localStorage.setItem(name, value); } catch { /* private */ } };
let dark = (stored("theme") ?? (matchMedia("(prefers-color-scheme: light)").matches ? "light" : "dark")) === "dark";
let blind = stored("palette") === "blind";

function draw(): void {
  due = false;
  if (!canvas.width || !cells.hosts.length) return;
  picture.draw(cells, shape, faded(colours, lit));
  opened.draw(cells, colours);
  drawn++;
}

function soon(): void {
  if (!due) { due = true; requestAnimationFrame(draw); }
}

function fit(): void {
  const ratio = window.devicePixelRatio;
  shape = geometry(cells, Math.floor(view.clientWidth * ratio), Math.floor(view.clientHeight * ratio));
  if (canvas.width !== shape.width || canvas.height !== shape.height) {
    canvas.width = Math.max(1, shape.width);
    canvas.height = Math.max(1, shape.height);
  }
  canvas.style.width = `${shape.width / ratio}px`;
  canvas.style.height = `${shape.height / ratio}px`;
  frame();
  soon();
}

function look(): void {
  document.documentElement.dataset.theme = dark ? "dark" : "light";
  byId("blind").setAttribute("aria-pressed", String(blind));
  colours = palette(dark, blind);
  legend();
  soon();
}

const legendRows = STATES.map((name, state) => {
  const row = make("li"), button = make("button", "", { "aria-pressed": "false" });
  const swatch = make("canvas", "", { class: "swatch", width: "14", height: "14", "aria-hidden": "true" });
  const number = make("b", "0");
  button.append(swatch, name, number);
  button.title = `Light only what is ${name}`;
  button.addEventListener("click", () => {
    lit.has(state) ? lit.delete(state) : lit.add(state);
    button.setAttribute("aria-pressed", String(lit.has(state)));
    soon();
  });
  row.append(button);
  return { row, swatch, number };
});
byId("legend").append(...legendRows.map(one => one.row));

function legend(): void {
  legendRows.forEach(({ swatch }, state) => {
    const pen = swatch.getContext("2d")!;
    pen.fillStyle = css(colours.states[state]);
    pen.fillRect(0, 0, 14, 14);
    if (state === UNKNOWN) {
      pen.fillStyle = css(colours.ground);
      for (let y = 0; y < 14; y++) for (let x = 0; x < 14; x++) if ((x + y) % 4 === 0) pen.fillRect(x, y, 1, 1);
    }
  });
}

function tell(): void {
  const counts = cells.counts();
  legendRows.forEach(({ number }, state) => { number.textContent = count(counts[state]); });
  if (cells.hosts.length) note(counts, performance.now());
  drawHistory(colours);
  const told = STATES.map((name, state) => counts[state] ? `${count(counts[state])} ${name}` : "");
  canvas.setAttribute("aria-label", `${count(cells.hosts.length)} hosts: ${told.filter(Boolean).join(", ")}`);
}

// The host that is chosen, by its number; -1 for none.
function frame(): void {
  const mark = byId("frame"), ratio = window.devicePixelRatio;
  mark.hidden = chosen < 0 || chosen >= cells.hosts.length;
  if (mark.hidden) return;
  const [x, y] = cornerOf(shape, chosen);
  mark.style.left = `${x / ratio}px`;
  mark.style.top = `${y / ratio}px`;
  mark.style.width = `${shape.wide * shape.scale / ratio}px`;
  mark.style.height = `${shape.high * shape.scale / ratio}px`;
}

function choose(block: number): void {
  chosen = Math.max(0, Math.min(cells.hosts.length - 1, block));
  frame();
  byId("frame").scrollIntoView({ block: "nearest", inline: "nearest" });
}

function followHash(): void {
  const id = new URLSearchParams(location.hash.slice(1)).get("host") ?? "";
  if (opened.id !== id) opened.open(id);
  chosen = cells.blockOf.get(id) ?? -1;
  fit();
}

const open = (block: number) => { location.hash = `host=${encodeURIComponent(cells.hosts[block].id)}`; };
const close = () => { location.hash = ""; canvas.focus(); };

function under(event: MouseEvent): Place | null {
  const box = canvas.getBoundingClientRect(), ratio = window.devicePixelRatio;
  return placeAt(shape, cells, Math.floor((event.clientX - box.left) * ratio), Math.floor((event.clientY - box.top) * ratio));
}

let dwelling = 0;
const known = new Map<string, { at: number; told: HostTold }>();
canvas.addEventListener("mousemove", event => {
  clearTimeout(dwelling);
  const place = under(event);
  tip.hidden = !place;
  if (!place) return;
  const host = cells.hosts[place.block], state = cells.of(place.block)[place.cell];
  const head = `${host.id}${host.rack ? ` · rack ${host.rack}` : ""}`;
  const say = (what: string) => { tip.replaceChildren(make("b", head), make("br"), what); };
  say(`place ${place.cell + 1}: ${STATES[state]}`);
  const box = view.getBoundingClientRect();
  const right = event.clientX - box.left > box.width - 240;
  tip.style.left = `${event.clientX - box.left + view.scrollLeft + (right ? -220 : 14)}px`;
  tip.style.top = `${event.clientY - box.top + view.scrollTop + 14}px`;
  const before = known.get(host.id);
  if (before && performance.now() - before.at < 3000) return say(cellText(before.told, place.cell, state));
  dwelling = window.setTimeout(async () => {
    const told: HostTold | null = await ask(`host?id=${encodeURIComponent(host.id)}`).catch(() => null);
    if (!told) return;
    if (known.size > 50) known.clear();
    known.set(host.id, { at: performance.now(), told });
    say(cellText(told, place.cell, state));
  }, 150);
});
canvas.addEventListener("mouseleave", () => { clearTimeout(dwelling); tip.hidden = true; });
canvas.addEventListener("click", event => { const place = under(event); if (place) open(place.block); });

const search = byId<HTMLInputElement>("search");
search.addEventListener("change", () => {
  const wanted = search.value.trim();
  const block = cells.blockOf.get(wanted) ?? cells.hosts.findIndex(host => host.id.includes(wanted));
  if (wanted && block >= 0) open(block);
});

const turnTheme = () => { dark = !dark; store("theme", dark ? "dark" : "light"); look(); };
const turnPalette = () => { blind = !blind; store("palette", blind ? "blind" : ""); look(); };
byId("theme").addEventListener("click", turnTheme);
byId("blind").addEventListener("click", turnPalette);

document.addEventListener("keydown", event => {
  if (event.ctrlKey || event.altKey || event.metaKey) return;
  if (event.key === "Escape") { search.blur(); return close(); }
  if (event.target === search) return;
  const steps: Record<string, number> = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -shape.columns, ArrowDown: shape.columns };
  if (event.key in steps) choose(chosen < 0 ? 0 : chosen + steps[event.key]);
  else if (event.key === "Enter" && chosen >= 0 && event.target === canvas) open(chosen);
  else if (event.key === "/") search.focus();
  else if (event.key === "p") turnPalette();
  else if (event.key === "t") turnTheme();
  else return;
  event.preventDefault();
});

window.addEventListener("hashchange", followHash);
new ResizeObserver(fit).observe(view);
setInterval(tell, 500);

// For tests: see docs/wall.md.
(window as any).megafleetWall = {
  state: () => ({ renderer: picture.kind, hosts: cells.hosts.length, counts: cells.counts(), frames, bytes, drawn, open: opened.id }),
  cells: (id: string) => [...cells.of(cells.blockOf.get(id)!)],
  colour: (state: number) => colours.states[state],
  pixel: (id: string, cell: number) => {
    draw();
    return picture.pixel(...middleOf(shape, { block: cells.blockOf.get(id)!, cell }));
  },
  middle: (id: string, cell: number) => {
    const box = canvas.getBoundingClientRect();
    const [x, y] = middleOf(shape, { block: cells.blockOf.get(id)!, cell });
    return [box.left + (x + .5) / devicePixelRatio, box.top + (y + .5) / devicePixelRatio];
  },
};

look();
void keepTelling();
void watch({
  began(all) {
    cells = all;
    byId("hosts").replaceChildren(...cells.hosts.slice(0, 5000).map(host => make("option", "", { value: host.id })));
    followHash();
    tell();
  },
  changed(size) {
    frames++;
    bytes += size;
    connectionIs("");
    if (size) soon();
  },
  lost: connectionIs,
});
