// All cells as the page holds them: the layout, and frames applied to it. The encodings are those of
// StatesFrame in cluster.proto.

export interface Host { id: string; rack: string; cells: number }

export const STATES = ["free", "pending", "cloning", "defined", "booting", "running", "stopping",
  "failed", "unknown"] as const;
export const FREE = 0, RUNNING = 5, FAILED = 7, UNKNOWN = 8;
const WHOLE = 1, BLOCKS = 2, GAPS = 3;

export class Cells {
  readonly starts: number[] = [0];
  readonly blockOf = new Map<string, number>();
  readonly stride: number;   // places of a block in `places`: as many as the largest has
  // A state for each place. Places beyond a host's cells hold OUTSIDE.
  readonly places: Uint8Array;
  dirtyFrom = 0;             // places that were changed since they were drawn
  dirtyTo: number;

  constructor(readonly hosts: Host[]) {
    let most = 1;
    hosts.forEach((host, block) => {
      this.starts.push(this.starts[block] + host.cells);
      this.blockOf.set(host.id, block);
      most = Math.max(most, host.cells);
    });
    this.stride = most;
    this.places = new Uint8Array(hosts.length * most).fill(OUTSIDE);
    hosts.forEach((host, block) => this.places.fill(0, block * most, block * most + host.cells));
    this.dirtyTo = this.places.length;
  }

  of(block: number): Uint8Array {
    return this.places.subarray(block * this.stride, block * this.stride + this.hosts[block].cells);
  }

  counts(): number[] {
    const found = new Array<number>(16).fill(0);
    for (const state of this.places) found[state]++;
    return found.slice(0, STATES.length);
  }

  apply(encoding: number, raw: Uint8Array): void {
    const body = new Body(raw);
    if (encoding === WHOLE) {
      let place = 0;
      const all = this.starts[this.hosts.length], states = body.states(all);
      for (let block = 0; block < this.hosts.length; block++) {
        const size = this.hosts[block].cells;
        this.set(block * this.stride, states.subarray(place, place + size));
        place += size;
      }
    } else if (encoding === BLOCKS) {
      for (const block of body.positions(this.hosts.length)) {
        this.set(block * this.stride, body.states(this.hosts[block].cells));
      }
    } else if (encoding === GAPS) {
      const positions = body.positions(this.starts[this.hosts.length]);
      const states = body.states(positions.length);
      let block = 0;
      positions.forEach((cell, number) => {
        while (this.starts[block + 1] <= cell) block++;
        const place = block * this.stride + cell - this.starts[block];
        this.set(place, states.subarray(number, number + 1));
      });
    } else {
      throw new Error(`a frame has the unknown encoding ${encoding}; use a newer fleetctl`);
    }
  }

  private set(place: number, states: Uint8Array): void {
    this.places.set(states, place);
    this.dirtyFrom = Math.min(this.dirtyFrom, place);
    this.dirtyTo = Math.max(this.dirtyTo, place + states.length);
  }
}

export const OUTSIDE = 15;

class Body {
  private at = 0;
  constructor(private readonly raw: Uint8Array) {}

  positions(most: number): number[] {
    const count = this.varint();
    if (count > most) throw new Error("a frame changes more than there is");
    const found: number[] = [];
    let last = -1;
    for (let i = 0; i < count; i++) found.push(last += this.varint() + 1);
    if (last >= most) throw new Error("a frame changes what is not there");
    return found;
  }

  states(count: number): Uint8Array {
    const size = (count + 1) >> 1;
    if (this.at + size > this.raw.length) throw new Error("a frame ends too early");
    const found = new Uint8Array(count);
    for (let i = 0; i < count; i++) {
      const state = (this.raw[this.at + (i >> 1)] >> (i & 1 ? 4 : 0)) & 15;
      found[i] = state > UNKNOWN ? UNKNOWN : state;
    }
    this.at += size;
    return found;
  }

  private varint(): number {
    let value = 0;
    for (let shift = 0; shift < 35; shift += 7) {
      const byte = this.raw[this.at++];
      if (byte === undefined) throw new Error("a frame ends too early");
      value += (byte & 127) * 2 ** shift;
      if (byte < 128) return value;
    }
    throw new Error("a number in a frame is too long");
  }
}
