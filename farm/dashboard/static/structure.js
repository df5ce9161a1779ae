"use strict";

// A crystal in a canvas: spheres, bonds and the cell, painted from back to front. Nothing moves by itself.
(() => {
  const canvas = document.getElementById("structure");
  const data = document.getElementById("structure-data");
  if (!canvas || !data) return;
  const { cells, elements } = JSON.parse(data.textContent);
  let crystal = Object.values(cells)[0];
  const paint = canvas.getContext("2d");

  const SPHERE = 0.42; // of the covalent radius
  const STICK = 0.11; // angstrom
  const BOND_REACH = 1.18; // of the sum of the covalent radii
  const BORDER = 1e-3; // as near to a face of the cell an atom lies on it
  const SMALL = 4;
  const MOST_ATOMS = 1500;
  const DISTANCE = 7; // of the camera, in radii of what is shown
  const FILLED = 1.05; // of the height by the sphere around all
  const LETTER = 10; // room for the name of an axis at the border, pixels
  const FOG = 6; // shades between the front and the ground

  const dot = (u, v) => u[0] * v[0] + u[1] * v[1] + u[2] * v[2];
  const add = (u, v, by = 1) => u.map((x, i) => x + by * v[i]);
  const length = (u) => Math.hypot(...u);
  const place = (fraction) =>
    [0, 1, 2].map((i) => fraction.reduce((sum, f, row) => sum + f * crystal.lattice[row][i], 0));
  const hasNonmetal = Object.values(elements).some((element) => !element.metal);

  // -- what is shown ----------------------------------------------------------------------------

  function sites(repeats) {
    const found = [];
    const last = repeats - BORDER;
    for (const site of crystal.sites) {
      // Along each axis where the atom is: in every cell, and on the far face if it is on the near one.
      const steps = site.at.map((f) => {
        const near = f > 1 - BORDER ? f - 1 : f;
        return Array.from({ length: repeats + 1 }, (_, i) => near + i).filter((x) => x < last || near < BORDER);
      });
      for (const a of steps[0]) for (const b of steps[1]) for (const c of steps[2]) {
        found.push({ symbol: site.symbol, at: place([a, b, c]) });
      }
    }
    return found;
  }

  // Atoms touch where their covalent radii do. In a compound with a nonmetal, metals do not bond to metals.
  function areBonded(one, other) {
    const [first, second] = [elements[one.symbol], elements[other.symbol]];
    if (hasNonmetal && first.metal && second.metal) return false;
    const reach = BOND_REACH * (first.radius + second.radius);
    const apart = length(add(one.at, other.at, -1));
    return apart > 0.1 && apart < reach;
  }

  function scene(repeats) {
    const atoms = sites(repeats);
    const bonds = [];
    for (let i = 0; i < atoms.length; i++) for (let j = 0; j < i; j++) {
      if (areBonded(atoms[i], atoms[j])) bonds.push([atoms[i], atoms[j]]);
    }
    const edges = [];
    for (const axis of [0, 1, 2]) for (let i = 0; i < 4; i++) {
      const from = [0, 0, 0];
      from[(axis + 1) % 3] = (i & 1) * repeats;
      from[(axis + 2) % 3] = (i >> 1) * repeats;
      const to = [...from];
      to[axis] = repeats;
      edges.push([place(from), place(to)]);
    }
    const middle = place([repeats / 2, repeats / 2, repeats / 2]);
    for (const atom of atoms) atom.at = add(atom.at, middle, -1);
    for (const edge of edges) edge.forEach((end, i) => { edge[i] = add(end, middle, -1); });
    const names = [0, 1, 2].map((axis) => {
      const end = [0, 0, 0];
      end[axis] = repeats + 1.1 / length(crystal.lattice[axis]);
      return { text: "abc"[axis], at: add(place(end), middle, -1) };
    });
    const radius = 0.8 + Math.max(...edges.flat().map(length), ...atoms.map((atom) => length(atom.at)));
    // How far up and down the ends and the names of the axes lie at first: a long cell is not cut off.
    const reach = Math.max(...[...edges.flat(), ...names.map((name) => name.at)].map((point) => {
      const [, up, near] = START.map((row) => dot(row, point));
      return (Math.abs(up) * DISTANCE * radius) / (DISTANCE * radius - near);
    }));
    return { atoms, bonds, edges, names, radius, reach };
  }

  // -- how it is seen ---------------------------------------------------------------------------

  const multiply = (m, n) => m.map((row) => [0, 1, 2].map((j) => dot(row, n.map((r) => r[j]))));
  function turn(axis, angle) {
    const [c, s] = [Math.cos(angle), Math.sin(angle)];
    return { x: [[1, 0, 0], [0, c, -s], [0, s, c]], y: [[c, 0, s], [0, 1, 0], [-s, 0, c]], z: [[c, -s, 0], [s, c, 0], [0, 0, 1]] }[axis];
  }
  // Rows are the directions on the screen: right, up, and towards the eye. First z is up.
  const START = multiply(turn("x", 0.22), multiply(turn("y", -0.45), [[1, 0, 0], [0, 0, 1], [0, -1, 0]]));
  const view = { rotation: START, zoom: 1 };
  let shown = null;

  function lookAlong(axis) {
    const unit = (u) => u.map((x) => x / length(u));
    const cross = (u, v) => [u[1] * v[2] - u[2] * v[1], u[2] * v[0] - u[0] * v[2], u[0] * v[1] - u[1] * v[0]];
    const eye = unit(crystal.lattice[axis]);
    const other = crystal.lattice[(axis + 2) % 3];
    const up = unit(add(other, eye, -dot(other, eye)));
    view.rotation = [cross(up, eye), up, eye];
  }

  // -- painting ---------------------------------------------------------------------------------

  const parse = (colour) => [1, 3, 5].map((i) => parseInt(colour.slice(i, i + 2), 16));
  const mix = (one, other, share) => one.map((x, i) => Math.round(x + (other[i] - x) * share));
  const css = (colour) => `rgb(${colour.join(" ")})`;
  let theme = null;
  let sprites = new Map();

  function readTheme() {
    const probe = (name) => {
      paint.fillStyle = getComputedStyle(document.documentElement).getPropertyValue(name).trim() || "#888888";
      return paint.fillStyle;
    };
    theme = { ground: parse(probe("--panel")), ink: parse(probe("--muted")) };
    sprites = new Map();
  }

  function sphere(symbol, fog) {
    const key = `${symbol} ${fog}`;
    if (!sprites.has(key)) {
      const size = 128;
      const sprite = new OffscreenCanvas(size, size);
      const brush = sprite.getContext("2d");
      const far = (colour) => css(mix(colour, theme.ground, (0.55 * fog) / FOG));
      const base = parse(elements[symbol].colour);
      const light = brush.createRadialGradient(size * 0.36, size * 0.32, size * 0.02, size * 0.5, size * 0.5, size * 0.5);
      light.addColorStop(0, far(mix(base, [255, 255, 255], 0.75)));
      light.addColorStop(0.35, far(mix(base, [255, 255, 255], 0.12)));
      light.addColorStop(0.75, far(mix(base, [0, 0, 0], 0.18)));
      light.addColorStop(1, far(mix(base, [0, 0, 0], 0.5)));
      brush.fillStyle = light;
      brush.beginPath();
      brush.arc(size / 2, size / 2, size / 2 - 1, 0, 2 * Math.PI);
      brush.fill();
      sprites.set(key, sprite);
    }
    return sprites.get(key);
  }

  function draw() {
    const ratio = devicePixelRatio || 1;
    const [width, height] = [canvas.clientWidth, canvas.clientHeight];
    if (!width || !height) return;
    if (canvas.width !== Math.round(width * ratio)) canvas.width = Math.round(width * ratio);
    if (canvas.height !== Math.round(height * ratio)) canvas.height = Math.round(height * ratio);
    paint.setTransform(ratio, 0, 0, ratio, 0, 0);
    paint.clearRect(0, 0, width, height);
    const fitting = Math.min((FILLED * Math.min(width, height)) / (2 * shown.radius), (height / 2 - LETTER) / shown.reach);
    const scale = fitting * view.zoom;
    const camera = DISTANCE * shown.radius;
    const project = (point) => {
      const [x, y, z] = view.rotation.map((row) => dot(row, point));
      const near = camera / (camera - z);
      return { x: width / 2 + scale * x * near, y: height / 2 - scale * y * near, z, near: near * scale };
    };
    const fogAt = (z) => Math.round(Math.min(1, Math.max(0, (shown.radius - z) / (2 * shown.radius))) * FOG);
    const jobs = [...atomJobs(project, fogAt), ...bondJobs(project, fogAt), ...edgeJobs(project)];
    jobs.sort((one, other) => one.z - other.z);
    for (const job of jobs) job.paint();
    paint.fillStyle = css(theme.ink);
    paint.font = "italic 600 14px system-ui, sans-serif";
    paint.textAlign = "center";
    paint.textBaseline = "middle";
    for (const name of shown.names) {
      const at = project(name.at);
      paint.fillText(name.text, at.x, at.y);
    }
  }

  function atomJobs(project, fogAt) {
    return shown.atoms.map((atom) => {
      const at = project(atom.at);
      const radius = SPHERE * elements[atom.symbol].radius * at.near;
      const sprite = sphere(atom.symbol, fogAt(at.z));
      return { z: at.z, paint: () => paint.drawImage(sprite, at.x - radius, at.y - radius, 2 * radius, 2 * radius) };
    });
  }

  // Each half has the colour of its atom and begins at its surface.
  function bondJobs(project, fogAt) {
    return shown.bonds.flatMap((bond) => [bond, [...bond].reverse()].map(([from, to]) => {
      const along = add(to.at, from.at, -1);
      const start = (0.9 * SPHERE * elements[from.symbol].radius) / length(along);
      const [a, b] = [project(add(from.at, along, start)), project(add(from.at, along, 0.5))];
      const z = (a.z + b.z) / 2;
      const fog = (0.55 * fogAt(z)) / FOG;
      const base = parse(elements[from.symbol].colour);
      const width = 2 * STICK * ((a.near + b.near) / 2);
      const strokes = [[mix(base, [0, 0, 0], 0.4), 1], [mix(base, [0, 0, 0], 0.12), 0.72], [mix(base, [255, 255, 255], 0.3), 0.26]];
      const paintBond = () => {
        for (const [colour, share] of strokes) stroke(a, b, css(mix(colour, theme.ground, fog)), share * width);
      };
      return { z, paint: paintBond };
    }));
  }

  // In pieces, so that atoms can be before and behind the same edge.
  function edgeJobs(project) {
    const pieces = 10;
    return shown.edges.flatMap(([from, to]) => Array.from({ length: pieces }, (_, i) => {
      const along = add(to, from, -1);
      const [a, b] = [i, i + 1].map((n) => project(add(from, along, n / pieces)));
      return { z: (a.z + b.z) / 2, paint: () => stroke(a, b, css(mix(theme.ink, theme.ground, 0.35)), 1) };
    }));
  }

  function stroke(a, b, colour, width) {
    paint.strokeStyle = colour;
    paint.lineWidth = width;
    paint.beginPath();
    paint.moveTo(a.x, a.y);
    paint.lineTo(b.x, b.y);
    paint.stroke();
  }

  let waiting = false;
  function redraw() {
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(() => { waiting = false; draw(); });
  }

  // -- what turns it ----------------------------------------------------------------------------

  const spin = (right, down) => {
    view.rotation = multiply(turn("x", down), multiply(turn("y", right), view.rotation));
    redraw();
  };
  const zoom = (by) => { view.zoom = Math.min(8, Math.max(0.4, view.zoom * by)); redraw(); };
  const home = () => { view.rotation = START; view.zoom = 1; redraw(); };
  const STEP = Math.PI / 24;
  const KEYS = {
    ArrowLeft: () => spin(-STEP, 0), ArrowRight: () => spin(STEP, 0), ArrowUp: () => spin(0, -STEP), ArrowDown: () => spin(0, STEP),
    "+": () => zoom(1.15), "=": () => zoom(1.15), "-": () => zoom(1 / 1.15), 0: home,
  };
  canvas.addEventListener("keydown", (event) => {
    const act = event.ctrlKey || event.metaKey || event.altKey ? null : KEYS[event.key];
    if (!act) return;
    event.preventDefault();
    act();
  });

  const pointers = new Map();
  const span = () => { const [one, other] = [...pointers.values()]; return Math.hypot(one.x - other.x, one.y - other.y); };
  canvas.addEventListener("pointerdown", (event) => {
    if (event.button !== 0) return;
    pointers.set(event.pointerId, { x: event.clientX, y: event.clientY });
    canvas.setPointerCapture(event.pointerId);
  });
  canvas.addEventListener("pointermove", (event) => {
    const before = pointers.get(event.pointerId);
    if (!before) return;
    const apart = pointers.size === 2 ? span() : 0;
    pointers.set(event.pointerId, { x: event.clientX, y: event.clientY });
    if (pointers.size === 2) zoom(span() / (apart || 1));
    else spin((event.clientX - before.x) / 120, (event.clientY - before.y) / 120);
  });
  for (const name of ["pointerup", "pointercancel", "lostpointercapture"]) {
    canvas.addEventListener(name, (event) => pointers.delete(event.pointerId));
  }
  // A page that scrolls by is not caught; one finger or the wheel moves only a picture that was chosen.
  canvas.addEventListener("focus", () => { canvas.style.touchAction = "none"; });
  canvas.addEventListener("blur", () => { canvas.style.touchAction = "pan-y"; });
  canvas.addEventListener("wheel", (event) => {
    if (document.activeElement !== canvas) return;
    event.preventDefault();
    zoom(Math.exp(-event.deltaY / 500));
  }, { passive: false });

  const controls = document.getElementById("structure-controls");
  controls.hidden = false;
  const choice = controls.querySelector("select");
  const repeated = controls.querySelector("#structure-repeat");
  for (const name of Object.keys(cells)) choice.add(new Option(`${name} cell`, name));
  choice.hidden = choice.length < 2;
  // A single small cell shows too few of its bonds.
  repeated.checked = crystal.sites.length <= SMALL;
  function build() {
    crystal = cells[choice.value];
    const few = 8 * crystal.sites.length <= MOST_ATOMS;
    repeated.closest("label").hidden = !few;
    shown = scene(repeated.checked && few ? 2 : 1);
    redraw();
  }
  for (const control of [choice, repeated]) control.addEventListener("change", build);
  controls.addEventListener("click", (event) => {
    const what = event.target.closest("button")?.dataset.view;
    if (what === undefined) return;
    if (what === "home") home();
    else if (what === "in") zoom(1.25);
    else if (what === "out") zoom(1 / 1.25);
    else { lookAlong(Number(what)); redraw(); }
  });
  const dark = matchMedia("(prefers-color-scheme: dark)");
  dark.addEventListener("change", () => { readTheme(); redraw(); });
  new ResizeObserver(redraw).observe(canvas);
  readTheme();
  build();
})();
