"""One-off fits that are measured and not kept."""
