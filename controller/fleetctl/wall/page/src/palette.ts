// Colours of states, by theme. The second set is Okabe and Ito's, told apart by the colour-blind.

import { OUTSIDE, STATES } from "./cells.js";

type Rgb = [number, number, number];
export interface Palette { states: Rgb[]; ground: Rgb; lit: Rgb }

const DARK = ["#1b2430", "#4b5a6b", "#7a6cf0", "#3f8fd0", "#f2c230", "#2fb86a", "#b08bd6", "#ff4d4d", "#7f8a96"];
const LIGHT = ["#e3e8ee", "#a8b4c2", "#6a5be0", "#2f7fc4", "#e0a800", "#1f9d55", "#9467bd", "#d7263d", "#8a94a0"];
const BLIND_DARK = ["#1b2430", "#56606c", "#cc79a7", "#56b4e9", "#f0e442", "#0072b2", "#e69f00", "#ff6a00", "#9aa4ae"];
const BLIND_LIGHT = ["#e3e8ee", "#b4bec8", "#cc79a7", "#56b4e9", "#d8c400", "#0072b2", "#e69f00", "#d55e00", "#8a94a0"];

export function palette(dark: boolean, blind: boolean): Palette {
  const states = (blind ? (dark ? BLIND_DARK : BLIND_LIGHT) : dark ? DARK : LIGHT).map(rgb);
  const ground = rgb(dark ? "#0c1117" : "#ffffff");
  while (states.length < OUTSIDE) states.push(ground);
  states.push(ground);
  return { states, ground, lit: rgb(dark ? "#ffffff" : "#000000") };
}

// A lit selection leaves the others faint.
export function faded(one: Palette, lit: Set<number>): Palette {
  if (!lit.size) return one;
  const states = one.states.map((colour, state): Rgb => state >= STATES.length || lit.has(state)
    ? colour : colour.map((c, i) => Math.round(c * 0.14 + one.ground[i] * 0.86)) as Rgb);
  return { ...one, states };
}

function rgb(hex: string): Rgb {
  return [1, 3, 5].map(at => parseInt(hex.slice(at, at + 2), 16)) as Rgb;
}

export const css = ([r, g, b]: Rgb): string => `rgb(${r} ${g} ${b})`;
