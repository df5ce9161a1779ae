"""What each diagnosis means, in a sentence, and what a person can do where the code itself has no advice.

Checked by tests/docs/test_faq.py: every name the code can give is here, and no other.
"""

from __future__ import annotations

from typing import NamedTuple


class Meaning(NamedTuple):
    """``advice`` is empty where the code says what to do."""

    meaning: str
    advice: str = ""


_CLEAN = "Run it again from an empty outdir"
_SEED_AGAIN = "Look at `farm show MATERIAL`, then `farm retry MATERIAL`"
_LOOK = "`farm diagnose` on the directory that the failure names"
_NONE_NEEDED = "Nothing, unless it stays; then another machine, or another build of the program"

# Of pw.x.
PW = {
    "pseudopotential_missing": Meaning("A UPF file is not there, or is of another functional"),
    "disk_full": Meaning("No room where the program writes, or it may not write there"),
    "out_of_memory": Meaning("The program, or the machine, has run out of memory"),
    "too_few_slots": Meaning("More MPI ranks were asked for than there are cores or k-points"),
    "atoms_overlap": Meaning("Two atoms are closer than atoms can be"),
    "needs_smearing": Meaning("Fixed occupations are impossible: a metal, or odd electrons"),
    "charge_wrong": Meaning(
        "The density does not hold all electrons", "Another diagonalisation, more bands"
    ),
    "bands_impossible": Meaning("The number of bands fits neither electrons nor plane waves"),
    "bad_input": Meaning("The input file cannot be read"),
    "broyden": Meaning("The mixing of densities has become singular", "A shorter, slower mixing"),
    "diagonalization_failed": Meaning("The eigensolver broke down"),
    "bands_unconverged": Meaning(
        "Eigenvalues of a band run are not converged, although it says JOB DONE",
        "Use david, paro or cg in turn",
    ),
    "symmetry": Meaning("Atoms or cell are not as symmetric as the program takes them to be"),
    "scf_unconverged": Meaning(
        "The self-consistent cycle ended at its last iteration",
        "Slower mixing; check that it is an insulator",
    ),
    "scf_stagnated": Meaning(
        "The accuracy has not improved for ten iterations; it was stopped softly, its density is kept",
        "Slower mixing; check that it is an insulator",
    ),
    "time_limit": Meaning("The program stopped at its own time limit"),
    "files_corrupt": Meaning("Files of an earlier run are missing or cut off"),
    "stopped_on_request": Meaning("Somebody made the file that asks the program to stop"),
    "other_error": Meaning("The program names an error that is not in this list", _CLEAN),
    "killed": Meaning("The output just ends: killed from outside"),
    "crashed": Meaning("The program crashed: segmentation fault and its like"),
    "aborted": Meaning("MPI ended it without a word of the program itself", _CLEAN),
    "density_unconverged": Meaning("A band run read the density of an scf run that has not converged"),
    "odd_electrons": Meaning(
        "An odd number of electrons without spin", "A metal, or a magnet: not for this protocol"
    ),
    "metal": Meaning("Filled and empty bands overlap", "A metal: not for this protocol"),
    "pseudopotential_of_other_element": Meaning(
        "A species has the pseudopotential of another element",
        "Name the element's own UPF in ATOMIC_SPECIES",
    ),
    "too_few_bands": Meaning("The bands do not hold all electrons", "Raise nbnd"),
    "density_of_other_cutoff": Meaning(
        "scf and nscf had different cutoffs", "Run both with the same cutoffs"
    ),
    "not_run": Meaning("There is an input, but no output", "Run it, or name the directory of its output"),
    "silent": Meaning("The program used no CPU for five minutes, or said nothing for one", _NONE_NEEDED),
    "incomplete_output": Meaning("It ended, but left not what was asked for", _NONE_NEEDED),
    "unknown": Meaning("It left no usable output, and nothing that is known says why", _LOOK),
}

# Of p2y and yambo.
YAMBO = {
    "disk_full": Meaning("No room where the program writes"),
    "out_of_memory": Meaning("The program, or the machine, has run out of memory"),
    "too_few_slots": Meaning("More MPI ranks were asked for than there are cores"),
    "not_symmorphic": Meaning("The bands were made with symmetries that have fractional shifts"),
    "pseudopotential_kind": Meaning("Ultrasoft or PAW pseudopotentials, +U, or a hybrid functional"),
    "version_mismatch": Meaning("p2y cannot read the format that pw.x writes"),
    "pseudopotential_missing": Meaning(
        "p2y stopped before the pseudopotentials: [r, V_nl] would be missing"
    ),
    "p2y_incomplete": Meaning("p2y ended before it had converted everything"),
    "save_incomplete": Meaning("The save directory of pw.x lacks wavefunctions"),
    "save_missing": Meaning("There is no SAVE where yambo runs"),
    "too_few_bands": Meaning("The bands do not hold all electrons"),
    "kgrid_unrecognised": Meaning("The k-points are no regular grid to yambo"),
    "save_inconsistent": Meaning("SAVE contradicts itself"),
    "parallel_structure": Meaning("The ranks cannot be shared out as asked"),
    "databases_inconsistent": Meaning("Databases of an earlier run do not fit this one"),
    "database_unreadable": Meaning("Wavefunctions in SAVE are missing or cut off"),
    "database_cut_off": Meaning("A file of SAVE is missing or too short"),
    "stopped": Meaning("yambo names an error that is not in this list"),
    "killed": Meaning("The report just ends: killed from outside, or dead over a broken database"),
    "metal": Meaning("yambo found partly filled bands"),
    "input_not_read": Meaning("The input was not there or asks for nothing: only the set-up ran"),
    "setup_missing": Meaning("The set-up has not been run"),
    "no_output": Meaning("There is a SAVE, but no report of any run"),
    "output_missing": Meaning("Game Over, but no spectrum"),
    "output_cut_off": Meaning("Game Over, but the spectrum ends early"),
    "keyword_misspelt": Meaning(
        "A keyword is unknown and was passed over: the default was used", "Write it as yambo spells it"
    ),
    "bands_clipped": Meaning(
        "Fewer bands were used than asked for, without a word", "Run nscf with more bands, then p2y"
    ),
    "block_size_not_used": Meaning(
        "The response block is not of the size asked for",
        "Check `NGsBlkXd`: this spectrum lacks local fields",
    ),
    "nonlocal_commutator_missing": Meaning("The spectrum was made without [r, V_nl]: it is wrong"),
    "spectrum_unphysical": Meaning("Numbers that are not finite, negative absorption, Re ε(0) below 1"),
    "bands_short": Meaning("The bands end below the spectrum's energies"),
    "silent": Meaning("The program used no CPU for five minutes, or said nothing for one", _NONE_NEEDED),
    "incomplete_output": Meaning("It ended, but left not what was asked for", _NONE_NEEDED),
    "unknown": Meaning("It left no usable output, and nothing that is known says why", _LOOK),
}

# Of a whole job.
JOB = {
    "odd_electrons": Meaning(
        "An odd number of valence electrons: nothing is run, the outcome is `metal`",
        "Not for this protocol, which has no spin",
    ),
    "small_gap": Meaning(
        "The indirect gap is below `metal_gap_ev`: the outcome is `metal`",
        "PBE gaps are too small; a denser `response_kppa` shows whether the gap closes",
    ),
    "ground_state_unconverged": Meaning(
        "The ladder of cutoffs or k-grids ended before the energy had settled: `unconverged`",
        "A protocol with a larger `ecutwfc_max_ry` or `ground_state_kppa_max`, then seed with it",
    ),
    "kgrid_unconverged": Meaning(
        '`kgrid = "converged"`: the densest grid allowed still changes the spectra: `unconverged`',
        "A larger `kgrid_kppa_max`",
    ),
    "local_fields_unconverged": Meaning(
        "The last step of Gmax still changes the spectrum: `unconverged`, the spectra are kept",
        "A larger `gmax_max_mry`; `farm show MATERIAL` has the SC of every step",
    ),
    "bands_short": Meaning(
        "Even with more bands, three times, they end below the spectrum's energies",
        'A smaller `energy_max_ev`, or `bands = "reduced-basis"`',
    ),
    "kpoints_impossible": Meaning("No grid of k-points can be made for the cell", _SEED_AGAIN),
    "potential_failed": Meaning("pp.x gave no potential; the bands are then made by nscf", _NONE_NEEDED),
    "reduced_basis_failed": Meaning(
        "The bands in the reduced basis could not be made good; the bands are then made by nscf",
        "Nothing: the spectrum is as good, it took longer",
    ),
    "spectra_failed": Meaning(
        "The process that makes bands and response failed; nscf is tried", _SEED_AGAIN
    ),
    "response_failed": Meaning("The process of the solver failed", _SEED_AGAIN),
    "response_unphysical": Meaning(
        "The response holds numbers that cannot be: nothing of it is kept",
        "Check the structure; `farm show MATERIAL --inputs DIR` writes the run to be looked at by hand",
    ),
    "yambo_failed": Meaning("The response by YAMBO failed without a diagnosis of one of its runs", _LOOK),
    "unknown": Meaning("A run failed, and nothing that is known says why", _LOOK),
}
