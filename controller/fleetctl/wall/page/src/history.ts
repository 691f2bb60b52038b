// How many ran and how many had failed, as long as the page was open: an hour at most.

import { byId, count } from "./dom.js";
import { css, type Palette } from "./palette.js";
import { FAILED, RUNNING } from "./cells.js";

const EACH_MS = 5000, MOST = 720, FIRST = 12;
const past: [number, number][] = [];
let taken = -Infinity;

export function note(counts: number[], now: number): void {
  if (now - taken < EACH_MS && past.length) {
    past[past.length - 1] = [counts[RUNNING], counts[FAILED]];
    return;
  }
  taken = now;
  past.push([counts[RUNNING], counts[FAILED]]);
  if (past.length > MOST) past.shift();
}

export function drawHistory(colours: Palette): void {
  const canvas = byId<HTMLCanvasElement>("history"), pen = canvas.getContext("2d")!;
  const { width, height } = canvas;
  pen.clearRect(0, 0, width, height);
  const most = Math.max(1, ...past.map(([running, failed]) => Math.max(running, failed)));
  [RUNNING, FAILED].forEach((state, which) => {
    pen.strokeStyle = css(colours.cells[state]);
    pen.lineWidth = 2;
    pen.beginPath();
    const high = (one: [number, number]) => height - 2 - one[which] / most * (height - 4);
    if (past.length === 1) pen.moveTo(width - FIRST, high(past[0]));  // a line cannot be of one point
    past.forEach((one, at) => pen.lineTo(past.length < 2 ? width : at * width / (past.length - 1), high(one)));
    pen.stroke();
  });
  const [running, failed] = past[past.length - 1] ?? [0, 0];
  const minutes = Math.round(past.length * EACH_MS / 60000);
  canvas.setAttribute("aria-label", `The last ${minutes} minutes: ${count(running)} run now, at most ${count(most)}; ${count(failed)} have failed`);
}
