// One VM of the opened host: the end of its console, and commands about it.

import { command } from "./commands.js";
import { ask, byId, make } from "./dom.js";

export interface Vm { fleet: string; uid: string; index: number; reason: string }

export class OpenVm {
  private shown = "";
  private readonly text = make("pre", "", { tabindex: "0", "aria-label": "End of the console" });

  // `state`: what it does, in words.
  show(vm: Vm | null, state: string): void {
    const panel = byId("vm"), key = vm ? `${vm.fleet}/${vm.index}` : "";
    panel.hidden = !vm;
    if (!vm) { this.shown = ""; return; }
    if (key === this.shown) { panel.querySelector(".said")!.textContent = state; return; }
    this.shown = key;
    const name = `${vm.fleet}-${vm.index}`, again = make("button", "Read again");
    again.addEventListener("click", () => void this.read(vm, key));
    const head = make("header");
    head.append(make("h2", name), again);
    panel.replaceChildren(head, make("p", state, { class: "said" }), this.text,
      command(`fleetctl vms show ${name}`), command(`fleetctl console ${name} --read-only`),
      command(`fleetctl vms restart ${name}`));
    void this.read(vm, key);
  }

  private async read(vm: Vm, key: string): Promise<void> {
    this.text.textContent = "reading the end of its console …";
    const asked = `console?fleet=${encodeURIComponent(vm.fleet)}&index=${vm.index}`;
    const told: string = await ask(asked).then(one => one.text || "nothing was printed yet", (error: Error) => error.message);
    if (this.shown !== key) return;
    this.text.textContent = told;
    this.text.scrollTop = this.text.scrollHeight;
  }
}
