// Draws all cells: with WebGL2, or pixel by pixel on a plain canvas where that is not to be had.

import { OUTSIDE, UNKNOWN, type Cells } from "./cells.js";
import { placeAt, type Geometry } from "./geometry.js";
import type { Palette } from "./palette.js";

export interface Picture {
  readonly kind: "webgl2" | "canvas";
  draw(cells: Cells, of: Geometry, colours: Palette): void;
  pixel(x: number, y: number): number[];
}

export function pictureOn(canvas: HTMLCanvasElement, plain: boolean): Picture {
  const gl = plain ? null : canvas.getContext("webgl2", { alpha: false, antialias: false });
  return gl ? new GlPicture(gl) : new CanvasPicture(canvas.getContext("2d", { alpha: false })!);
}

const ROW = 2048;  // texels
const VERTEX = `#version 300 es
void main() { gl_Position = vec4(vec2(gl_VertexID & 1, gl_VertexID >> 1) * 4. - 1., 0., 1.); }`;
const FRAGMENT = `#version 300 es
precision highp float; precision highp int; precision highp usampler2D;
uniform usampler2D places; uniform ivec4 block; uniform ivec4 grid; uniform int height;
uniform vec3 colours[16]; uniform vec3 ground; out vec4 colour;
void main() {
  ivec2 at = ivec2(int(gl_FragCoord.x), height - 1 - int(gl_FragCoord.y));
  ivec2 pitch = block.xy * grid.x + grid.y, which = at / pitch, inside = at - which * pitch;
  ivec2 cell = inside / grid.x;
  int number = which.y * grid.z + which.x, place = cell.y * block.x + cell.x;
  colour = vec4(ground, 1.);
  if (cell.x >= block.x || cell.y >= block.y || which.x >= grid.z || number >= grid.w
      || place >= block.z) return;
  int texel = number * block.z + place;
  uint state = texelFetch(places, ivec2(texel % ${ROW}, texel / ${ROW}), 0).r;
  colour = vec4(colours[state], 1.);
  if (state == ${UNKNOWN}u && (at.x + at.y) % 4 == 0) colour = vec4(ground, 1.);
}`;

class GlPicture implements Picture {
  readonly kind = "webgl2";
  private readonly program: WebGLProgram;
  private drawn: Cells | null = null;

  constructor(private readonly gl: WebGL2RenderingContext) {
    this.program = gl.createProgram();
    for (const [kind, text] of [[gl.VERTEX_SHADER, VERTEX], [gl.FRAGMENT_SHADER, FRAGMENT]] as const) {
      const shader = gl.createShader(kind)!;
      gl.shaderSource(shader, text);
      gl.compileShader(shader);
      gl.attachShader(this.program, shader);
    }
    gl.linkProgram(this.program);
    gl.useProgram(this.program);
    gl.bindTexture(gl.TEXTURE_2D, gl.createTexture());
    gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_MIN_FILTER, gl.NEAREST);
    gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_MAG_FILTER, gl.NEAREST);
    gl.pixelStorei(gl.UNPACK_ALIGNMENT, 1);
  }

  draw(cells: Cells, of: Geometry, colours: Palette): void {
    const { gl } = this;
    this.upload(cells);
    const at = (name: string) => gl.getUniformLocation(this.program, name);
    gl.viewport(0, 0, of.width, of.height);
    gl.uniform4i(at("block"), of.wide, of.high, cells.stride, 0);
    gl.uniform4i(at("grid"), of.scale, of.gap, of.columns, cells.hosts.length);
    gl.uniform1i(at("height"), of.height);
    gl.uniform3fv(at("colours"), colours.states.flat().map(one => one / 255));
    gl.uniform3fv(at("ground"), colours.ground.map(one => one / 255));
    gl.drawArrays(gl.TRIANGLES, 0, 3);
  }

  pixel(x: number, y: number): number[] {
    const { gl } = this, found = new Uint8Array(4);
    gl.readPixels(x, gl.drawingBufferHeight - 1 - y, 1, 1, gl.RGBA, gl.UNSIGNED_BYTE, found);
    return [...found.subarray(0, 3)];
  }

  private upload(cells: Cells): void {
    const { gl } = this, rows = Math.max(1, Math.ceil(cells.places.length / ROW));
    if (this.drawn !== cells) {
      gl.texImage2D(gl.TEXTURE_2D, 0, gl.R8UI, ROW, rows, 0, gl.RED_INTEGER, gl.UNSIGNED_BYTE, null);
      cells.dirtyFrom = 0;
      cells.dirtyTo = cells.places.length;
      this.drawn = cells;
    }
    if (cells.dirtyFrom >= cells.dirtyTo) return;
    const first = Math.floor(cells.dirtyFrom / ROW), last = Math.ceil(cells.dirtyTo / ROW);
    let part = cells.places.subarray(first * ROW, last * ROW);
    if (part.length < (last - first) * ROW) {
      const whole = new Uint8Array((last - first) * ROW);
      whole.set(part);
      part = whole;
    }
    gl.texSubImage2D(gl.TEXTURE_2D, 0, 0, first, ROW, last - first, gl.RED_INTEGER, gl.UNSIGNED_BYTE, part);
    cells.dirtyFrom = cells.places.length;
    cells.dirtyTo = 0;
  }
}

class CanvasPicture implements Picture {
  readonly kind = "canvas";
  constructor(private readonly context: CanvasRenderingContext2D) {}

  draw(cells: Cells, of: Geometry, colours: Palette): void {
    const image = this.context.createImageData(of.width, of.height);
    const words = new Uint32Array(image.data.buffer);
    const word = ([r, g, b]: number[]) => (255 << 24 | b << 16 | g << 8 | r) >>> 0;
    const states = colours.states.map(word), ground = word(colours.ground);
    for (let y = 0, i = 0; y < of.height; y++) {
      for (let x = 0; x < of.width; x++, i++) {
        const place = placeAt(of, cells, x, y);
        const state = place ? cells.places[place.block * cells.stride + place.cell] : OUTSIDE;
        words[i] = state === UNKNOWN && (x + y) % 4 === 0 ? ground : states[state];
      }
    }
    this.context.putImageData(image, 0, 0);
    cells.dirtyFrom = cells.places.length;
    cells.dirtyTo = 0;
  }

  pixel(x: number, y: number): number[] {
    return [...this.context.getImageData(x, y, 1, 1).data.subarray(0, 3)];
  }
}
