"""What the field exchanges: the published format in and out, columns and arrays, archive metadata."""
