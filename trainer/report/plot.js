"use strict";

// Spectra of one material as SVG: area calculated RPA, dashed calculated IPA, line predicted RPA.
const spectrumPlot = (() => {
  const [width, height] = [340, 210];
  const [left, right, top, bottom] = [34, 8, 10, 32];

  function niceStep(span, wanted) {
    const rough = span / wanted;
    const power = 10 ** Math.floor(Math.log10(rough));
    return power * [1, 2, 5, 10].find((step) => step * power >= 0.7 * rough);
  }

  function ticks(end, wanted) {
    const step = niceStep(end, wanted);
    return Array.from({ length: Math.floor(end / step + 1e-9) + 1 }, (_, i) => Number((i * step).toPrecision(6)));
  }

  return (spectra, scale, energyStep, label) => {
    const nPoints = spectra.rpa.length;
    const end = (nPoints - 1) * energyStep;
    const x = (ev) => left + (ev / end) * (width - left - right);
    const y = (value) => height - bottom - (value / (scale * 1.05)) * (height - top - bottom);
    const path = (values) =>
      "M" + Array.from(values, (v, i) => `${x(i * energyStep).toFixed(1)} ${y((v / 255) * scale).toFixed(1)}`).join("L");
    const parts = [];
    for (const ev of ticks(end, 5)) {
      parts.push(`<text x="${x(ev)}" y="${height - bottom + 14}" text-anchor="middle">${ev}</text>`);
    }
    for (const value of ticks(scale * 1.05, 4)) {
      parts.push(`<path d="M${left} ${y(value)}H${width - right}" stroke="var(--line)" stroke-width=".7"/>`);
      parts.push(`<text x="${left - 5}" y="${y(value) + 4}" text-anchor="end">${value}</text>`);
    }
    parts.push(`<text x="${(left + width - right) / 2}" y="${height - 4}" text-anchor="middle">photon energy (eV)</text>`);
    parts.push(`<path d="${path(spectra.rpa)}L${x(end)} ${y(0)}L${x(0)} ${y(0)}Z" fill="var(--rpa)" fill-opacity=".22"/>`);
    parts.push(`<path d="${path(spectra.ipa)}" fill="none" stroke="var(--ipa)" stroke-width="1.4" stroke-dasharray="5 3"/>`);
    if (spectra.predicted) {
      parts.push(`<path d="${path(spectra.predicted)}" fill="none" stroke="var(--rpa)" stroke-width="1.7"/>`);
    }
    return `<svg viewBox="0 0 ${width} ${height}" role="img" aria-label="${label}">${parts.join("")}</svg>`;
  };
})();
