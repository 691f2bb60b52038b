// What colours say: a layer, and what blocks are: a grouping. All but states by host come as a second
// stream, while they are looked at; how long ago a VM changed the page knows by itself.

import { Cells, FREE, OUTSIDE } from "./cells.js";
import type { Kind } from "./palette.js";
import { sinceOpened, watch } from "./stream.js";

export type Layer = "state" | "fleet" | "generation" | "problem" | "hypervisor" | "age";
export type Grouping = "host" | "fleet";
export const LAYERS: Record<Layer, { title: string; kind: Kind }> = {
  state: { title: "State", kind: "state" },
  fleet: { title: "Fleet", kind: "named" },
  generation: { title: "Generation", kind: "ordered" },
  problem: { title: "Problem", kind: "problem" },
  age: { title: "Last change", kind: "ordered" },
  hypervisor: { title: "Hypervisor", kind: "named" },
};
export const isLayer = (name: string): name is Layer => Object.hasOwn(LAYERS, name);

const AGES = ["free", "within 10 s", "within a minute", "within 10 minutes", "within an hour", "longer ago, or before this page looked"];
const AGE_SECONDS = [10, 60, 600, 3600];

// By when each VM changed, as far as the page has seen it.
export class Ages {
  private cells: Cells | null = null;

  of(states: Cells): Cells {
    if (this.cells?.hosts !== states.hosts) this.cells = new Cells(states.hosts, AGES);
    const now = sinceOpened(), places = new Uint8Array(states.places.length);
    for (let i = 0; i < places.length; i++) {
      const state = states.places[i], at = states.changed[i];
      places[i] = state === FREE || state === OUTSIDE ? state : at ? band(now - at) : AGES.length - 1;
    }
    this.cells.replace(places);
    return this.cells;
  }
}

function band(seconds: number): number {
  const found = AGE_SECONDS.findIndex(most => seconds <= most);
  return (found < 0 ? AGE_SECONDS.length : found) + 1;
}

// The second stream: at most one, of what is looked at.
export class Other {
  cells: Cells | null = null;
  private stopping: AbortController | null = null;
  private asked = "";

  constructor(private readonly changed: (anew: boolean) => void, private readonly lost: (why: string) => void) {}

  show(layer: Layer, grouping: Grouping): void {
    const wanted = layer === "age" ? "state" : layer;
    const asked = wanted === "state" && grouping === "host" ? "" : `states?layer=${wanted}&grouping=${grouping}`;
    if (asked === this.asked) return;
    this.asked = asked;
    this.cells = null;
    this.stopping?.abort();
    this.stopping = null;
    this.lost("");
    if (!asked) return;
    const stopping = this.stopping = new AbortController();
    void watch(asked, {
      began: cells => { this.cells = cells; this.changed(true); },
      changed: size => { this.lost(""); if (size) this.changed(false); },
      lost: this.lost,
    }, stopping.signal);
  }
}
