"""A stand-in for yambo and p2y: replays recorded runs, and is as strict and as silent as they are.

Run by the name it was called with. What it cannot do it ends like the real ones: exit code 0, and no output
or another one than was asked for.

    FARM_STAND_IN_RECORDS  folder of one crystal's recorded runs
    FARM_STAND_IN_FAILURE  ``<what>`` or ``<what>*<times>``; counted in ``SAVE/../stand-in.count``
"""

from __future__ import annotations

import gzip
import json
import os
import re
import signal
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

DEFAULTS: dict[str, list[str]] = {
    "Chimod": ['"HARTREE"'],
    "NGsBlkXd": ["1", "RL"],
    "QpntsRXd": ["1", "1"],
    "BndsRnXd": ["1", "0"],
    "GrFnTpXd": ['"T"'],
    "EnRngeXd": ["0.00000", "10.00000", "eV"],
    "DmRngeXd": ["0.100000", "0.100000", "eV"],
    "ETStpsXd": ["100"],
    "LongDrXd": ["1.000000", "0.000000", "0.000000"],
}
SILENT = {"PAR_def_mode", "X_CPU", "X_ROLEs", "DIP_CPU", "DIP_ROLEs", "X_Threads", "DIP_Threads"}
ORDERINGS = {'"T"': "T-ordered", '"R"': "Retarded"}


def record(name: str) -> str:
    path = Path(os.environ["FARM_STAND_IN_RECORDS"]) / f"{name}.gz"
    return gzip.decompress(path.read_bytes()).decode() if path.is_file() else ""


def failing(what: str, home: Path) -> bool:
    """Whether this run has to fail in this way; every question is one of the ``times``."""
    wanted, _, times = os.environ.get("FARM_STAND_IN_FAILURE", "").partition("*")
    if wanted != what:
        return False
    counter = home / "stand-in.count"
    count = int(counter.read_text()) if counter.is_file() else 0
    counter.write_text(str(count + 1))
    return count < int(times or 1000)


def free_name(path: Path) -> Path:
    """yambo never overwrites: ``r_setup``, ``r_setup_01``, ..."""
    candidates = [path, *(path.with_name(f"{path.name}_{i:02d}") for i in range(1, 100))]
    return next(candidate for candidate in candidates if not candidate.exists())


def numbered(text: str, save: dict[str, float]) -> str:
    """The recorded text with the numbers of what is really there."""
    n_both = int(save["nsym"]) * (2 if save["trev"] else 1)
    # p2y marks its lines, yambo indents them.
    for label, value in (
        (r"(?m)^((?: <[^>]*>)?\s*K-points\s*:\s*)\d+", str(save["nk"])),
        (r"(?m)^((?: <[^>]*>)?\s*Bands\s*:\s*)\d+", str(save["nbnd"])),
        (r"(?m)^((?: <[^>]*>)?\s*Electrons\s*:\s*)[\d.]+", f"{save['nel']:.6f}"),
        (r"(Symmetries\s+\[spatial\]\s*:\s*)\d+", str(save["nsym"])),
        (r"(\[T-rev\]\s*:\s*)\w+", "yes" if save["trev"] else "no"),
        (r"(Symmetries\s*:\s*)\d+", str(n_both)),
        (r"(K-space Time-reversal\s*:\s*)\w+", "yes" if save["trev"] else "no"),
    ):
        text = re.sub(label, rf"\g<1>{value}", text)
    return text


def p2y(arguments: list[str]) -> None:
    out = Path(arguments[arguments.index("-O") + 1] if "-O" in arguments else ".")
    log = free_name(Path("l_p2y"))
    try:
        root = ET.parse("data-file-schema.xml").getroot()  # noqa: S314
    except (OSError, ET.ParseError):
        log.write_text(f" <---> DBs path set to : {out}\n")
        sys.exit(1)
    crystal = [
        s for s in root.findall("output/symmetries/symmetry") if s.findtext("info") == "crystal_symmetry"
    ]
    text = record("l_p2y")
    shifts = [float(x) for s in crystal for x in (s.findtext("fractional_translation") or "").split()]
    if any(abs(x) > 1e-5 for x in shifts):
        head = text[: text.index(" <---> Symmetries...")]
        log.write_text(
            head + "[ERROR] Non-symmorphic symmetry operations are not supported! Use force_symmorphic\n"
        )
        return
    rotations = [[round(float(x)) for x in (s.findtext("rotation") or "").split()] for s in crystal]
    inversion = [-1, 0, 0, 0, -1, 0, 0, 0, -1] in rotations
    save: dict[str, float] = {
        "nk": len(root.findall("output/band_structure/ks_energies")),
        "nbnd": int(root.findtext("output/band_structure/nbnd") or 0),
        "nel": float(root.findtext("output/band_structure/nelec") or 0),
        "nsym": len(crystal),
        "trev": root.findtext("input/symmetry_flags/noinv") != "true" and not inversion,
        "vnl": any(Path().glob("*.upf")),
    }
    if failing("p2y_version", out):
        head = text[: text.index(" <---> == DB1")] if " <---> == DB1" in text else ""
        log.write_text(head + "[ERROR] QE format not recognised/compatible (was wf_collect set to true?)\n")
        return
    if failing("p2y_mute", out):
        log.write_text(text[: text.index(" <---> RL vectors...")])
        sys.exit(2)
    if any(not Path(f"wfc{k + 1}.dat").is_file() for k in range(int(save["nk"]))):
        log.write_text(text[: text.index(" <---> RL vectors...")])
        sys.exit(2)
    (out / "SAVE").mkdir(exist_ok=True)
    (out / "SAVE" / "ns.db1").write_text(json.dumps(save))
    if failing("p2y_disk_full", out):
        text = text[: text.index(" <---> == DB2")] + (
            "[ERROR] Writing File ../SAVE//ns.wf_fragments_4_1; Variable WF_COMPONENTS; NetCDF: HDF error\n"
        )
        log.write_text(text)
        return
    log.write_text(numbered(text, save))


def read_input(path: Path) -> tuple[set[str], dict[str, list[str]]]:
    """Runlevels and known keywords; what is not known is passed over."""
    runlevels: set[str] = set()
    found: dict[str, list[str]] = {}
    block = ""
    for raw in path.read_text().splitlines():
        line = raw.partition("#")[0].strip()
        if line.startswith("%"):
            block = line[1:].strip()
        elif block and line:
            found[block] = [part.strip() for part in line.strip("| ").split("|")]
        elif "=" in line:
            key, _, value = line.partition("=")
            found[key.strip()] = value.split() if '"' not in value else [value.strip()]
        elif line in ("optics", "chi"):
            runlevels.add(line)
    return runlevels, {key: value for key, value in found.items() if key in DEFAULTS or key in SILENT}


def yambo(arguments: list[str]) -> None:
    options = dict(zip(arguments[::2], arguments[1::2], strict=False))
    core = Path(options.get("-I", "."))
    if not (core / "SAVE" / "ns.db1").is_file():
        sys.stderr.write("[ERROR] STOP signal received while in[01]\n[ERROR] cannot access CORE database\n")
        sys.exit(1)
    save = json.loads((core / "SAVE" / "ns.db1").read_text())
    job = options.get("-J", "").partition(",")[0]
    source = Path(options.get("-F", "yambo.in"))
    runlevels, given = read_input(source) if source.is_file() else (set(), {})
    if runlevels != {"optics", "chi"}:
        set_up(core, save, f"r-{job}_setup" if job else "r_setup")
    elif (core / "SAVE" / "ndb.gops").is_file():
        respond(core, save, job, given)


def set_up(core: Path, save: dict[str, float], name: str) -> None:
    text = numbered(record("r_setup"), save)
    if failing("metal", core):
        text = text.replace(
            "  [X] Empty Bands",
            "  [X] Metallic Bands                                :   4  5\n  [X] Empty Bands",
        )
    free_name(Path(name)).write_text(text)
    for database in ("ndb.gops", "ndb.kindx"):
        (core / "SAVE" / database).write_text("set up")


def respond(core: Path, save: dict[str, float], job: str, given: dict[str, list[str]]) -> None:
    if failing("killed", core):
        # The launcher's guard stands before us: we are the rank.
        os.kill(os.getpid(), signal.SIGKILL)
    if failing("mute", core):
        Path("fort.0").write_text("\n")
        return
    misspelt = failing("misspelt", core)
    used = {**DEFAULTS, **{key: value for key, value in given.items() if key in DEFAULTS}}
    if misspelt:
        used["NGsBlkXd"] = DEFAULTS["NGsBlkXd"]
    used["BndsRnXd"] = ["1", str(min(int(used["BndsRnXd"][1]) or save["nbnd"], save["nbnd"]))]
    if failing("bands_clipped", core):
        used["BndsRnXd"] = ["1", str(int(save["nbnd"]) - 1)]
    axis = "xyz"[[float(x) for x in used["LongDrXd"]].index(1.0)]
    report, spectrum = recorded(axis, used)
    dash = f"-{job}" if job else ""
    r_file = free_name(Path(f"r{dash}_optics_chi"))
    for what, message in (
        ("out_of_memory", "[ERROR] Allocation of X_par%blc failed with code 5014"),
        ("parallel_structure", "[ERROR] Impossible to define an appropriate parallel structure"),
        ("databases", "[ERROR] [DIP] Header not correct or missing while reading dipoles"),
    ):
        if failing(what, core):
            r_file.write_text(report[: report.index(" [05] Optics")] + f" [05] Optics\n\n{message}\n")
            sys.exit(1)
    vnl = "yes" if save["vnl"] and not failing("no_commutator", core) else "no"
    spectrum = re.sub(r"(\[r,Vnl\] included\s*:\s*)\w+", rf"\g<1>{vnl}", spectrum)
    head, _, _ = report.rpartition(".-Input file")
    r_file.write_text(
        re.sub(r"(\[r,Vnl\] included\s*:\s*)\w+", rf"\g<1>{vnl}", numbered(head, save))
        + ".-Input file  yambo.in\n"
        + "\n".join(f" | {line}" for line in repeated(used))
        + "\n"
    )
    if failing("truncated", core):
        spectrum = spectrum[: len(spectrum) * 2 // 3]
    if failing("no_numbers", core):
        spectrum = re.sub(r"\d+\.\d{6}", "NaN", spectrum)
    free_name(Path(f"o{dash}.eps_q1_inv_rpa_dyson")).write_text(spectrum)
    databases = Path(job or "SAVE")
    databases.mkdir(exist_ok=True)
    (databases / "ndb.dipoles").write_text("dipoles")


def recorded(axis: str, used: dict[str, list[str]]) -> tuple[str, str]:
    """The recorded run with the first block at or above the one asked for, at the energies asked for."""
    records = Path(os.environ["FARM_STAND_IN_RECORDS"])
    there = sorted(
        int(path.name.split("-")[1].split(".")[0]) for path in records.glob(f"{axis}-*.report.gz")
    )
    size, unit = used["NGsBlkXd"]
    asked = int(size) if unit == "mRy" else 0
    gmax = next((g for g in there if g >= asked), there[-1])
    report, spectrum = record(f"{axis}-{gmax}.report"), record(f"{axis}-{gmax}.spectrum")
    head = [line for line in spectrum.splitlines() if line.startswith("#")]
    rows = [line.split() for line in spectrum.splitlines() if not line.startswith("#") and line.strip()]
    if asked == 0:
        rows = [[row[0], row[3], row[4], row[3], row[4]] for row in rows]
        head = [re.sub(r"(Hartree size\s*:\s*)\d+", r"\g<1>1", line) for line in head]
        used["NGsBlkXd"] = ["1", "RL"]
    else:
        block = re.search(r"NGsBlkXd=\s*(\d+)", report)
        used["NGsBlkXd"] = [block[1] if block else size, "mRy"]
    end, n = float(used["EnRngeXd"][1]), int(used["ETStpsXd"][0])
    step = (len(rows) - 1) * end / float(rows[-1][0]) / (n - 1)
    kept = [rows[min(round(i * step), len(rows) - 1)] for i in range(n)]
    kept = [[f"{i * end / (n - 1):.6f}", *row[1:]] for i, row in enumerate(kept)]
    ordering = ORDERINGS[used["GrFnTpXd"][0]]
    head = [re.sub(r"(Green.s Function\s*:\s*)\S+", rf"\g<1>{ordering}", line) for line in head]
    return report, "\n".join([*head, *("  ".join(row) for row in kept), "# end"]) + "\n"


def repeated(used: dict[str, list[str]]) -> list[str]:
    lines = [
        "optics   # [R] Linear Response optical properties",
        "chi      # [R][CHI] Dyson equation for Chi.",
    ]
    for key, values in used.items():
        if len(values) == 1:
            lines.append(f"{key}= {values[0]}  # as used")
        elif key == "NGsBlkXd":
            lines.append(f"{key}= {values[0]}    {values[1]}   # [Xd] Response block size")
        else:
            lines += [f"% {key}", f" {' | '.join(values)} |  # as used", "%"]
    return lines


if __name__ == "__main__":
    {"p2y": p2y, "yambo": yambo}[Path(sys.argv[0]).name](sys.argv[1:])
