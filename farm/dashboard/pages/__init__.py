"""One module a page; each brings its router."""
