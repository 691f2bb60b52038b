// Where each cell is in the picture: hosts are blocks, ten cells wide as a rule, row by row.

import type { Cells } from "./cells.js";

export interface Geometry {
  wide: number; high: number;      // cells of a block
  scale: number; gap: number;      // device pixels: a cell's side, and between blocks
  columns: number; rows: number;   // blocks
  width: number; height: number;   // device pixels of the picture
}

const MOST_SCALE = 24;

// The largest cells with which all hosts are in view; one pixel each where they are not.
export function geometry(cells: Cells, width: number, height: number): Geometry {
  const wide = cells.stride <= 250 ? Math.min(10, cells.stride) : Math.ceil(Math.sqrt(cells.stride / 2.5));
  const high = Math.ceil(cells.stride / wide), count = Math.max(1, cells.hosts.length);
  const at = (scale: number): Geometry => {
    const gap = scale > 1 ? Math.max(1, scale >> 1) : 0;
    const columns = Math.max(1, Math.min(count, Math.floor((width + gap) / (wide * scale + gap))));
    const rows = Math.ceil(count / columns);
    return { wide, high, scale, gap, columns, rows,
      width: columns * (wide * scale + gap) - gap, height: rows * (high * scale + gap) - gap };
  };
  for (let scale = MOST_SCALE; scale > 1; scale--) {
    const found = at(scale);
    if (found.height <= height && found.width <= width) return found;
  }
  return at(1);
}

export interface Place { block: number; cell: number }

// What is under a device pixel of the picture.
export function placeAt(of: Geometry, cells: Cells, x: number, y: number): Place | null {
  const across = of.wide * of.scale + of.gap, down = of.high * of.scale + of.gap;
  const column = Math.floor(x / across), row = Math.floor(y / down);
  const left = Math.floor((x - column * across) / of.scale);
  const top = Math.floor((y - row * down) / of.scale);
  const block = row * of.columns + column, cell = top * of.wide + left;
  if (x < 0 || y < 0 || column >= of.columns || left >= of.wide || top >= of.high) return null;
  if (block >= cells.hosts.length || cell >= cells.hosts[block].cells) return null;
  return { block, cell };
}

// The device pixel in the middle of a cell.
export function middleOf(of: Geometry, { block, cell }: Place): [number, number] {
  const [x, y] = cornerOf(of, block);
  return [x + (cell % of.wide) * of.scale + (of.scale >> 1),
    y + Math.floor(cell / of.wide) * of.scale + (of.scale >> 1)];
}

export function cornerOf(of: Geometry, block: number): [number, number] {
  return [(block % of.columns) * (of.wide * of.scale + of.gap),
    Math.floor(block / of.columns) * (of.high * of.scale + of.gap)];
}
