// The last ten minutes of states, so that they can be looked at again. A picture of them is kept every
// two seconds while anything changes (more seldom of many millions), deflated, and no more than fit.

import { Cells, type Host } from "./cells.js";
import { deflated, inflated } from "./stream.js";

const EACH_MS = 2000, KEPT_MS = 600_000, MOST_BYTES = 24 << 20, CELLS_A_PAUSE = 2 << 20;

interface Kept { at: number; hosts: Host[]; packed: Uint8Array<ArrayBuffer> }

export class Past {
  private readonly kept: Kept[] = [];
  private bytes = 0;
  private taken = -Infinity;
  private busy = false;

  // To be called when anything has changed.
  async note(cells: Cells, now: number): Promise<void> {
    const pause = EACH_MS * Math.ceil(cells.places.length / CELLS_A_PAUSE);
    if (this.busy || now - this.taken < pause || !cells.hosts.length) return;
    this.busy = true;
    this.taken = now;
    const { hosts } = cells, packed = await deflated(cells.places.slice());
    this.busy = false;
    this.kept.push({ at: now, hosts, packed });
    this.bytes += packed.length;
    while (this.kept.length > 1 && (this.bytes > MOST_BYTES || this.kept[1].at < now - KEPT_MS)) {
      this.bytes -= this.kept.shift()!.packed.length;
    }
  }

  // How many seconds can be looked back.
  seconds(now: number): number {
    return this.kept.length ? Math.min(KEPT_MS, now - this.kept[0].at) / 1000 : 0;
  }

  // As it was then; null where nothing is known of it.
  async at(time: number): Promise<Cells | null> {
    let found: Kept | null = null;
    for (const one of this.kept) if (one.at <= time) found = one;
    found ??= this.kept[0] ?? null;
    if (!found) return null;
    const cells = new Cells(found.hosts);
    cells.replace(await inflated(found.packed, cells.places.length));
    return cells;
  }
}
