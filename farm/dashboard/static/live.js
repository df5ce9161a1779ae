// Commands get a button that copies them; parts of a page that change are fetched again.
"use strict";

function addCopyButtons(root) {
  for (const command of root.querySelectorAll(".command")) {
    if (command.querySelector("button")) continue;
    const button = document.createElement("button");
    button.type = "button";
    button.className = "copy";
    button.textContent = "Copy";
    button.setAttribute("aria-label", "Copy " + command.querySelector("code").textContent);
    command.append(button);
  }
}

async function copy(text) {
  if (navigator.clipboard && window.isSecureContext) return navigator.clipboard.writeText(text);
  // Without https, beyond this machine, there is no other way.
  const area = document.createElement("textarea");
  area.value = text;
  // Where it is in sight already: the page does not jump to it.
  area.style.cssText = "position: fixed; top: 0";
  document.body.append(area);
  area.select();
  document.execCommand("copy");
  area.remove();
}

document.addEventListener("click", async (event) => {
  const button = event.target.closest("button.copy");
  if (!button) return;
  await copy(button.parentElement.querySelector("code").textContent);
  button.focus({ preventScroll: true });
  button.textContent = "Copied";
  setTimeout(() => { button.textContent = "Copy"; }, 1500);
});

// So long an answer is waited for.
const PATIENCE_MS = 20000;

class Live {
  constructor(region) {
    this.region = region;
    this.freshness = document.getElementById("freshness");
    this.announcement = document.getElementById("announcement");
    this.told = this.advice();
    this.timer = null;
    this.isAsking = false;
    document.addEventListener("visibilitychange", () => this.schedule(0));
    this.say(new Date());
    this.schedule(this.everyMs());
  }

  everyMs() { return 1000 * Number(this.region.dataset.everyS); }

  schedule(ms) {
    clearTimeout(this.timer);
    if (!document.hidden) this.timer = setTimeout(() => this.refresh(), ms);
  }

  async refresh() {
    if (this.isAsking) return;
    this.isAsking = true;
    const patience = new AbortController();
    const timer = setTimeout(() => patience.abort(), PATIENCE_MS);
    try {
      const answer = await fetch(this.region.dataset.refresh, { credentials: "same-origin", redirect: "manual", signal: patience.signal });
      if (answer.type === "opaqueredirect") return this.freshness.replaceChildren("The session is over. Load the page again.");
      if (!answer.ok) throw new Error(answer.statusText);
      this.show(await answer.text());
      this.say(new Date());
    } catch {
      this.freshness.textContent = "The dashboard does not answer; last seen " + this.seen + ".";
    } finally {
      clearTimeout(timer);
      this.isAsking = false;
    }
    this.schedule(this.everyMs());
  }

  // Only what changed is replaced, and never what somebody is at.
  show(html) {
    const fresh = document.createElement("div");
    fresh.innerHTML = html;
    addCopyButtons(fresh);
    this.isHeld = false;
    const ids = (root) => [...root.querySelectorAll("section[id]")].map((section) => section.id).join();
    if (ids(fresh) !== ids(this.region)) {
      this.swap(this.region, () => this.region.replaceChildren(...fresh.childNodes));
    } else {
      for (const section of fresh.querySelectorAll("section[id]")) {
        const old = document.getElementById(section.id);
        if (old.innerHTML !== section.innerHTML) this.swap(old, () => old.replaceWith(section));
      }
    }
    const advice = this.advice();
    if (advice !== this.told) {
      this.announcement.textContent = advice || "Nothing waits for anybody any more.";
      this.told = advice;
    }
  }

  // Tables stay where they were scrolled to.
  swap(old, replace) {
    if (this.isBusy(old)) {
      this.isHeld = true;
      return;
    }
    const name = (table) => table.getAttribute("aria-labelledby");
    const places = [...old.querySelectorAll(".scroll")].map((table) => [name(table), table.scrollLeft]);
    replace();
    for (const [of, left] of places) {
      const table = [...this.region.querySelectorAll(".scroll")].find((each) => name(each) === of);
      if (table) table.scrollLeft = left;
    }
  }

  // A table that was clicked long ago has the focus, too, but nobody is at it.
  isBusy(element) {
    const selection = document.getSelection();
    return element.querySelector(":focus-visible, :active") !== null
      || (!selection.isCollapsed && selection.intersectsNode(element));
  }

  advice() {
    const items = this.region.querySelectorAll("[data-announce] li");
    return [...items].map((item) => item.textContent.replace(/Cop(y|ied)$/, "").trim().replace(/\s+/g, " ")).join(" ");
  }

  say(moment) {
    this.seen = moment.toLocaleTimeString();
    this.freshness.textContent = "as of " + this.seen + ", kept up to date" + (this.isHeld ? " but for the part in use" : "");
  }
}

addCopyButtons(document);
for (const region of document.querySelectorAll("[data-refresh]")) new Live(region);
