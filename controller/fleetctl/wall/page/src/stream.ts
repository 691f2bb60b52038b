// Frames from fleetctl: one answer that does not end, read message by message. What is not read yet
// waits at the leader, which merges it. The connection is made again until it is given up.

import { Cells, STATES, type Host } from "./cells.js";

const LAYOUT = 0x10, NOTE = 0x11, LEGEND = 0x12, HEAD = 5, LONGEST = 1 << 25;
const SILENCE_MS = 8000, AGAIN_MS = 1000;

export interface Watcher {
  began(cells: Cells): void;     // other hosts, or a new leader: everything anew
  changed(bytes: number): void;
  lost(why: string): void;
}

export const sinceOpened = (): number => Math.min(65535, Math.max(1, Math.round(performance.now() / 1000)));

export async function watch(path: string, watcher: Watcher, given: AbortSignal): Promise<void> {
  while (!given.aborted) {
    try {
      await once(path, watcher, given);
      if (!given.aborted) watcher.lost("fleetctl wall has ended");
    } catch (error) {
      if (given.aborted) return;
      watcher.lost(error instanceof TypeError || error instanceof DOMException
        ? "fleetctl wall does not answer" : (error as Error).message);
    }
    await new Promise(done => setTimeout(done, AGAIN_MS));
  }
}

async function once(path: string, watcher: Watcher, given: AbortSignal): Promise<void> {
  const stopping = new AbortController();
  const stop = () => stopping.abort();
  given.addEventListener("abort", stop);
  try {
    const answer = await fetch(path, { signal: stopping.signal });
    if (!answer.ok || !answer.body) throw new Error((await answer.text()).trim());
    await read(answer.body.getReader(), stop, watcher, given);
  } finally {
    given.removeEventListener("abort", stop);
    stop();  // a frame that cannot be read ends the answer as well
  }
}

async function read(reader: ReadableStreamDefaultReader<Uint8Array>, stop: () => void, watcher: Watcher, given: AbortSignal): Promise<void> {
  let rest = new Uint8Array(0), names = STATES, cells: Cells | null = null, fresh = false;
  for (;;) {
    const silent = setTimeout(stop, SILENCE_MS);
    const part = await reader.read().finally(() => clearTimeout(silent));
    if (part.done) return;
    rest = joined([rest, part.value]);
    let at = 0;
    while (rest.length - at >= HEAD) {
      const size = new DataView(rest.buffer, rest.byteOffset + at).getUint32(1, true);
      if (size > LONGEST) throw new Error("a frame is too long");
      if (rest.length - at < HEAD + size) break;
      const kind = rest[at], body = rest.slice(at + HEAD, at + HEAD + size);
      at += HEAD + size;
      if (kind === NOTE) {
        watcher.lost(new TextDecoder().decode(body));
      } else if (kind === LEGEND) {
        names = size ? ["free", ...new TextDecoder().decode(body).split("\n").slice(0, 14)] : STATES;
      } else if (kind === LAYOUT) {
        cells = new Cells(hostsOf(new TextDecoder().decode(body)), names);
        fresh = true;
      } else if (cells) {
        if (size) cells.apply(kind, await inflated(body, cells.longestFrame), fresh ? 0 : sinceOpened());
        if (given.aborted) return;
        if (fresh) watcher.began(cells);
        fresh = false;
        watcher.changed(size);
      }
    }
    rest = rest.subarray(at);
  }
}

function hostsOf(text: string): Host[] {
  return text.split("\n").filter(line => line).map(line => {
    const [id, rack, told] = line.split("\t"), cells = Number(told);
    if (!(cells >= 0)) throw new Error("a layout cannot be read; use a newer fleetctl");
    return { id, rack, cells };
  });
}

function joined(parts: Uint8Array[]): Uint8Array<ArrayBuffer> {
  const all = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) { all.set(part, at); at += part.length; }
  return all;
}

// However small a frame is, it is not inflated beyond what a frame can be.
export async function inflated(body: Uint8Array<ArrayBuffer>, most: number): Promise<Uint8Array> {
  const reader = new Blob([body]).stream().pipeThrough(new DecompressionStream("deflate")).getReader();
  const parts: Uint8Array[] = [];
  for (let size = 0; ;) {
    const { done, value } = await reader.read();
    if (done) return joined(parts);
    size += value.length;
    if (size > most) {
      reader.cancel().catch(() => undefined);
      throw new Error("a frame is longer than any can be");
    }
    parts.push(value);
  }
}

export async function deflated(body: Uint8Array<ArrayBuffer>): Promise<Uint8Array<ArrayBuffer>> {
  const stream = new Blob([body]).stream().pipeThrough(new CompressionStream("deflate"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}
