// Draws all cells: with WebGL2 where there is a GPU, or else pixel by pixel on a plain canvas, which is much
// faster than a GPU that is played by the processor. Where a pixel stands for several cells it has their mean
// colour, and the hot ones among them are not lost.

import { CanvasPicture, HOT_SHARE } from "./canvas.js";
import { OUTSIDE, UNKNOWN, type Cells } from "./cells.js";
import type { Geometry } from "./geometry.js";
import type { Palette } from "./palette.js";

export interface Picture {
  readonly kind: "webgl2" | "canvas";
  draw(cells: Cells, of: Geometry, colours: Palette): void;
  pixel(x: number, y: number): number[];
}

// `wanted`: one of them whatever there is, for tests.
export function pictureOn(canvas: HTMLCanvasElement, wanted: string | null): Picture {
  const plain = wanted === "canvas" || (wanted !== "webgl2" && !hasGpu());
  const gl = plain ? null : canvas.getContext("webgl2", { alpha: false, antialias: false });
  return gl ? new GlPicture(gl) : new CanvasPicture(canvas);
}

const PLAYED = /swiftshader|llvmpipe|softpipe|software|basic render/i;

// Browsers do not refuse what is slow when they are asked to: the renderer's name tells.
function hasGpu(): boolean {
  const gl = document.createElement("canvas").getContext("webgl2", { failIfMajorPerformanceCaveat: true });
  if (!gl) return false;
  const told = gl.getExtension("WEBGL_debug_renderer_info");
  const renderer = String(gl.getParameter(told ? told.UNMASKED_RENDERER_WEBGL : gl.RENDERER));
  gl.getExtension("WEBGL_lose_context")?.loseContext();
  return !PLAYED.test(renderer);
}

const ROW = 2048;  // texels
const VERTEX = `#version 300 es
void main() { gl_Position = vec4(vec2(gl_VertexID & 1, gl_VertexID >> 1) * 4. - 1., 0., 1.); }`;
const FRAGMENT = `#version 300 es
precision highp float; precision highp int; precision highp usampler2D;
uniform usampler2D places; uniform ivec4 block; uniform ivec4 grid; uniform ivec3 pitch;
uniform ivec2 marks; uniform vec3 colours[16]; uniform vec3 ground; out vec4 colour;
uint at(int number, ivec2 cell) {
  int place = cell.y * block.x + cell.x;
  if (cell.x >= block.x || cell.y >= block.y || place >= block.z) return ${OUTSIDE}u;
  int texel = number * block.z + place;
  return texelFetch(places, ivec2(texel % ${ROW}, texel / ${ROW}), 0).r;
}
void main() {
  ivec2 point = ivec2(int(gl_FragCoord.x), pitch.z - 1 - int(gl_FragCoord.y));
  ivec2 which = point / pitch.xy, inside = point - which * pitch.xy;
  int number = which.y * grid.z + which.x;
  colour = vec4(ground, 1.);
  if (which.x >= grid.z || number >= grid.w) return;
  if (block.w == 1) {
    uint value = at(number, inside / grid.x);
    if (value == ${OUTSIDE}u) return;
    if (marks.x == 0 || value != ${UNKNOWN}u || (point.x + point.y) % 4 != 0) colour = vec4(colours[value], 1.);
    return;
  }
  vec3 sum = vec3(0.); float all = 0., hot = 0.;
  for (int y = 0; y < block.w; y++) for (int x = 0; x < block.w; x++) {
    uint value = at(number, inside * block.w + ivec2(x, y));
    if (value == ${OUTSIDE}u) continue;
    sum += colours[value]; all += 1.;
    if (int(value) == marks.y) hot += 1.;
  }
  if (all == 0.) return;
  vec3 mean = sum / all;
  if (hot > 0.) mean = mix(mean, colours[marks.y], max(${HOT_SHARE.toFixed(2)}, hot / all));
  colour = vec4(mean, 1.);
}`;

class GlPicture implements Picture {
  readonly kind = "webgl2";
  private readonly program: WebGLProgram;
  private readonly where = new Map<string, WebGLUniformLocation | null>();
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
    for (const name of ["block", "grid", "pitch", "marks", "colours", "ground"]) {
      this.where.set(name, gl.getUniformLocation(this.program, name));
    }
    gl.bindTexture(gl.TEXTURE_2D, gl.createTexture());
    gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_MIN_FILTER, gl.NEAREST);
    gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_MAG_FILTER, gl.NEAREST);
    gl.pixelStorei(gl.UNPACK_ALIGNMENT, 1);
  }

  draw(cells: Cells, of: Geometry, colours: Palette): void {
    const { gl } = this, at = (name: string) => this.where.get(name)!;
    this.upload(cells);
    gl.viewport(0, 0, of.width, of.height);
    gl.uniform4i(at("block"), of.wide, of.high, cells.stride, of.shrink);
    gl.uniform4i(at("grid"), of.scale, of.gap, of.columns, cells.hosts.length);
    gl.uniform3i(at("pitch"), of.across, of.down, of.height);
    gl.uniform2i(at("marks"), Number(cells.isOfStates), colours.hot);
    gl.uniform3fv(at("colours"), colours.cells.flat().map(one => one / 255));
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
      cells.allDirty();
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
    cells.clean();
  }
}
