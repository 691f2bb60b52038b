// The page: one picture of all VMs, and what people do with it. It only reads.

import { Cells } from "./cells.js";
import { ask, byId, count, make } from "./dom.js";
import { cornerOf, geometry, middleOf, placeAt, type Geometry, type Place } from "./geometry.js";
import { drawHistory, note } from "./history.js";
import { OpenHost } from "./host.js";
import { Ages, LAYERS, Other, isLayer, type Grouping, type Layer } from "./layers.js";
import { Legend } from "./legend.js";
import { faded, palette, type Kind, type Palette } from "./palette.js";
import { Past } from "./past.js";
import { pictureOn } from "./picture.js";
import { Tip, indexOf, type Pointer } from "./pointer.js";
import { connectionIs, keepTelling, onProblem, otherIs } from "./standing.js";
import { watch } from "./stream.js";

const canvas = byId<HTMLCanvasElement>("wall"), view = byId("view");
const picture = pictureOn(canvas, new URLSearchParams(location.search).get("renderer"));
const opened = new OpenHost(() => turn({ host: null }), () => soon());
const legend = new Legend(() => soon()), past = new Past(), ages = new Ages(), tip = new Tip();
const other = new Other(anew => { if (anew) begin(); soon(); }, otherIs);
let states = new Cells([]);          // by host, as they are now
let earlier: Cells | null = null;    // as they were, while the past is looked at
let layer: Layer = "state", grouping: Grouping = "host", wantedKind = "";
let shape: Geometry = geometry(states, 1, 1), colours: Palette, ofStates: Palette;
// Many millions take long to draw where there is no GPU: the page is left as much time for the rest.
const PAUSES = 3;
let pause = 0;
let chosen = -1, zoom = 0, due = false, frames = 0, bytes = 0, drawn = 0;
let pointer: Pointer | null = null;  // while it is over the picture

const stored = (name: string) => { try { return localStorage.getItem(name); } catch { return null; } };
const store = (name: string, value: string) => { try { localStorage.setItem(name, value); } catch { /* private */ } };
let dark = (stored("theme") ?? (matchMedia("(prefers-color-scheme: light)").matches ? "light" : "dark")) === "dark";
let blind = stored("palette") === "blind";

// What the picture shows: nothing, while what was asked for has not come yet.
let aged = states;
function shown(): Cells {
  if (earlier) return earlier;
  if (layer === "age") return aged;
  return layer === "state" && grouping === "host" ? states : other.cells ?? nothing;
}
const nothing = new Cells([]);

function draw(): void {
  due = false;
  const cells = shown(), began = performance.now();
  if (canvas.width) picture.draw(cells, shape, faded(colours, legend.lit));
  if (shape.shrink > 1) picture.pixel(0, 0);  // waits until it is drawn
  pause = shape.shrink > 1 ? (performance.now() - began) * PAUSES : 0;
  opened.draw(states, ofStates);
  drawn++;
}

function soon(): void {
  if (due) return;
  due = true;
  if (pause) setTimeout(() => requestAnimationFrame(draw), pause);
  else requestAnimationFrame(draw);
}

function fit(): void {
  const ratio = window.devicePixelRatio;
  shape = geometry(shown(), Math.floor(view.clientWidth * ratio), Math.floor(view.clientHeight * ratio), zoom,
    !document.body.classList.contains("screen"));
  if (canvas.width !== shape.width || canvas.height !== shape.height) {
    canvas.width = Math.max(1, shape.width);
    canvas.height = Math.max(1, shape.height);
  }
  canvas.style.width = `${shape.width * shape.stretch / ratio}px`;
  canvas.style.height = `${shape.height * shape.stretch / ratio}px`;
  frame();
  point();
  soon();
}

// Other blocks, or other things that they say.
function begin(): void {
  if (layer === "age") aged = ages.of(states);
  const cells = shown();
  legend.show(cells.names, LAYERS[earlier ? "state" : layer].title, wantedKind);
  if (cells.names.length > 1 && !cells.isOfStates) wantedKind = "";
  chosen = cells.blockOf.get(opened.id) ?? -1;
  look();
  fit();
  tell();
}

function look(): void {
  document.documentElement.dataset.theme = dark ? "dark" : "light";
  byId("blind").setAttribute("aria-pressed", String(blind));
  const kind: Kind = shown().isOfStates ? "state" : LAYERS[layer].kind;
  colours = palette(dark, blind, kind);
  ofStates = palette(dark, blind);
  legend.draw(colours, kind === "state");
  soon();
}

function tell(): void {
  if (layer === "age" && !earlier) { aged = ages.of(states); soon(); }
  const cells = shown(), counts = cells.counts(), ours = cells === states ? counts : states.counts();
  legend.counts(counts);
  if (states.hosts.length) note(ours, performance.now());
  drawHistory(ofStates);
  const told = cells.names.map((name, value) => counts[value] ? `${count(counts[value])} ${name}` : "");
  const what = grouping === "host" || earlier ? `${count(cells.hosts.length)} hosts` : "VMs by fleet and index";
  canvas.setAttribute("aria-label", `${what}: ${told.filter(Boolean).join(", ")}`);
  const back = byId<HTMLInputElement>("back");
  if (!earlier) back.min = String(-Math.floor(past.seconds(performance.now())));
  point();
}

// The block that is chosen, by its number; -1 for none.
function frame(): void {
  const mark = byId("frame"), ratio = window.devicePixelRatio / shape.stretch;
  mark.hidden = chosen < 0 || chosen >= shown().hosts.length;
  if (mark.hidden) return;
  const [x, y] = cornerOf(shape, chosen);
  mark.style.left = `${x / ratio}px`;
  mark.style.top = `${y / ratio}px`;
  mark.style.width = `${(shape.across - shape.gap) / ratio}px`;
  mark.style.height = `${(shape.down - shape.gap) / ratio}px`;
}

function choose(block: number): void {
  chosen = Math.max(0, Math.min(shown().hosts.length - 1, block));
  frame();
  byId("frame").scrollIntoView({ block: "nearest", inline: "nearest" });
}

// What is looked at stands in the address, so that it can be handed on: null takes a part out.
function turn(parts: Record<string, string | null>): void {
  const said = new URLSearchParams(location.hash.slice(1));
  for (const [name, value] of Object.entries(parts)) value === null ? said.delete(name) : said.set(name, value);
  location.hash = said.toString();
  if (parts.host === null) canvas.focus();
}

function followHash(): void {
  const said = new URLSearchParams(location.hash.slice(1)), id = said.get("host") ?? "", by = said.get("by") ?? "";
  layer = isLayer(by) ? by : "state";
  grouping = said.get("group") === "fleet" && layer !== "age" ? "fleet" : "host";
  byId<HTMLSelectElement>("layer").value = layer;
  byId<HTMLSelectElement>("grouping").value = grouping;
  document.body.classList.toggle("screen", said.has("screen"));
  const [, fleet, index] = /^(.*)[-/](\d+)$/.exec(said.get("vm") ?? "") ?? [];
  const vm = fleet ? { fleet, index: Number(index) } : null;
  if (vm && !id) void openVm(vm.fleet, vm.index);
  else if (opened.id !== id || vm) opened.open(id, vm);
  if (vm) turn({ vm: null });
  other.show(layer, grouping);
  begin();
}

// The host that a VM is on, opened with the VM chosen.
async function openVm(fleet: string, index: number): Promise<void> {
  const told = await ask(`vm?fleet=${encodeURIComponent(fleet)}&index=${index}`).catch(() => null);
  if (told?.host) turn({ host: told.host, vm: `${told.fleet}-${told.index}` });
}

function open(block: number, cell = 0): void {
  const { id, rack } = shown().hosts[block];
  if (grouping === "fleet" && !earlier) void openVm(rack, indexOf(id) + cell);
  else turn({ host: id });
}

function under({ clientX, clientY }: Pointer): Place | null {
  const box = canvas.getBoundingClientRect(), ratio = window.devicePixelRatio / shape.stretch;
  return placeAt(shape, shown(), Math.floor((clientX - box.left) * ratio), Math.floor((clientY - box.top) * ratio));
}

// A pointer that rests is told of what moves or changes under it, too.
function point(): void {
  if (pointer) tip.show(pointer, under(pointer),
    { cells: shown(), states, shape, byFleet: grouping === "fleet" && !earlier, isPast: Boolean(earlier) });
}

canvas.addEventListener("mousemove", event => { pointer = event; point(); });
canvas.addEventListener("mouseleave", () => { pointer = null; tip.hide(); });
canvas.addEventListener("click", event => { const place = under(event); if (place) open(place.block, place.cell); });

const search = byId<HTMLInputElement>("search");
search.addEventListener("change", () => {
  const wanted = search.value.trim(), block = states.blockOf.get(wanted);
  const [, fleet, index] = /^(.+)[-/](\d+)$/.exec(wanted) ?? [];
  if (!wanted) return;
  if (block !== undefined) return turn({ host: wanted });
  const near = states.hosts.find(host => host.id.includes(wanted));
  if (near) turn({ host: near.id });
  else if (fleet) void openVm(fleet, Number(index));
});

// The past: 0 is now.
const back = byId<HTMLInputElement>("back");
async function lookBack(seconds: number): Promise<void> {
  const wanted = seconds ? await past.at(performance.now() + seconds * 1000) : null;
  if (Number(back.value) !== seconds) return;  // it was moved on meanwhile
  const before = shown();
  earlier = wanted;
  byId("when").textContent = wanted ? `${ago(-seconds)} ago` : "now";
  byId("when").classList.toggle("past", Boolean(wanted));
  if (before !== shown()) begin();
}
const ago = (seconds: number) => `${Math.floor(seconds / 60)} min ${String(seconds % 60).padStart(2, "0")} s`;
back.addEventListener("input", () => void lookBack(Number(back.value)));
byId("now").addEventListener("click", () => { back.value = "0"; void lookBack(0); });

byId("layer").addEventListener("change", event => {
  legend.clear();
  const by = (event.target as HTMLSelectElement).value;
  turn({ by: by === "state" ? null : by, ...(by === "age" ? { group: null } : {}) });
});
byId("grouping").addEventListener("change", event => {
  const group = (event.target as HTMLSelectElement).value;
  turn({ group: group === "host" ? null : group, ...(layer === "age" && group === "fleet" ? { by: null } : {}) });
});
onProblem.light = kind => {
  legend.clear();
  back.value = "0";
  void lookBack(0);
  wantedKind = kind;
  if (layer === "problem" && other.cells) begin();
  else turn({ by: "problem" });
};

const turnTheme = () => { dark = !dark; store("theme", dark ? "dark" : "light"); look(); };
const turnPalette = () => { blind = !blind; store("palette", blind ? "blind" : ""); look(); };
const turnScreen = () => {
  const wanted = !document.body.classList.contains("screen");
  turn({ screen: wanted ? "1" : null });
  if (wanted) document.documentElement.requestFullscreen?.().catch(() => undefined);
  else if (document.fullscreenElement) void document.exitFullscreen();
};
const zoomBy = (step: number) => { zoom = Math.max(0, Math.min(24, zoom + step)); fit(); };
byId("theme").addEventListener("click", turnTheme);
byId("blind").addEventListener("click", turnPalette);
byId("screen").addEventListener("click", turnScreen);

const KEYS: Record<string, () => void> = {
  "/": () => search.focus(), p: turnPalette, t: turnTheme, f: turnScreen, "+": () => zoomBy(1), "-": () => zoomBy(-1),
};
document.addEventListener("keydown", event => {
  if (event.ctrlKey || event.altKey || event.metaKey) return;
  if (event.key === "Escape") {
    search.blur();
    return turn({ host: null, screen: null });
  }
  if (event.target instanceof HTMLInputElement || event.target instanceof HTMLSelectElement) return;
  const steps: Record<string, number> = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -shape.columns, ArrowDown: shape.columns };
  if (event.key in steps && event.target !== canvas && event.target !== document.body) return;  // it scrolls
  if (event.key in steps) choose(chosen < 0 ? 0 : chosen + steps[event.key]);
  else if (event.key === "Enter" && chosen >= 0 && event.target === canvas) open(chosen);
  else if (Object.hasOwn(KEYS, event.key)) KEYS[event.key]();
  else return;
  event.preventDefault();
});

window.addEventListener("hashchange", followHash);
new ResizeObserver(fit).observe(view);
setInterval(tell, 500);

// For tests: see docs/wall.md.
(window as any).megafleetWall = {
  state: () => ({ renderer: picture.kind, hosts: states.hosts.length, counts: states.counts(), frames, bytes, drawn, open: opened.id }),
  shown: () => ({ blocks: shown().hosts.map(one => one.id), names: shown().names, counts: shown().counts(), shrink: shape.shrink }),
  cells: (id: string) => [...shown().of(shown().blockOf.get(id)!)],
  colour: (value: number) => colours.cells[value],
  redraw: () => { shown().allDirty(); draw(); },
  pixel: (id: string, cell: number) => {
    draw();
    return picture.pixel(...middleOf(shape, { block: shown().blockOf.get(id)!, cell }));
  },
  middle: (id: string, cell: number) => {
    const box = canvas.getBoundingClientRect();
    const [x, y] = middleOf(shape, { block: shown().blockOf.get(id)!, cell });
    const ratio = devicePixelRatio / shape.stretch;
    return [Math.ceil(box.left + x / ratio), Math.ceil(box.top + y / ratio)];
  },
};

for (const [name, { title }] of Object.entries(LAYERS)) byId("layer").append(make("option", title, { value: name }));
look();
followHash();
void keepTelling();
void watch("states", {
  began(all) {
    states = all;
    byId("hosts").replaceChildren(...states.hosts.slice(0, 5000).map(host => make("option", "", { value: host.id })));
    begin();
  },
  changed(size) {
    frames++;
    bytes += size;
    connectionIs("");
    if (!size) return;
    soon();
    void past.note(states, performance.now());
  },
  lost: connectionIs,
}, new AbortController().signal);
