// Frames from fleetctl: one answer that does not end, read message by message. What is not read yet
// waits at the leader, which merges it. The connection is made again until the page is closed.

import { Cells, type Host } from "./cells.js";

const LAYOUT = 0x10, NOTE = 0x11, HEAD = 5, LONGEST = 1 << 26;
const SILENCE_MS = 8000, AGAIN_MS = 1000;

export interface Watcher {
  began(cells: Cells): void;     // other hosts, or a new leader: everything anew
  changed(bytes: number): void;
  lost(why: string): void;
}

export async function watch(watcher: Watcher): Promise<never> {
  for (;;) {
    try {
      await once(watcher);
      watcher.lost("fleetctl wall has ended");
    } catch (error) {
      watcher.lost(error instanceof TypeError || error instanceof DOMException
        ? "fleetctl wall does not answer" : (error as Error).message);
    }
    await new Promise(done => setTimeout(done, AGAIN_MS));
  }
}

async function once(watcher: Watcher): Promise<void> {
  const stopping = new AbortController();
  const answer = await fetch("states", { signal: stopping.signal });
  if (!answer.ok || !answer.body) throw new Error((await answer.text()).trim());
  const reader = answer.body.getReader();
  let rest = new Uint8Array(0), cells: Cells | null = null, fresh = false;
  for (;;) {
    const silent = setTimeout(() => stopping.abort(), SILENCE_MS);
    const part = await reader.read().finally(() => clearTimeout(silent));
    if (part.done) return;
    rest = joined(rest, part.value);
    let at = 0;
    while (rest.length - at >= HEAD) {
      const size = new DataView(rest.buffer, rest.byteOffset + at).getUint32(1, true);
      if (size > LONGEST) throw new Error("a frame is too long");
      if (rest.length - at < HEAD + size) break;
      const kind = rest[at], body = rest.slice(at + HEAD, at + HEAD + size);
      at += HEAD + size;
      if (kind === NOTE) {
        watcher.lost(new TextDecoder().decode(body));
      } else if (kind === LAYOUT) {
        cells = new Cells(hostsOf(new TextDecoder().decode(body)));
        fresh = true;
      } else if (cells) {
        if (size) cells.apply(kind, await inflated(body));
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
    const [id, rack, cells] = line.split("\t");
    return { id, rack, cells: Number(cells) };
  });
}

function joined(one: Uint8Array, other: Uint8Array): Uint8Array<ArrayBuffer> {
  const both = new Uint8Array(one.length + other.length);
  both.set(one);
  both.set(other, one.length);
  return both;
}

async function inflated(body: Uint8Array<ArrayBuffer>): Promise<Uint8Array> {
  const stream = new Blob([body]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}
