"""The keywords of a linear-response input, as far as they are needed to find a misspelt one; pure.

yambo ignores what it does not know and takes its default, without a word.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping

_CLOSE = 0.7

# Of `yambo -o c -k hartree -V all`, 5.2 and 5.3.
_NAMES = """
    StdoHash Nelectro ElecTemp BoseTemp OccTresh NLogCPUs DBsIOoff DBsFRAGpm FFTGvecs WFbuffIO
    PAR_def_mode X_CPU X_ROLEs X_nCPU_LinAlg_INV X_Threads DIP_CPU DIP_ROLEs DIP_Threads
    X_and_IO_CPU X_and_IO_ROLEs X_and_IO_nCPU_LinAlg_INV K_Threads Memory MaxGvecs NonPDirs MolPos
    Chimod ChiLinAlgMod NGsBlkXd NGsBlkXs NGsBlkXp QpntsRXd BndsRnXd GrFnTpXd EnRngeXd DmRngeXd DmERefXd
    CGrdSpXd ETStpsXd EMStpsXd DrudeWXd EhEngyXd LongDrXd DrClassic WriteXo XfnQPdb XfnQP_INTERP_NN
    XfnQP_INTERP_shells XfnQP_DbGd_INTERP_mode XfnQP_E XfnQP_Z XfnQP_Wv_E XfnQP_Wv XfnQP_Wv_dos XfnQP_Wc_E
    XfnQP_Wc XfnQP_Wc_dos Qdirection QShiftOrder DbGdQsize DipApproach DipComputed DipPDirect DipBands
    ShiftedPaths Gauge AnHall RandQpts RandGvec CUTGeo CUTBox CUTRadius CUTCylLen CUTwsGvec DipQpts
    NUseDBs K_grids IkSigLim IkXLim EXXCore Xd_CPU LRC_alpha LRC_beta FxcGRLc NoDiagSC GfnQPdb PPAPntXp
"""
KNOWN = frozenset(_NAMES.split())


def read_values(text: str, *, echoed: bool = False) -> dict[str, str]:
    """Keyword -> value of an input; comments are cut off, the parts of a block joined by ``|``.

    echoed: read the input that a report repeats at its end instead, lines that begin with a bar
    """
    found: dict[str, str] = {}
    block = ""
    for raw in text.splitlines():
        line = raw.strip()
        if echoed:
            if not line.startswith("| "):
                continue
            line = line[2:]
        line = line.partition("#")[0].strip()
        if line.startswith("%"):
            block = line[1:].strip()
        elif block and line:
            found.setdefault(block, line.strip("| "))
        elif "=" in line:
            key, _, value = line.partition("=")
            found.setdefault(key.strip(), value.strip())
    return found


def misspelt(values: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Keywords that yambo does not know and the ones they are most like, which the input lacks."""
    # Of a response without frequency-dependent partners only the dynamical family is meant.
    absent = [name for name in sorted(KNOWN - values.keys()) if not name.endswith(("Xs", "Xp"))]
    for key in values:
        if key in KNOWN:
            continue
        for meant in difflib.get_close_matches(key, absent, n=1, cutoff=_CLOSE):
            yield key, meant
