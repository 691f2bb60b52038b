// What stands beside the picture: figures, banners, problems and events, asked for each second.

import { ask, byId, count, make } from "./dom.js";

let running = -1, since = 0, rate = 0, cursor = 0, lostWhy = "";
const MOST_EVENTS = 40;

export function connectionIs(why: string): void {
  if (why === lostWhy) return;
  lostWhy = why;
  banners({});
}

export async function keepTelling(): Promise<never> {
  for (;;) {
    try {
      showStatus(await ask("status"));
      showVersion(await ask("version"));
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
  banners(told);
  showProblems(told.problems);
}

function banners(told: any): void {
  const said: [string, boolean][] = [];
  if (lostWhy) said.push([`Not connected, what is shown may be old: ${lostWhy}`, true]);
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

function showProblems(problems: any[]): void {
  const rows = problems.slice(0, 20).map(one => {
    const row = make("li");
    row.append(make("b", count(one.count)), ` ${one.kind}, on ${count(one.hosts)} ${one.hosts === 1 ? "host" : "hosts"}`,
      make("small", one.example));
    return row;
  });
  byId("problems").replaceChildren(...(rows.length ? rows : [make("li", "none")]));
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
