// What is under the pointer, in words: at once what the page knows, a moment later what fleetctl does.

import { FREE, type Cells } from "./cells.js";
import { ask, byId, count, make } from "./dom.js";
import { countsAt, type Geometry, type Place } from "./geometry.js";
import { cellText, type HostTold } from "./host.js";

const DWELL_MS = 150, FRESH_MS = 3000, KEPT_MS = 20000, MOST_KNOWN = 50;

export interface Pointer { clientX: number; clientY: number }
export interface Shown { cells: Cells; states: Cells; shape: Geometry; byFleet: boolean; isPast: boolean }

export class Tip {
  private readonly element = byId("tip");
  private readonly view = byId("view");
  private readonly known = new Map<string, { at: number; told: any }>();
  private readonly asking = new Set<string>();
  private wanted: { asked: string; say: (told: any) => void } | null = null;
  private timer = 0;

  hide(): void {
    this.forget();
    this.element.hidden = true;
  }

  // Also for a pointer that rests while what is under it changes.
  show(pointer: Pointer, place: Place | null, shown: Shown): void {
    this.forget();
    this.element.hidden = !place;
    if (!place) return;
    const { cells, shape } = shown, block = cells.hosts[place.block], value = cells.of(place.block)[place.cell];
    const head = shown.byFleet ? block.rack : `${block.id}${block.rack ? ` · rack ${block.rack}` : ""}`;
    const say = (what: string) => this.element.replaceChildren(make("b", head), make("br"), what);
    this.place(pointer);
    if (shape.shrink > 1) return say(summed(countsAt(shape, cells, place), cells.names));
    const said = cells.names[value] ?? "";
    const more = cells.isOfStates || value === FREE ? "" : `, ${said}`;
    if (shown.byFleet) {
      const index = indexOf(block.id) + place.cell;
      say(`${block.rack}/${index}: ${said}`);
      if (shown.isPast) return;
      return this.later(`vm?fleet=${encodeURIComponent(block.rack)}&index=${index}`,
        told => say(`${block.rack}/${index}: ${told.host ? `${told.state} on ${told.host}` : `on no host${told.unplaced_reason ? `: ${told.unplaced_reason}` : ""}`}${more}`));
    }
    say(`place ${place.cell + 1}: ${said}`);
    if (shown.isPast) return;
    const at = shown.states.blockOf.get(block.id);
    const state = () => at === undefined ? FREE : shown.states.of(at)[place.cell] ?? FREE;
    this.later(`host?id=${encodeURIComponent(block.id)}`, (told: HostTold) => say(cellText(told, place.cell, state()) + more));
  }

  // An answer is said while it is not too old, and asked for anew once it is no longer fresh.
  private later(asked: string, say: (told: any) => void): void {
    this.wanted = { asked, say };
    const before = this.known.get(asked), age = before ? performance.now() - before.at : Infinity;
    if (before && age < KEPT_MS) say(before.told);
    if (age >= FRESH_MS) this.timer = window.setTimeout(() => void this.askFor(asked), DWELL_MS);
  }

  private async askFor(asked: string): Promise<void> {
    if (this.asking.has(asked)) return;
    this.asking.add(asked);
    const told = await ask(asked).catch(() => null);  // asked again while the pointer is there
    this.asking.delete(asked);
    if (!told) return;
    if (this.known.size > MOST_KNOWN) this.known.clear();
    this.known.set(asked, { at: performance.now(), told });
    if (this.wanted?.asked === asked) this.wanted.say(told);
  }

  private forget(): void {
    clearTimeout(this.timer);
    this.wanted = null;
  }

  private place({ clientX, clientY }: Pointer): void {
    const { view, element } = this, box = view.getBoundingClientRect();
    const right = clientX - box.left > box.width - 240;
    element.style.left = `${clientX - box.left + view.scrollLeft + (right ? -220 : 14)}px`;
    element.style.top = `${clientY - box.top + view.scrollTop + 14}px`;
  }
}

// Of a block that is a stretch of a fleet: its first index.
export const indexOf = (id: string): number => Number(id.slice(id.lastIndexOf("/") + 1));

function summed(counts: number[], names: readonly string[]): string {
  return names.map((name, value) => counts[value] ? `${count(counts[value])} ${name}` : "").filter(Boolean).join(", ");
}
