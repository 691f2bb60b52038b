// What colours say, with counts; a click lights only those cells.

import { UNKNOWN } from "./cells.js";
import { byId, count, make } from "./dom.js";
import { css, type Palette } from "./palette.js";

interface Row { row: HTMLElement; swatch: HTMLCanvasElement; number: HTMLElement; button: HTMLElement }

export class Legend {
  readonly lit = new Set<number>();
  private names: readonly string[] = [];
  private rows: Row[] = [];

  constructor(private readonly changed: () => void) {}

  // `wanted`: what is to be lit as soon as it is among the names.
  show(names: readonly string[], title: string, wanted = ""): void {
    byId("states-title").textContent = title;
    if (names.join("\n") !== this.names.join("\n")) {
      const lit = new Set([...this.lit].map(value => this.names[value]));
      this.names = names;
      this.lit.clear();
      names.forEach((name, value) => { if (lit.has(name)) this.lit.add(value); });
      this.rows = names.map((name, value) => this.made(name, value));
      byId("legend").replaceChildren(...this.rows.map(one => one.row));
    }
    if (wanted) {
      this.lit.clear();
      const found = names.indexOf(wanted), others = names.indexOf("others");
      if (Math.max(found, others) > 0) this.lit.add(found > 0 ? found : others);
    }
    this.press();
  }

  clear(): void {
    this.lit.clear();
    this.press();
  }

  counts(counts: number[]): void {
    this.rows.forEach(({ number }, value) => { number.textContent = count(counts[value] ?? 0); });
  }

  draw(colours: Palette, hatched: boolean): void {
    this.rows.forEach(({ swatch }, value) => {
      const pen = swatch.getContext("2d")!;
      pen.fillStyle = css(colours.cells[value]);
      pen.fillRect(0, 0, 14, 14);
      if (hatched && value === UNKNOWN) {
        pen.fillStyle = css(colours.ground);
        for (let y = 0; y < 14; y++) for (let x = 0; x < 14; x++) if ((x + y) % 4 === 0) pen.fillRect(x, y, 1, 1);
      }
    });
  }

  private press(): void {
    this.rows.forEach(({ button }, value) => button.setAttribute("aria-pressed", String(this.lit.has(value))));
  }

  private made(name: string, value: number): Row {
    const row = make("li"), button = make("button", "", { "aria-pressed": "false" });
    const swatch = make("canvas", "", { class: "swatch", width: "14", height: "14", "aria-hidden": "true" });
    const number = make("b", "0");
    button.append(swatch, make("span", name), number);
    button.title = `Light only: ${name}`;
    button.addEventListener("click", () => {
      this.lit.has(value) ? this.lit.delete(value) : this.lit.add(value);
      this.press();
      this.changed();
    });
    row.append(button);
    return { row, swatch, number, button };
  }
}
