// Colours of cells, by theme. The second sets are for the colour-blind: Okabe and Ito's, and Tol's.

import { FREE, OUTSIDE } from "./cells.js";

type Rgb = [number, number, number];
// `cells`: by value. `hot`: the value that is not to be lost among others; -1: none.
export interface Palette { cells: Rgb[]; ground: Rgb; lit: Rgb; hot: number }
export type Kind = "state" | "named" | "ordered" | "problem";

const DARK = ["#1b2430", "#4b5a6b", "#7a6cf0", "#3f8fd0", "#f2c230", "#2fb86a", "#b08bd6", "#ff4d4d", "#7f8a96"];
const LIGHT = ["#e3e8ee", "#a8b4c2", "#6a5be0", "#2f7fc4", "#e0a800", "#1f9d55", "#9467bd", "#d7263d", "#8a94a0"];
const BLIND_DARK = ["#1b2430", "#56606c", "#cc79a7", "#56b4e9", "#f0e442", "#0072b2", "#e69f00", "#ff6a00", "#9aa4ae"];
const BLIND_LIGHT = ["#e3e8ee", "#b4bec8", "#cc79a7", "#56b4e9", "#d8c400", "#0072b2", "#e69f00", "#d55e00", "#8a94a0"];
const NAMED = ["#3f8fd0", "#e0a030", "#2fa86a", "#b077d8", "#e06a3b", "#38b8b0", "#d6559a", "#86a832", "#6a7ff0",
  "#b8935a", "#ef7f95", "#5f8ea0", "#b5651d", "#8d99a6"];
const NAMED_BLIND = ["#0072b2", "#e69f00", "#56b4e9", "#d8c400", "#009e73", "#cc79a7", "#d55e00", "#999999", "#5a4fb0",
  "#88ccee", "#b8a850", "#2a8a4a", "#a04070", "#44aa99"];
const ORDERED = ["#f2c230", "#5ec962", "#21918c", "#4a6aa8", "#6a5590"];

export function palette(dark: boolean, blind: boolean, kind: Kind = "state"): Palette {
  const states = blind ? (dark ? BLIND_DARK : BLIND_LIGHT) : dark ? DARK : LIGHT;
  const ground = rgb(dark ? "#0c1117" : "#ffffff");
  const named = blind ? NAMED_BLIND : NAMED;
  const said = { state: states, ordered: [states[FREE], ...ORDERED], named: [states[FREE], ...named],
    problem: [states[FREE], dark ? "#2c3a48" : "#c9d3dd", ...named.slice(1)] }[kind];
  const cells = said.map(rgb);
  while (cells.length <= OUTSIDE) cells.push(ground);
  return { cells, ground, lit: rgb(dark ? "#ffffff" : "#000000"), hot: kind === "state" ? 7 : -1 };
}

// A lit selection leaves the others faint.
export function faded(one: Palette, lit: Set<number>): Palette {
  if (!lit.size) return one;
  const cells = one.cells.map((colour, value): Rgb => value === OUTSIDE || lit.has(value)
    ? colour : colour.map((c, i) => Math.round(c * 0.14 + one.ground[i] * 0.86)) as Rgb);
  return { ...one, cells, hot: lit.size === 1 ? [...lit][0] : lit.has(one.hot) ? one.hot : -1 };
}

function rgb(hex: string): Rgb {
  return [1, 3, 5].map(at => parseInt(hex.slice(at, at + 2), 16)) as Rgb;
}

export const css = ([r, g, b]: Rgb): string => `rgb(${r} ${g} ${b})`;
