// What stands beside the picture: figures, banners, problems and events, asked for each second.

import { ask, byId, count, make } from "./dom.js";

let running = -1, since = 0, rate = 0, cursor = 0, lostWhy = "", otherWhy = "", last: any = {}, round = 0;
const MOST_EVENTS = 40, LEADER_EACH = 5;
const problemRows = new Map<string, { button: HTMLElement; number: HTMLElement; where: Text; example: HTMLElement }>();

// To be set: what a click on a kind of problem does.
export const onProblem = { light: (_kind: string): void => undefined };

export function connectionIs(why: string): void {
  if (why === lostWhy) return;
  lostWhy = why;
  banners(last);
}

// Of the second stream: what is shown instead of states by host.
export function otherIs(why: string): void {
  if (why === otherWhy) return;
  otherWhy = why;
  banners(last);
}

export async function keepTelling(): Promise<never> {
  for (;;) {
    try {
      showStatus(await ask("status"));
      if (round++ % LEADER_EACH === 0 || lostWhy) showVersion(await ask("version"));
      showEvents(await ask(`events?after=${cursor}`));
    } catch {
      // The stream of frames says what is wrong.
    }
    await new Promise(done => setTimeout(done, 1000));
  }
}

function showStatus(told: any): void {
  const now = performance.now();
  if (running >= 0) {
    const latest = (told.states.running - running) * 1000 / (now - since);
    rate = Math.abs(latest) < 1 ? 0 : Math.round(rate * 0.4 + latest * 0.6);
  }
  running = told.states.running;
  since = now;
  const hosts = told.hosts, away = hosts.unreachable + hosts.suspect;
  const figures: [string, string, boolean][] = [
    ["wanted", count(told.total), false],
    ["running", count(running), false],
    ["failed", count(told.states.failed), told.states.failed > 0],
    ["unplaced", count(told.unplaced), told.unplaced > 0],
    ["VMs/s", (rate > 0 ? "+" : "") + count(rate), false],
    ["hosts live", `${count(hosts.live)} of ${count(hosts.total)}`, hosts.live < hosts.total],
    ["not heard", count(away), away > 0],
    ["lost", count(hosts.lost), hosts.lost > 0],
  ];
  if (told.store) {
    const up = told.store.members.filter((one: any) => one.reachable).length;
    figures.push(["store", `${up} of ${told.store.members.length}`, up < told.store.members.length]);
  }
  byId("figures").replaceChildren(...figures.map(([name, value, bad]) => {
    const pair = make("div");
    pair.append(make("dt", name), make("dd", value, bad ? { class: "bad" } : {}));
    return pair;
  }));
  last = told;
  banners(told);
  showProblems(told.problems);
}

function banners(told: any): void {
  const said: [string, boolean][] = [];
  if (lostWhy) said.push([`Not connected, what is shown may be old: ${lostWhy}`, true]);
  if (otherWhy && otherWhy !== lostWhy) said.push([`What is looked at cannot be shown: ${otherWhy}`, true]);
  if (told.freeze) said.push([`Changes are frozen: ${told.freeze.reason}`, true]);
  if (told.breaker) said.push([`The breaker is open: ${told.breaker.reason}`, true]);
  if (told.read_only) said.push([`Nobody leads: ${told.read_only}`, true]);
  if (told.hosts?.misbehaving) said.push([`${count(told.hosts.misbehaving)} hosts misbehave: fleetctl hosts`, true]);
  if (told.settling) said.push(["The leader is new and still hears its hosts", false]);
  for (const one of told.certificates ?? []) {
    const days = Math.floor((one.expires - Date.now() / 1000) / 86400);
    said.push([`The certificate of ${one.holder} ${days < 0 ? "has ended" : `ends in ${days} days`}`, days < 7]);
  }
  const shown = byId("banners"), text = JSON.stringify(said);
  if (shown.dataset.said === text) return;
  shown.dataset.said = text;
  shown.replaceChildren(...said.map(([what, bad]) => make("p", what, bad ? { class: "bad" } : {})));
}

interface Told { kind: string; count: number; hosts: number; example: string }

// Each fleet tells its own: of a kind, VMs are counted together, and hosts as the fleet with most does.
function byKind(problems: Told[]): Told[] {
  const found = new Map<string, Told>();
  for (const one of problems) {
    const before = found.get(one.kind);
    found.set(one.kind, before ? { ...before, count: before.count + one.count, hosts: Math.max(before.hosts, one.hosts) } : one);
  }
  return [...found.values()].sort((one, other) => other.count - one.count);
}

function showProblems(problems: Told[]): void {
  const shown = byKind(problems).slice(0, 20), kinds = new Set(shown.map(one => one.kind));
  for (const [kind, { button }] of problemRows) {
    if (!kinds.has(kind)) { button.parentElement!.remove(); problemRows.delete(kind); }
  }
  for (const one of shown) {
    const row = problemRows.get(one.kind) ?? problemRow(one.kind);
    row.number.textContent = count(one.count);
    row.where.data = ` ${one.kind}, on ${count(one.hosts)} ${one.hosts === 1 ? "host" : "hosts"}`;
    row.example.textContent = one.example;
    byId("problems").append(row.button.parentElement!);
  }
  byId("no-problems").hidden = shown.length > 0;
}

function problemRow(kind: string) {
  const row = make("li"), button = make("button"), number = make("b"), where = new Text(), example = make("small");
  button.title = `Light only the VMs with ${kind}`;
  button.append(number, where, example);
  button.addEventListener("click", () => onProblem.light(kind));
  row.append(button);
  const made = { button, number, where, example };
  problemRows.set(kind, made);
  return made;
}

function showVersion(told: any): void {
  byId("cluster").textContent = told.cluster;
  byId("link").textContent = `leader ${told.leader}`;
}

function showEvents(told: any): void {
  if (told.cursor < cursor) byId("events").replaceChildren();
  cursor = told.cursor;
  const list = byId("events");
  for (const one of told.events) {
    const row = make("li"), about = [one.fleet, one.host].filter(Boolean).join(" ");
    row.append(make("small", new Date(one.time * 1000).toLocaleTimeString()),
      ` ${one.message}${one.count > 1 ? ` (${count(one.count)} times)` : ""} `, make("small", about));
    list.prepend(row);
  }
  while (list.childElementCount > MOST_EVENTS) list.lastChild!.remove();
}
