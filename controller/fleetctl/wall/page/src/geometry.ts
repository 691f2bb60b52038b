// Where each cell is in the picture: hosts are blocks, ten cells wide as a rule, row by row.

import type { Cells } from "./cells.js";

export interface Geometry {
  wide: number; high: number;      // cells of a block
  scale: number; gap: number;      // device pixels: a cell's side, and between blocks
  shrink: number;                  // cells along a pixel's side, where they are smaller than one
  across: number; down: number;    // device pixels from one block to the next
  columns: number; rows: number;   // blocks
  width: number; height: number;   // device pixels of the picture
  stretch: number;                 // device pixels of the window along one of these
}

// From the smallest to the largest: [scale, shrink].
const LEVELS = [...Array.from({ length: 31 }, (_, i) => [1, 32 - i]), ...Array.from({ length: 24 }, (_, i) => [i + 1, 1])];
const MOST_SIDE = 8192;
// Where whole pixels would leave much of the view empty, the picture is drawn larger: a cell is then one
// pixel more here than there. A pixel stays a cell unless much is gained.
const STRETCHES = [1.9, 1.8, 1.7, 1.6, 1.5, 1.4, 1.3, 1.2, 1.1], LEAST_OF_A_PIXEL = 1.3;

// The largest cells with which all hosts are in view, and `zoom` levels beyond. Unless somebody cannot
// scroll, a pixel is a cell as long as two screens hold them all.
export function geometry(cells: Cells, width: number, height: number, zoom = 0, scrolls = true): Geometry {
  const wide = cells.stride <= 250 ? Math.min(10, cells.stride) : Math.ceil(Math.sqrt(cells.stride / 2.5));
  const high = Math.ceil(cells.stride / wide), count = Math.max(1, cells.hosts.length);
  const at = (level: number, stretch = 1): Geometry => {
    const [scale, shrink] = LEVELS[level];
    const gap = scale > 1 ? Math.max(1, scale >> 1) : 0;
    const across = Math.ceil(wide * scale / shrink) + gap, down = Math.ceil(high * scale / shrink) + gap;
    const columns = Math.max(1, Math.min(count, Math.floor((width / stretch + gap) / across)));
    const rows = Math.ceil(count / columns);
    return { wide, high, scale, gap, shrink, across, down, columns, rows,
      width: columns * across - gap, height: rows * down - gap, stretch };
  };
  const fits = (one: Geometry) => one.height * one.stretch <= height && one.width * one.stretch <= width;
  let level = LEVELS.length - 1;
  while (level > 0 && !fits(at(level))) level--;
  const pixels = LEVELS.findIndex(([, shrink]) => shrink === 1);
  if (scrolls && level < pixels && at(pixels).height <= 2 * height) level = pixels;
  if (!zoom && fits(at(level))) {
    const larger = STRETCHES.map(stretch => at(level, stretch)).find(fits);
    if (larger && (larger.scale > 1 || larger.stretch >= LEAST_OF_A_PIXEL)) return larger;
  }
  for (; zoom > 0 && level + 1 < LEVELS.length && at(level + 1).height <= MOST_SIDE; zoom--) level++;
  return at(level);
}

export interface Place { block: number; cell: number }

// What is under a device pixel of the picture; where several are, the first.
export function placeAt(of: Geometry, cells: Cells, x: number, y: number): Place | null {
  const column = Math.floor(x / of.across), row = Math.floor(y / of.down);
  const left = Math.floor((x - column * of.across) / of.scale) * of.shrink;
  const top = Math.floor((y - row * of.down) / of.scale) * of.shrink;
  const block = row * of.columns + column, cell = top * of.wide + left;
  if (x < 0 || y < 0 || column >= of.columns || left >= of.wide || top >= of.high) return null;
  if (block >= cells.hosts.length || cell >= cells.sizeOf(block)) return null;
  return { block, cell };
}

// How many cells of which value are under the pixel that shows this one first.
export function countsAt(of: Geometry, cells: Cells, { block, cell }: Place): number[] {
  const counts = new Array<number>(16).fill(0), all = cells.of(block);
  const left = cell % of.wide, top = Math.floor(cell / of.wide);
  for (let y = top; y < Math.min(of.high, top + of.shrink); y++) {
    for (let x = left; x < Math.min(of.wide, left + of.shrink); x++) {
      if (y * of.wide + x < all.length) counts[all[y * of.wide + x]]++;
    }
  }
  return counts;
}

// The device pixel in the middle of a cell.
export function middleOf(of: Geometry, { block, cell }: Place): [number, number] {
  const [x, y] = cornerOf(of, block);
  return [x + Math.floor((cell % of.wide) / of.shrink) * of.scale + (of.scale >> 1),
    y + Math.floor(Math.floor(cell / of.wide) / of.shrink) * of.scale + (of.scale >> 1)];
}

export function cornerOf(of: Geometry, block: number): [number, number] {
  return [(block % of.columns) * of.across, Math.floor(block / of.columns) * of.down];
}
