// The picture on a plain canvas: all of its pixels are kept, and only blocks that have changed are made anew.

import { OUTSIDE, UNKNOWN, type Cells } from "./cells.js";
import { cornerOf, type Geometry } from "./geometry.js";
import type { Palette } from "./palette.js";
import type { Picture } from "./picture.js";

export const HOT_SHARE = 0.6;  // of a pixel's colour, at least, where any of its cells is hot

export class CanvasPicture implements Picture {
  readonly kind = "canvas";
  private readonly context: CanvasRenderingContext2D;
  private image = new ImageData(1, 1);
  private words = new Uint32Array(1);
  private drawn: unknown[] = [];

  constructor(canvas: HTMLCanvasElement) {
    // Pixels come from the processor and stay with it.
    this.context = canvas.getContext("2d", { alpha: false, willReadFrequently: true })!;
  }

  draw(cells: Cells, of: Geometry, colours: Palette): void {
    const now = [cells, of, colours.hot, colours.ground.join(), colours.cells.join()];
    if (now.some((one, at) => one !== this.drawn[at])) this.begin(cells, of, colours);
    this.drawn = now;
    const paint = of.shrink > 1 ? new Mixed(colours) : new Plain(colours);
    let first = of.height, last = 0;
    for (let block = 0; block < cells.hosts.length; block++) {
      if (!cells.dirty[block]) continue;
      const [left, top] = cornerOf(of, block);
      paint.block(this.words, cells, of, block, left, top);
      first = Math.min(first, top);
      last = Math.max(last, top + of.down - of.gap);
    }
    cells.clean();
    if (last > first) this.context.putImageData(this.image, 0, 0, 0, first, of.width, last - first);
  }

  pixel(x: number, y: number): number[] {
    return [...this.context.getImageData(x, y, 1, 1).data.subarray(0, 3)];
  }

  private begin(cells: Cells, of: Geometry, colours: Palette): void {
    if (this.image.width !== of.width || this.image.height !== of.height) {
      this.image = new ImageData(of.width, of.height);
      this.words = new Uint32Array(this.image.data.buffer);
    }
    this.words.fill(word(colours.ground));
    this.context.putImageData(this.image, 0, 0);
    cells.allDirty();
  }
}

const word = ([r, g, b]: number[]): number => (255 << 24 | b << 16 | g << 8 | r) >>> 0;

// A cell is one pixel, or several.
class Plain {
  private readonly known: Uint32Array;
  private readonly ground: number;

  constructor(colours: Palette) {
    this.known = Uint32Array.from(colours.cells, word);
    this.ground = word(colours.ground);
  }

  block(words: Uint32Array, cells: Cells, of: Geometry, block: number, left: number, top: number): void {
    const { known } = this, { places, stride, isOfStates } = cells, { wide, scale, width } = of;
    const first = block * stride;
    for (let cell = 0, x = left, y = top, column = 0; cell < stride; cell++) {
      const value = places[first + cell], colour = known[value];
      if (scale === 1 && !(isOfStates && value === UNKNOWN)) words[y * width + x] = colour;
      else this.square(words, width, x, y, scale, colour, isOfStates && value === UNKNOWN);
      x += scale;
      if (++column === wide) { column = 0; x = left; y += scale; }
    }
  }

  private square(words: Uint32Array, width: number, left: number, top: number, side: number, colour: number, hatched: boolean): void {
    for (let y = top; y < top + side; y++) {
      const row = y * width;
      if (!hatched) words.fill(colour, row + left, row + left + side);
      else for (let x = left; x < left + side; x++) words[row + x] = (x + y) % 4 ? colour : this.ground;
    }
  }
}

// A pixel is several cells; as the shader does it.
class Mixed {
  private readonly red: number[];
  private readonly green: number[];
  private readonly blue: number[];

  constructor(private readonly colours: Palette) {
    [this.red, this.green, this.blue] = [0, 1, 2].map(i => colours.cells.map(one => one[i]));
  }

  block(words: Uint32Array, cells: Cells, of: Geometry, block: number, left: number, top: number): void {
    const { places, stride } = cells, { wide, high, shrink, width } = of, { red, green, blue } = this;
    const { hot } = this.colours, first = block * stride, ground = word(this.colours.ground);
    for (let y = 0; y * shrink < high; y++) {
      for (let x = 0; x * shrink < wide; x++) {
        let r = 0, g = 0, b = 0, all = 0, hots = 0;
        for (let down = y * shrink; down < Math.min(high, (y + 1) * shrink); down++) {
          const from = down * wide, to = Math.min(from + wide, from + (x + 1) * shrink, stride);
          for (let cell = from + x * shrink; cell < to; cell++) {
            const value = places[first + cell];
            if (value === OUTSIDE) continue;
            r += red[value]; g += green[value]; b += blue[value];
            all++;
            if (value === hot) hots++;
          }
        }
        const mixed = all ? this.mixed([r / all, g / all, b / all], hots / all) : ground;
        words[(top + y) * width + left + x] = mixed;
      }
    }
  }

  private mixed(mean: number[], hot: number): number {
    if (!hot) return word(mean.map(Math.round));
    const share = Math.max(HOT_SHARE, hot), hottest = this.colours.cells[this.colours.hot];
    return word(mean.map((one, i) => Math.round(one * (1 - share) + hottest[i] * share)));
  }
}
