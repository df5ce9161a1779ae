"use strict";

(() => {
  const data = JSON.parse(document.getElementById("atlas-data").textContent);
  const canvas = document.getElementById("map-canvas");
  const context = canvas.getContext("2d");
  const element = (name) => document.getElementById(`map-${name}`);
  const bytes = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
  const spectra = Object.fromEntries(Object.entries(data.spectra).map(([name, text]) => [name, bytes(text)]));
  const rows = Array.from({ length: data.n }, (_, i) => i);
  const groupColours = ["#7c93ad", "#e39a12", "#3a9d86", "#8d8d8d"];
  const extent = [Math.max(...data.x), Math.max(...data.y)];

  const known = (values) => values && values.some((value) => value !== null);
  const colourings = {
    group: { title: "held out or learning side", values: data.groups, names: data.groupNames },
    ...(known(data.sc) && { sc: { title: "SC of the model", values: data.sc, range: [0.3, 1] } }),
    scIpa: { title: "SC of IPA as RPA", values: data.scIpa, range: [0.4, 1] },
    onset: { title: "onset of absorption (eV)", values: data.onset },
    ...(known(data.gap) && { gap: { title: "direct gap (eV)", values: data.gap } }),
    nAtoms: { title: "atoms in the cell", values: data.nAtoms, whole: true },
  };

  // Where the middle of the view is (map units), and how many pixels a map unit has.
  const view = { x: extent[0] / 2, y: extent[1] / 2, zoom: 1 };
  let chosen = null;
  let pointed = null;
  let found = null;
  let colouring = "onset";
  let size = [1, 1];

  const scale = () => 0.9 * Math.min(size[0] / (extent[0] || 1), size[1] / (extent[1] || 1)) * view.zoom;
  const toPixel = (i) => [size[0] / 2 + (data.x[i] - view.x) * scale(), size[1] / 2 - (data.y[i] - view.y) * scale()];

  function mix(share) {
    const place = Math.min(Math.max(share, 0), 1) * (data.ramp.length - 1);
    const first = Math.min(Math.floor(place), data.ramp.length - 2);
    const channel = (hex, k) => parseInt(hex.slice(1 + 2 * k, 3 + 2 * k), 16);
    const mixed = [0, 1, 2].map((k) => {
      const [a, b] = [data.ramp[first], data.ramp[first + 1]].map((hex) => channel(hex, k));
      return Math.round(a + (b - a) * (place - first));
    });
    return `rgb(${mixed})`;
  }

  function rangeOf(chosenColouring) {
    if (chosenColouring.range) return chosenColouring.range;
    const values = chosenColouring.values.filter((value) => value !== null).sort((a, b) => a - b);
    const at = (share) => values[Math.round(share * (values.length - 1))];
    // Single materials far out must not take the colours from all others.
    return chosenColouring.whole ? [at(0), at(1)] : [at(0.02), at(0.98)];
  }

  function colours() {
    const { values, names } = colourings[colouring];
    if (names) return values.map((group) => groupColours[group]);
    const [low, high] = rangeOf(colourings[colouring]);
    return values.map((value) => (value === null ? null : mix((value - low) / (high - low || 1))));
  }
  let pointColours = colours();

  function legend() {
    const { values, names, whole } = colourings[colouring];
    const swatch = (colour, text) => `<span><i style="background:${colour}"></i>${text}</span>`;
    if (names) {
      const counted = Object.entries(names).map(([group, name]) =>
        swatch(groupColours[group], `${name} (${values.filter((value) => value === Number(group)).length})`));
      return counted.join("");
    }
    const [low, high] = rangeOf(colourings[colouring]);
    if (whole && high - low <= 8) {
      const steps = Array.from({ length: high - low + 1 }, (_, i) => low + i);
      return steps.map((n) => swatch(mix((n - low) / (high - low || 1)), n)).join("");
    }
    const above = colourings[colouring].range ? "" : "≥ ";
    const ramp = `<span class="ramp" style="background:linear-gradient(90deg,${data.ramp})"></span>`;
    return `<span>≤ ${low}</span> ${ramp} <span>${above}${high}</span> <span>ringed: held out</span>`;
  }

  function draw() {
    const style = getComputedStyle(document.documentElement);
    const [ink, line] = ["--ink", "--line"].map((name) => style.getPropertyValue(name).trim());
    const ratio = devicePixelRatio || 1;
    size = [canvas.clientWidth, canvas.clientHeight];
    canvas.width = Math.round(size[0] * ratio);
    canvas.height = Math.round(size[1] * ratio);
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    const radius = Math.min(3.4 * view.zoom ** 0.35, 9) * (data.n > 1500 ? 0.75 : 1);
    const circle = (i, r) => {
      const [x, y] = toPixel(i);
      context.beginPath();
      context.arc(x, y, r, 0, 2 * Math.PI);
    };
    for (const i of rows) {
      const faded = found && !found.has(i);
      context.globalAlpha = faded ? 0.13 : 0.9;
      circle(i, radius);
      if (pointColours[i]) {
        context.fillStyle = pointColours[i];
        context.fill();
      } else {
        context.strokeStyle = line;
        context.lineWidth = 1.2;
        context.stroke();
      }
      if (colouring !== "group" && data.groups[i] === data.heldOut) {
        context.strokeStyle = ink;
        context.lineWidth = 0.9;
        context.stroke();
      }
    }
    context.globalAlpha = 1;
    for (const i of new Set([chosen, pointed])) {
      if (i === null) continue;
      circle(i, radius + 3.5);
      context.strokeStyle = ink;
      context.lineWidth = i === chosen ? 2 : 1;
      context.stroke();
    }
    label(pointed ?? chosen, ink, style.getPropertyValue("--paper"), radius);
  }

  function label(i, ink, paper, radius) {
    if (i === null) return;
    const [x, y] = toPixel(i);
    context.font = "600 13px system-ui, sans-serif";
    const width = context.measureText(data.formulas[i]).width;
    const at = x + radius + 8 + width < size[0] ? x + radius + 7 : x - radius - 7 - width;
    context.lineWidth = 4;
    context.strokeStyle = paper;
    context.strokeText(data.formulas[i], at, y + 4);
    context.fillStyle = ink;
    context.fillText(data.formulas[i], at, y + 4);
  }

  let waiting = false;
  function redraw() {
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(() => { waiting = false; draw(); });
  }

  const escaped = (text) => String(text).replace(/[&<>"]/g, (c) => `&#${c.charCodeAt(0)};`);

  function tell(i) {
    const part = (name) => spectra[name]?.subarray(i * data.nPoints, (i + 1) * data.nPoints);
    const [formula, id] = [escaped(data.formulas[i]), escaped(data.ids[i])];
    const spectraTold = data.sc ? "calculated RPA (area), IPA (dashed), predicted RPA (line)" : "calculated RPA (area), IPA (dashed)";
    const plot = spectrumPlot(
      { rpa: part("rpa"), ipa: part("ipa"), predicted: part("predicted") },
      data.scale[i], data.energyStep, `Im ε of ${formula}: ${spectraTold}`,
    );
    const facts = [
      ["atoms in the cell", data.nAtoms[i]],
      ["SC of IPA as RPA", data.scIpa[i].toFixed(3)],
      data.sc && ["SC of the model", data.sc[i].toFixed(3)],
      data.scExpected && ["SC expected of it", data.scExpected[i].toFixed(3)],
      ["onset of absorption", `${data.onset[i].toFixed(2)} eV`],
      data.gap[i] !== null && ["direct gap", `${data.gap[i].toFixed(2)} eV`],
      ["with the checkpoint", data.groupNames[data.groups[i]]],
    ].filter(Boolean);
    element("detail").innerHTML =
      `<h3>${formula}</h3><p class="id">${id}</p>${plot}<p class="id">Im ε: ${spectraTold}</p><dl>` +
      facts.map(([name, value]) => `<div><dt>${name}</dt><dd>${value}</dd></div>`).join("") + "</dl>";
  }

  function choose(i, { center = false } = {}) {
    chosen = i;
    if (i !== null) {
      tell(i);
      const [x, y] = toPixel(i);
      const outside = x < 20 || y < 20 || x > size[0] - 20 || y > size[1] - 20;
      if (center || outside) [view.x, view.y] = [data.x[i], data.y[i]];
    }
    redraw();
  }

  function nearest(x, y, within) {
    let best = null;
    let least = within ** 2;
    for (const i of rows) {
      if (found && !found.has(i)) continue;
      const [px, py] = toPixel(i);
      const distance = (px - x) ** 2 + (py - y) ** 2;
      if (distance < least) [best, least] = [i, distance];
    }
    return best;
  }

  function zoomAt(factor, x = size[0] / 2, y = size[1] / 2) {
    const before = scale();
    view.zoom = Math.min(Math.max(view.zoom * factor, 0.8), 60);
    const change = 1 / before - 1 / scale();
    view.x += (x - size[0] / 2) * change;
    view.y -= (y - size[1] / 2) * change;
    // At home a finger scrolls the page, closer in it moves the map.
    canvas.style.touchAction = view.zoom > 1.05 ? "none" : "pan-y";
    redraw();
  }

  function home() {
    Object.assign(view, { x: extent[0] / 2, y: extent[1] / 2, zoom: 1 });
    zoomAt(1);
  }

  // Pointers that are down, by id; what moved is a drag, what did not is a tap.
  const down = new Map();
  let moved = 0;
  const place = (event) => {
    const box = canvas.getBoundingClientRect();
    return [event.clientX - box.left, event.clientY - box.top];
  };

  canvas.addEventListener("pointerdown", (event) => {
    if (!down.size) moved = 0;
    down.set(event.pointerId, place(event));
    canvas.setPointerCapture(event.pointerId);
  });
  canvas.addEventListener("pointermove", (event) => {
    const [x, y] = place(event);
    const last = down.get(event.pointerId);
    if (!last) {
      const under = nearest(x, y, 14);
      if (under !== pointed) {
        pointed = under;
        if (under !== null) tell(under);
        else if (chosen !== null) tell(chosen);
        redraw();
      }
      return;
    }
    moved += Math.hypot(x - last[0], y - last[1]);
    if (down.size === 2) {
      const [other] = [...down].filter(([id]) => id !== event.pointerId).map(([, at]) => at);
      const spread = (at) => Math.hypot(at[0] - other[0], at[1] - other[1]) || 1;
      zoomAt(spread([x, y]) / spread(last), (x + other[0]) / 2, (y + other[1]) / 2);
    } else if (moved > 4) {
      view.x -= (x - last[0]) / scale();
      view.y += (y - last[1]) / scale();
      redraw();
    }
    down.set(event.pointerId, [x, y]);
  });
  function lift(event) {
    const wasAlone = down.size === 1;
    if (!down.delete(event.pointerId) || event.type === "pointercancel") return;
    if (wasAlone && moved <= 4) {
      pointed = null;
      choose(nearest(...place(event), event.pointerType === "touch" ? 26 : 14) ?? chosen);
    }
  }
  canvas.addEventListener("pointerup", lift);
  canvas.addEventListener("pointercancel", lift);
  canvas.addEventListener("pointerleave", () => {
    if (down.size || pointed === null) return;
    pointed = null;
    if (chosen !== null) tell(chosen);
    redraw();
  });
  canvas.addEventListener("wheel", (event) => {
    // A page that scrolls by must not be caught by the map.
    if (!event.ctrlKey && document.activeElement !== canvas) return;
    event.preventDefault();
    zoomAt(Math.exp(-event.deltaY * (event.ctrlKey ? 0.01 : 0.0015)), ...place(event));
  }, { passive: false });

  const arrows = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

  function step([dx, dy]) {
    if (chosen === null) return choose(nearest(size[0] / 2, size[1] / 2, Infinity));
    const [x, y] = toPixel(chosen);
    let best = null;
    let least = Infinity;
    for (const i of rows) {
      if (i === chosen || (found && !found.has(i))) continue;
      const [px, py] = toPixel(i);
      const along = (px - x) * dx + (py - y) * dy;
      const aside = Math.abs((px - x) * dy) + Math.abs((py - y) * dx);
      // Within 45 degrees of the arrow; what lies aside counts as farther.
      if (along > 0 && aside <= along && along + 2 * aside < least) [best, least] = [i, along + 2 * aside];
    }
    return best === null ? undefined : choose(best);
  }

  function nextFound() {
    const among = found ? [...found] : rows;
    if (among.length) choose(among[(among.indexOf(chosen) + 1) % among.length], { center: view.zoom > 1 });
  }

  canvas.addEventListener("keydown", (event) => {
    const arrow = arrows[event.key];
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (arrow && event.shiftKey) {
      view.x += (arrow[0] * 60) / scale();
      view.y -= (arrow[1] * 60) / scale();
      redraw();
    } else if (arrow) step(arrow);
    else if (event.key === "+" || event.key === "=") zoomAt(1.4);
    else if (event.key === "-") zoomAt(1 / 1.4);
    else if (event.key === "0") home();
    else if (event.key === "Enter") nextFound();
    else if (event.key === "Escape") choose(null);
    else return;
    event.preventDefault();
  });

  element("in").addEventListener("click", () => zoomAt(1.5));
  element("out").addEventListener("click", () => zoomAt(1 / 1.5));
  element("home").addEventListener("click", home);

  const select = element("colour");
  for (const [name, { title }] of Object.entries(colourings)) select.add(new Option(title, name, false, name === colouring));
  select.addEventListener("change", () => {
    colouring = select.value;
    pointColours = colours();
    element("legend").innerHTML = legend();
    redraw();
  });

  const find = element("find");
  find.addEventListener("input", () => {
    const matches = matcher(find.value);
    found = find.value.trim() ? new Set(rows.filter((i) => matches(data.formulas[i], data.ids[i]))) : null;
    element("found").textContent = found ? `${found.size} of ${data.n}` : "";
    redraw();
  });
  find.addEventListener("keydown", (event) => { if (event.key === "Enter") nextFound(); });

  document.querySelectorAll("button[data-row]").forEach((button) => {
    button.addEventListener("click", () => {
      element("canvas").scrollIntoView({ block: "center" });
      element("canvas").focus({ preventScroll: true });
      choose(Number(button.dataset.row), { center: view.zoom > 1 });
    });
  });

  canvas.setAttribute("aria-label", `Map of ${data.n} materials`);
  document.body.classList.add("scripted");
  element("legend").innerHTML = legend();
  document.getElementById("map").hidden = false;
  chosen = data.first;
  tell(chosen);
  new ResizeObserver(redraw).observe(canvas);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
})();
