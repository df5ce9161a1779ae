"use strict";

// Symbols, "C" or "Mg O", ask for materials with these elements; anything else for a part of a formula or id.
function matcher(query) {
  const text = query.trim();
  if (!text) return () => true;
  const words = text.split(/[\s,]+/);
  if (words.every((word) => /^[A-Z][a-z]?$/.test(word))) {
    return (formula) => {
      const elements = new Set(formula.match(/[A-Z][a-z]?/g));
      return words.every((word) => elements.has(word));
    };
  }
  const part = text.toLowerCase();
  return (formula, id) => formula.toLowerCase().includes(part) || id.toLowerCase().includes(part);
}
