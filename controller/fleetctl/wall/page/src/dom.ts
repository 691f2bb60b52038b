// Elements of the page; texts are set as texts alone, since hosts and fleets name themselves.

export const byId = <T extends HTMLElement = HTMLElement>(id: string): T =>
  document.getElementById(id) as T;

export function make<K extends keyof HTMLElementTagNameMap>(
  tag: K, text = "", attributes: Record<string, string> = {},
): HTMLElementTagNameMap[K] {
  const made = document.createElement(tag);
  if (text) made.textContent = text;
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  return made;
}

export const count = (n: number): string => n.toLocaleString("en");

// What fleetctl answers; an Error with its sentence otherwise.
export async function ask(path: string): Promise<any> {
  const answer = await fetch(path, { signal: AbortSignal.timeout(15000) });
  const told = await answer.json();
  if (!answer.ok) throw new Error(told.error);
  return told;
}
