// The page changes nothing: what people may want to do is shown as a command, to be copied.

import { make } from "./dom.js";

export function command(text: string): HTMLElement {
  const line = make("div", "", { class: "command" }), copy = make("button", "Copy", { title: `Copy: ${text}` });
  copy.setAttribute("aria-label", `Copy: ${text}`);
  copy.addEventListener("click", async () => {
    await navigator.clipboard?.writeText(text).then(() => { copy.textContent = "Copied"; }, () => undefined);
    setTimeout(() => { copy.textContent = "Copy"; }, 1500);
  });
  line.append(make("code", text, { tabindex: "0" }), copy);
  return line;
}
