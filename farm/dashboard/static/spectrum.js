"use strict";

// Reads values off the figures of the spectra: a pointer over one, or the slider, shows them in all.
(() => {
  const WIDTH = 440; // of the drawing, as the server makes it
  const SVG = "http://www.w3.org/2000/svg";
  const section = document.getElementById("spectra");
  if (!section) return;

  function digits(value) {
    const text = Math.abs(value) >= 1000 || (value !== 0 && Math.abs(value) < 0.001) ? value.toExponential(2) : value.toPrecision(4);
    return text.replace("-", "\u2212");
  }

  function part(svg, name, attributes) {
    const element = document.createElementNS(SVG, name);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    svg.append(element);
    return element;
  }

  // One figure with its crosshair, a dot on each line, and the values in words.
  function panelOf(figure, readout) {
    const svg = figure.querySelector("svg");
    const box = Object.fromEntries(Object.entries(svg.dataset).map(([key, value]) => [key, Number(value)]));
    const values = readout.panels[figure.dataset.panel];
    const output = figure.querySelector(".readout");
    const line = part(svg, "path", { class: "crosshair", d: "" });
    const dots = readout.rungs.map((rung) => part(svg, "circle", { class: `read ${rung.look}`, r: 3.5, cx: -10, cy: -10 }));
    const isShown = (number) => getComputedStyle(svg.querySelector(`.rung-${number}`)).display !== "none";
    const toX = (ev) => box.left + ((ev - box.low) / (box.high - box.low)) * (box.right - box.left);
    const toY = (value) => box.bottom - ((value - box.yLow) / (box.yHigh - box.yLow)) * (box.bottom - box.top);

    function show(index) {
      const x = toX(readout.energies_ev[index]);
      line.setAttribute("d", `M${x} ${box.top}V${box.bottom}`);
      const words = [];
      readout.rungs.forEach((rung, number) => {
        const inSight = isShown(number);
        dots[number].setAttribute("cx", inSight ? x : -10);
        dots[number].setAttribute("cy", inSight ? toY(values[number][index]) : -10);
        if (inSight) words.push(`${rung.label.split(",")[0]}${rung.look === "between" ? rung.label.split("Gmax")[1] : ""} ${digits(values[number][index])}`);
      });
      output.textContent = words.join("  ·  ");
      return `${figure.dataset.title}: ${words.join(", ")}`;
    }

    function energyAt(event) {
      const frame = svg.getBoundingClientRect();
      const x = ((event.clientX - frame.left) / frame.width) * WIDTH;
      return box.low + ((x - box.left) / (box.right - box.left)) * (box.high - box.low);
    }
    return { svg, show, energyAt };
  }

  let chosen = null; // the point somebody has asked for

  async function begin() {
    const figures = section.querySelector("#spectra-figures");
    const answer = await fetch(figures.dataset.readout);
    if (!answer.ok || !figures.isConnected) return;
    const readout = await answer.json();
    const energies = readout.energies_ev;
    const panels = [...figures.querySelectorAll("figure[data-panel]")].map((figure) => panelOf(figure, readout));
    const slider = figures.querySelector("#energy");
    const shown = figures.querySelector("#energy-shown");
    slider.max = energies.length - 1;
    figures.querySelector("#reader").hidden = false;

    function show(index) {
      slider.value = index;
      const told = panels.map((panel) => panel.show(index));
      shown.textContent = `${energies[index].toFixed(2)} eV`;
      slider.setAttribute("aria-valuetext", `${shown.textContent}. ${told.join(". ")}`);
    }
    const nearest = (ev) => Math.round(Math.min(1, Math.max(0, ev / energies.at(-1))) * (energies.length - 1));
    const choose = (index) => { chosen = index; show(index); };
    slider.addEventListener("input", () => choose(Number(slider.value)));
    for (const panel of panels) {
      for (const name of ["pointermove", "pointerdown"]) {
        panel.svg.addEventListener(name, (event) => choose(nearest(panel.energyAt(event))));
      }
    }
    again = () => show(Number(slider.value));
    // First at the largest value of the last rung, along any direction.
    const rows = Object.keys(readout.panels).filter((name) => name.startsWith("part0")).map((name) => readout.panels[name].at(-1));
    const largest = Math.max(...rows.flat());
    show(Math.min(chosen ?? rows.find((row) => row.includes(largest)).indexOf(largest), energies.length - 1));
  }

  let again = () => {}; // shows the same point
  section.querySelector("#show-between")?.addEventListener("change", () => again());

  // Another quantity: only the figures are replaced, and the page stays where it is.
  const form = section.querySelector("#quantity-form");
  const select = form.querySelector("select");
  form.querySelector("button").hidden = true;
  const told = form.querySelector("#quantity-told");
  let drawn = select.value; // what the figures show
  select.addEventListener("change", async () => {
    const wanted = select.value;
    told.textContent = "";
    // What the table was asked for stays in the address.
    const address = new URL(location);
    for (const [name, value] of new FormData(form)) address.searchParams.set(name, value);
    try {
      const answer = await fetch(address);
      if (!answer.ok) throw new Error(answer.statusText);
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      // Meanwhile something else was chosen.
      if (select.value !== wanted) return;
      section.querySelector("#spectra-figures").replaceWith(page.querySelector("#spectra-figures"));
      drawn = wanted;
      history.replaceState(null, "", address);
      await begin();
    } catch {
      if (select.value !== wanted) return;
      select.value = drawn;
      told.textContent = "The dashboard does not answer.";
    }
  });
  begin();
})();
