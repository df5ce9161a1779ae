"use strict";

(() => {
  const table = document.getElementById("table");
  if (!table) return;
  const body = table.tBodies[0];
  const rows = [...body.rows];
  const headings = [...table.tHead.rows[0].cells];

  function sortBy(column) {
    const heading = headings[column];
    const isNumber = heading.dataset.kind === "number";
    const down = heading.getAttribute("aria-sort") === "ascending";
    headings.forEach((other) => other.removeAttribute("aria-sort"));
    heading.setAttribute("aria-sort", down ? "descending" : "ascending");
    const key = (row) => row.cells[column].textContent;
    const sign = down ? -1 : 1;
    rows.sort((one, other) => {
      const [a, b] = [key(one), key(other)];
      // What is not known stands last, whichever way.
      if (!a || !b) return (a ? 0 : 1) - (b ? 0 : 1);
      return sign * (isNumber ? a - b : a.localeCompare(b, "en", { numeric: true }));
    });
    body.append(...rows);
  }

  headings.forEach((heading, column) => {
    heading.querySelector("button").addEventListener("click", () => sortBy(column));
  });

  const filter = document.getElementById("table-filter");
  const count = document.getElementById("table-count");
  filter.addEventListener("input", () => {
    const matches = matcher(filter.value);
    let shown = 0;
    for (const row of rows) {
      row.hidden = !matches(row.cells[0].textContent, row.cells[1].textContent);
      shown += row.hidden ? 0 : 1;
    }
    count.textContent = filter.value.trim() ? `${shown} of ${rows.length} materials` : `${rows.length} materials`;
  });
})();

// On paper nothing can be unfolded.
addEventListener("beforeprint", () => {
  document.querySelectorAll("details").forEach((details) => { details.open = true; });
});
