// All cells as the page holds them: the layout, and frames applied to it. The encodings are those of
// StatesFrame in cluster.proto. Whatever a frame or a layout says is bounded here.

export interface Host { id: string; rack: string; cells: number }

export const STATES: readonly string[] = ["free", "pending", "cloning", "defined", "booting", "running",
  "stopping", "failed", "unknown"];
export const FREE = 0, RUNNING = 5, FAILED = 7, UNKNOWN = 8, OUTSIDE = 15;
const WHOLE = 1, BLOCKS = 2, GAPS = 3;
export const MOST_CELLS = 1 << 24;
const MOST_PLACES = 1 << 25;

export class Cells {
  readonly starts: number[] = [0];
  readonly blockOf = new Map<string, number>();
  // Places of a block in `places`: as many as the largest has, unless that one makes them too many.
  readonly stride: number;
  // A value for each place. Places beyond a host's cells hold OUTSIDE.
  readonly places: Uint8Array;
  // When each was changed last, in seconds since the page was opened; 0: before the page looked.
  readonly changed: Uint16Array;
  // What was changed since it was drawn: which blocks, and from which place to which.
  readonly dirty: Uint8Array;
  dirtyFrom = 0;
  dirtyTo: number;

  // `names`: what 0, 1, 2, ... say.
  constructor(readonly hosts: Host[], readonly names: readonly string[] = STATES) {
    let most = 1;
    hosts.forEach((host, block) => {
      this.starts.push(this.starts[block] + host.cells);
      this.blockOf.set(host.id, block);
      most = Math.max(most, host.cells);
    });
    if (!(this.starts[hosts.length] <= MOST_CELLS)) throw new Error("more than 16 million cells: no page draws as many");
    this.stride = Math.min(most, Math.max(1, Math.floor(MOST_PLACES / Math.max(1, hosts.length))));
    this.places = new Uint8Array(hosts.length * this.stride).fill(OUTSIDE);
    this.changed = new Uint16Array(this.isOfStates ? this.places.length : 0);
    hosts.forEach((_, block) => this.places.fill(0, block * this.stride, block * this.stride + this.sizeOf(block)));
    this.dirty = new Uint8Array(hosts.length).fill(1);
    this.dirtyTo = this.places.length;
  }

  allDirty(): void {
    this.dirty.fill(1);
    this.dirtyFrom = 0;
    this.dirtyTo = this.places.length;
  }

  clean(): void {
    this.dirty.fill(0);
    this.dirtyFrom = this.places.length;
    this.dirtyTo = 0;
  }

  get isOfStates(): boolean { return this.names === STATES; }

  // The longest that a frame for these cells can be, inflated.
  get longestFrame(): number {
    const all = this.starts[this.hosts.length];
    return Math.ceil(all / 2) + 1 + 6 * (all + this.hosts.length + 2);
  }

  sizeOf(block: number): number { return Math.min(this.stride, this.hosts[block].cells); }

  of(block: number): Uint8Array {
    return this.places.subarray(block * this.stride, block * this.stride + this.sizeOf(block));
  }

  counts(): number[] {
    const found = new Array<number>(16).fill(0);
    for (const value of this.places) found[value]++;
    return found.slice(0, this.names.length);
  }

  // `at`: seconds since the page was opened; 0 for the first frame, which changes nothing.
  apply(encoding: number, raw: Uint8Array, at: number): void {
    const body = new Body(raw, this.isOfStates ? UNKNOWN : this.names.length - 1);
    if (encoding === WHOLE) {
      let cell = 0;
      const all = this.starts[this.hosts.length], values = body.values(all);
      for (let block = 0; block < this.hosts.length; block++) {
        this.set(block, 0, values.subarray(cell, cell += this.hosts[block].cells), at);
      }
    } else if (encoding === BLOCKS) {
      for (const block of body.positions(this.hosts.length)) {
        this.set(block, 0, body.values(this.hosts[block].cells), at);
      }
    } else if (encoding === GAPS) {
      const positions = body.positions(this.starts[this.hosts.length]);
      const values = body.values(positions.length);
      let block = 0;
      positions.forEach((cell, number) => {
        while (this.starts[block + 1] <= cell) block++;
        this.set(block, cell - this.starts[block], values.subarray(number, number + 1), at);
      });
    } else {
      throw new Error(`a frame has the unknown encoding ${encoding}; use a newer fleetctl`);
    }
  }

  // All places at once, as `places` of another with this layout.
  replace(places: Uint8Array): void {
    this.places.set(places);
    this.allDirty();
  }

  private set(block: number, first: number, values: Uint8Array, at: number): void {
    const fits = values.subarray(0, Math.max(0, this.stride - first)), place = block * this.stride + first;
    if (!fits.length) return;
    if (at && this.changed.length) {
      for (let i = 0; i < fits.length; i++) if (this.places[place + i] !== fits[i]) this.changed[place + i] = at;
    }
    this.places.set(fits, place);
    this.dirty[block] = 1;
    this.dirtyFrom = Math.min(this.dirtyFrom, place);
    this.dirtyTo = Math.max(this.dirtyTo, place + fits.length);
  }
}

class Body {
  private at = 0;
  constructor(private readonly raw: Uint8Array, private readonly largest: number) {}

  positions(most: number): number[] {
    const count = this.varint();
    if (count > most) throw new Error("a frame changes more than there is");
    const found: number[] = [];
    let last = -1;
    for (let i = 0; i < count; i++) found.push(last += this.varint() + 1);
    if (last >= most) throw new Error("a frame changes what is not there");
    return found;
  }

  values(count: number): Uint8Array {
    const size = (count + 1) >> 1, { raw, largest } = this;
    if (this.at + size > raw.length) throw new Error("a frame ends too early");
    const found = new Uint8Array(count);
    for (let i = 0; i < count; i++) {
      const value = (raw[this.at + (i >> 1)] >> (i & 1 ? 4 : 0)) & 15;
      found[i] = value > largest ? largest : value;
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
