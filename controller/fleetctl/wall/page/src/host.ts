// One host, opened: its facts, its cells large, and which VM each is.

import { FAILED, STATES, UNKNOWN, type Cells } from "./cells.js";
import { ask, byId, count, make } from "./dom.js";
import { css, type Palette } from "./palette.js";

const SIDE = 13, WIDE = 20;

interface Reason { fleet: string; kind: string; count: number; message: string; ranges: number[][] }

// As `fleetctl wall` tells it: see host_cells.py.
export interface HostTold {
  health: string; cordoned: boolean; draining: boolean; running: number; assigned: number;
  failed: number; capacity: number; address: string; labels: Record<string, string>;
  link_error: string; quarantine: string | null; misbehaves: string | null; distrusted: string | null;
  orders_refused: string | null;
  facts: { agent_version: string; hypervisor: string; storage: string };
  cells: { fleet: string; ranges: number[][] }[];
  reasons: Reason[];
}

export interface Vm { fleet: string; index: number; reason: string }

// By the order of cells that StatesFrame has.
export function vmOf(told: HostTold, cell: number): Vm | null {
  let rest = cell;
  for (const { fleet, ranges } of told.cells) {
    for (const [start, stop] of ranges) {
      if (rest < stop - start) return { fleet, index: start + rest, reason: reasonOf(told, fleet, start + rest) };
      rest -= stop - start;
    }
  }
  return null;
}

function reasonOf(told: HostTold, fleet: string, index: number): string {
  const found = told.reasons.find(one => one.fleet === fleet
    && one.ranges.some(([start, stop]) => start <= index && index < stop));
  return found ? `${found.kind}: ${found.message}` : "";
}

export class OpenHost {
  id = "";
  private told: HostTold | null = null;
  private timer = 0;
  private readonly canvas = make("canvas", "", { tabindex: "0", role: "img" });
  private readonly said = make("p", "", { class: "said", "aria-live": "polite" });

  constructor(private readonly close: () => void) {
    this.canvas.addEventListener("mousemove", event => this.say(
      Math.floor(event.offsetY / SIDE) * WIDE + Math.floor(event.offsetX / SIDE)));
    this.canvas.addEventListener("keydown", event => {
      const step = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -WIDE, ArrowDown: WIDE }[event.key];
      if (step) { this.say(Math.max(0, this.cell + step)); event.preventDefault(); event.stopPropagation(); }
    });
  }

  private cell = 0;
  private shown: Uint8Array = new Uint8Array(0);

  open(id: string): void {
    this.id = id;
    this.told = null;
    this.cell = 0;
    this.said.textContent = "";
    byId("host").hidden = !id;
    clearTimeout(this.timer);
    if (id) { this.facts(); void this.refresh(id); }
  }

  private async refresh(id: string): Promise<void> {
    const told: HostTold | Error = await ask(`host?id=${encodeURIComponent(id)}`).catch((error: Error) => error);
    if (this.id !== id) return;
    if (!(told instanceof Error)) {
      this.told = told;
      this.facts();
    } else if (!this.told) {
      this.said.textContent = told.message;
    }
    this.timer = window.setTimeout(() => void this.refresh(id), 2000);
  }

  private facts(): void {
    const head = make("header"), close = make("button", "Close"), told = this.told;
    close.addEventListener("click", this.close);
    head.append(make("h2", this.id), close);
    const list = make("dl");
    const rows: [string, string][] = !told ? [] : [
      ["health", `${told.health}${told.cordoned ? ", cordoned" : ""}${told.draining ? ", draining" : ""}`],
      ["VMs", `${count(told.running)} of ${count(told.assigned)} run, ${count(told.failed)} failed`],
      ["room for", count(told.capacity)],
      ["address", told.address],
      ["labels", Object.entries(told.labels).map(([key, value]) => `${key}=${value}`).join(" ")],
      ["agent", `${told.facts.agent_version}, ${told.facts.hypervisor}, ${told.facts.storage}`],
      ["link", told.link_error],
      ["quarantine", told.quarantine ?? ""],
      ["misbehaves", told.misbehaves ?? ""],
      ["distrusted", told.distrusted ?? ""],
      ["no orders", told.orders_refused ?? ""],
      ...told.reasons.map((one): [string, string] => [one.kind, `${count(one.count)}: ${one.message}`]),
    ];
    for (const [name, value] of rows) if (value) list.append(make("dt", name), make("dd", value));
    const parts: HTMLElement[] = [head, list, this.canvas, this.said, make("code", `fleetctl hosts show ${this.id}`)];
    const panel = byId("host");
    if (panel.childElementCount) {
      panel.children[1].replaceWith(list);
      panel.children[0].querySelector("h2")!.textContent = this.id;
      panel.children[4].textContent = `fleetctl hosts show ${this.id}`;
    } else {
      panel.replaceChildren(...parts);
    }
    if (told) this.say(this.cell);
  }

  draw(cells: Cells, colours: Palette): void {
    const block = cells.blockOf.get(this.id);
    if (block === undefined) return;
    this.shown = cells.of(block);
    const rows = Math.ceil(this.shown.length / WIDE), ratio = window.devicePixelRatio;
    const [width, height] = [WIDE * SIDE, rows * SIDE];
    this.canvas.width = width * ratio;
    this.canvas.height = height * ratio;
    this.canvas.style.width = `${width}px`;
    this.canvas.style.height = `${height}px`;
    const pen = this.canvas.getContext("2d")!;
    pen.scale(ratio, ratio);
    this.shown.forEach((state, cell) => {
      const x = (cell % WIDE) * SIDE, y = Math.floor(cell / WIDE) * SIDE;
      pen.fillStyle = css(colours.states[state]);
      pen.fillRect(x, y, SIDE - 1, SIDE - 1);
      if (state === UNKNOWN) {
        pen.strokeStyle = css(colours.ground);
        pen.beginPath();
        pen.moveTo(x, y + SIDE - 1);
        pen.lineTo(x + SIDE - 1, y);
        pen.stroke();
      }
      if (cell === this.cell) {
        pen.strokeStyle = css(colours.lit);
        pen.strokeRect(x + .5, y + .5, SIDE - 2, SIDE - 2);
      }
    });
    const failed = this.shown.reduce((sum, state) => sum + Number(state === FAILED), 0);
    this.canvas.setAttribute("aria-label", `${this.shown.length} cells of ${this.id}, ${failed} failed`);
  }

  private say(cell: number): void {
    if (cell >= this.shown.length) return;
    this.cell = cell;
    this.said.textContent = this.told ? cellText(this.told, cell, this.shown[cell]) : "";
  }
}

export function cellText(told: HostTold, cell: number, state: number): string {
  const vm = vmOf(told, cell);
  if (!vm) return `place ${cell + 1}: free`;
  if (state === 0) return `${vm.fleet}/${vm.index}: prepared here, held by another host`;
  return `${vm.fleet}/${vm.index}: ${STATES[state]}${state === FAILED && vm.reason ? `, ${vm.reason}` : ""}`;
}
