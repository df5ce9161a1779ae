"""The report of a checkpoint: one HTML page, or its figures as files.

::

    command.py    reads flags, gathers, writes                                   [edge]
    gather.py     registry and store -> Contents                                 [edge]
    calculated.py predicted.py
                  the two sides of the materials
    curve_file.py a file of `farm train curve`
    contents.py   what a page is made of, and what could not be had
    observables.py similarity.py parity.py curve.py uncertainty.py examples.py atlas.py
                  data -> numbers and panels
    figure.py     panels -> inline SVG or files
    facts.py      the card in words
    payload.py    what the map in the browser needs, packed
    page.py       all of it -> HTML, by page.html, page.css and the scripts beside it
"""
