// One host, opened: its facts, its cells large, its VMs, and what each uses of a CPU.

import { FAILED, FREE, STATES, UNKNOWN, type Cells } from "./cells.js";
import { command } from "./commands.js";
import { ask, byId, count, make } from "./dom.js";
import { css, type Palette } from "./palette.js";
import { OpenVm, type Vm } from "./vm.js";

const SIDE = 13, WIDE = 20, AGAIN_MS = 2000;

interface Reason { fleet: string; kind: string; count: number; message: string; ranges: number[][] }

// As `fleetctl wall` tells it: see host_cells.py.
export interface HostTold {
  health: string; cordoned: boolean; draining: boolean; running: number; assigned: number;
  failed: number; capacity: number; address: string; labels: Record<string, string>;
  link_error: string; quarantine: string | null; misbehaves: string | null; distrusted: string | null;
  orders_refused: string | null;
  facts: { agent_version: string; hypervisor: string; storage: string };
  cells: { fleet: string; uid: string; ranges: number[][] }[];
  reasons: Reason[];
}

// By the order of cells that StatesFrame has.
export function vmOf(told: HostTold, cell: number): Vm | null {
  let rest = cell;
  for (const { fleet, uid, ranges } of told.cells) {
    for (const [start, stop] of ranges) {
      const index = start + rest;
      if (rest < stop - start) return { fleet, uid, index, reason: reasonOf(told, fleet, index) };
      rest -= stop - start;
    }
  }
  return null;
}

function cellOf(told: HostTold, fleet: string, index: number): number {
  let at = 0;
  for (const one of told.cells) {
    for (const [start, stop] of one.ranges) {
      if (one.fleet === fleet && start <= index && index < stop) return at + index - start;
      at += stop - start;
    }
  }
  return -1;
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
  private cell = -1;
  private wanted: { fleet: string; index: number } | null = null;  // to be chosen once it is known
  private shown: Uint8Array = new Uint8Array(0);
  private cpu: Map<string, number> | null = null;  // percent of one CPU; null: states are shown
  private readonly vm = new OpenVm();
  private readonly canvas = make("canvas", "", { tabindex: "0", role: "img" });
  private readonly said = make("p", "", { class: "said", "aria-live": "polite" });
  private readonly list = make("dl");
  private readonly rows = make("ul");
  private readonly all = make("details");
  private readonly byCpu = make("button", "CPU", { "aria-pressed": "false", title: "Colour these VMs by what they use of a CPU" });

  constructor(private readonly close: () => void, private readonly again: () => void) {
    const cellAt = (event: MouseEvent) => Math.floor(event.offsetY / SIDE) * WIDE + Math.floor(event.offsetX / SIDE);
    this.canvas.addEventListener("mousemove", event => this.say(cellAt(event)));
    this.canvas.addEventListener("mouseleave", () => this.say(this.cell));
    this.canvas.addEventListener("click", event => this.choose(cellAt(event)));
    this.canvas.addEventListener("keydown", event => {
      const step = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -WIDE, ArrowDown: WIDE }[event.key];
      if (!step) return;
      this.choose(Math.max(0, this.cell + step));
      event.preventDefault();
      event.stopPropagation();
    });
    this.byCpu.addEventListener("click", () => {
      this.cpu = this.cpu ? null : new Map();
      this.byCpu.setAttribute("aria-pressed", String(Boolean(this.cpu)));
      this.again();
      if (this.cpu) void this.readCpu(this.id);
    });
    this.all.append(make("summary", "VMs"), this.rows);
    this.all.addEventListener("toggle", () => this.listVms());
  }

  open(id: string, vm: { fleet: string; index: number } | null = null): void {
    if (this.id === id && vm && this.told) return this.choose(cellOf(this.told, vm.fleet, vm.index));
    this.id = id;
    this.told = null;
    this.cell = -1;
    this.wanted = vm;
    this.cpu = null;
    this.byCpu.setAttribute("aria-pressed", "false");
    this.said.textContent = "";
    this.list.replaceChildren();
    this.vm.show(null, "");
    byId("host").hidden = !id;
    clearTimeout(this.timer);
    if (id) { this.build(); void this.refresh(id); }
  }

  private build(): void {
    const head = make("header"), close = make("button", "Close"), id = this.id;
    close.addEventListener("click", this.close);
    head.append(make("h2", id), this.byCpu, close);
    byId("host").replaceChildren(head, this.list, this.canvas, this.said, this.all,
      command(`fleetctl hosts show ${id}`), command(`fleetctl hosts drain ${id} --plan`));
  }

  private async refresh(id: string): Promise<void> {
    const told: HostTold | Error = await ask(`host?id=${encodeURIComponent(id)}`).catch((error: Error) => error);
    if (this.id !== id) return;
    if (!(told instanceof Error)) {
      this.told = told;
      this.facts(told);
      this.listVms();
      if (this.wanted) this.choose(cellOf(told, this.wanted.fleet, this.wanted.index));
      this.wanted = null;
      this.say(this.cell);
    } else if (!this.told) {
      this.said.textContent = told.message;
    }
    this.timer = window.setTimeout(() => void this.refresh(id), AGAIN_MS);
  }

  private async readCpu(id: string): Promise<void> {
    while (this.cpu && this.id === id) {
      const told = await ask(`cpu?id=${encodeURIComponent(id)}`).catch((error: Error) => error);
      if (!this.cpu || this.id !== id) return;
      if (told instanceof Error) this.said.textContent = told.message;
      else this.cpu = new Map(told.vms.map(([uid, index, percent]: [string, number, number]) => [`${uid}/${index}`, percent]));
      this.again();
      await new Promise(done => setTimeout(done, AGAIN_MS));
    }
  }

  private facts(told: HostTold): void {
    const rows: [string, string][] = [
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
    this.list.replaceChildren(...rows.filter(([, value]) => value).flatMap(([name, value]) => [make("dt", name), make("dd", value)]));
  }

  // While it is unfolded: each VM, and what it does.
  private listVms(): void {
    const { told } = this, used = this.shown.length - this.shown.filter(state => state === FREE).length;
    this.all.querySelector("summary")!.textContent = `${count(used)} VMs`;
    if (!told || !this.all.open) return this.rows.replaceChildren();
    const lines: string[] = [];
    this.shown.forEach((state, cell) => { if (vmOf(told, cell)) lines.push(cellText(told, cell, state)); });
    if (this.rows.dataset.said === lines.join("\n") && this.rows.childElementCount) return;
    this.rows.dataset.said = lines.join("\n");
    this.rows.replaceChildren(...lines.map((line, cell) => {
      const row = make("li"), button = make("button", line);
      button.addEventListener("click", () => this.choose(cell));
      row.append(button);
      return row;
    }));
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
      pen.fillStyle = this.fill(colours, cell, state);
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
        pen.lineWidth = 2;
        pen.strokeRect(x, y, SIDE - 1, SIDE - 1);
        pen.lineWidth = 1;
      }
    });
    const failed = this.shown.reduce((sum, state) => sum + Number(state === FAILED), 0);
    this.canvas.setAttribute("aria-label", `${this.shown.length} cells of ${this.id}, ${failed} failed`);
  }

  // By CPU: from faint to full, a whole CPU.
  private fill(colours: Palette, cell: number, state: number): string {
    const vm = this.cpu && this.told && state !== FREE ? vmOf(this.told, cell) : null;
    if (!this.cpu) return css(colours.cells[state]);
    const share = Math.sqrt(Math.min(1, (this.cpu.get(`${vm?.uid}/${vm?.index}`) ?? 0) / 100));
    const [from, to] = [colours.cells[FREE], colours.cells[4]];
    return css(from.map((one, i) => Math.round(one + (to[i] - one) * (vm ? 0.15 + 0.85 * share : 0))) as [number, number, number]);
  }

  // What stands under the cells: of the one under the pointer, or of the chosen one.
  private say(cell: number): void {
    if (cell >= this.shown.length) return;
    const { told } = this;
    this.said.textContent = told && cell >= 0 ? this.text(told, cell) : "Click a cell: its VM and the end of its console.";
    if (told && this.cell >= 0) this.vm.show(vmOf(told, this.cell), this.text(told, this.cell));
  }

  private text(told: HostTold, cell: number): string {
    const vm = vmOf(told, cell), percent = vm && this.cpu?.get(`${vm.uid}/${vm.index}`);
    return cellText(told, cell, this.shown[cell]) + (percent === undefined || percent === null ? "" : `, ${percent} % of a CPU`);
  }

  private choose(cell: number): void {
    if (cell < 0 || cell >= this.shown.length) return;
    this.cell = cell;
    if (this.told && !vmOf(this.told, cell)) this.vm.show(null, "");
    this.say(cell);
    this.again();
  }
}

export function cellText(told: HostTold, cell: number, state: number): string {
  const vm = vmOf(told, cell);
  if (!vm) return `place ${cell + 1}: free`;
  if (state === FREE) return `${vm.fleet}/${vm.index}: prepared here, held by another host`;
  return `${vm.fleet}/${vm.index}: ${STATES[state]}${state === FAILED && vm.reason ? `, ${vm.reason}` : ""}`;
}
