import bz2
import gzip
import json
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
from source_samples import entry, rock_salt, rock_salt_cif, write_alexandria

from farm.crystal import Crystal
from farm.sources import (
    Meter,
    Rejected,
    Skipped,
    Unparsed,
    cut_source,
    parse,
    read_simple_cif,
    read_source,
    source_bytes,
    space_group_number,
)
from farm.sources.json_files import CHUNK_CHARACTERS

POSCAR = """\
magnesia
1.0
0.0 2.105 2.105
2.105 0.0 2.105
2.105 2.105 0.0
Mg O
1 1
direct
0.0 0.0 0.0
0.5 0.5 0.5
"""


def read(path) -> list[Crystal | Rejected]:
    return list(read_source(path))


def the_crystal(path) -> Crystal:
    (crystal,) = read(path)
    assert isinstance(crystal, Crystal), crystal
    return crystal


def the_rejection(path) -> Rejected:
    (rejected,) = read(path)
    assert isinstance(rejected, Rejected), rejected
    assert str(path) in rejected.source
    assert rejected.reason
    assert rejected.fix
    assert not rejected.fix.endswith(".")
    assert "\n" not in rejected.reason + rejected.fix
    return rejected


def test_a_cif_gives_its_primitive_cell(tmp_path: Path):
    path = tmp_path / "mgo.cif"
    path.write_text(rock_salt_cif())
    crystal = the_crystal(path)
    assert (crystal.n_atoms, crystal.formula) == (2, "MgO")
    assert crystal.volume_angstrom3 == pytest.approx(4.21**3 / 4)
    assert crystal.material_id == f"MgO-{crystal.content_hash[:8]}"
    assert crystal.source == str(path)


def test_every_format_gives_the_same_crystal(tmp_path: Path):
    structure = rock_salt()
    (tmp_path / "a.cif").write_text(rock_salt_cif())
    (tmp_path / "POSCAR").write_text(POSCAR)
    (tmp_path / "CONTCAR.relaxed").write_text(POSCAR)
    (tmp_path / "b.vasp").write_text(POSCAR)
    (tmp_path / "c.json").write_text(json.dumps(structure.as_dict()))
    (tmp_path / "d.json").write_text(json.dumps([entry("one", structure)]))
    (tmp_path / "g.cif.bz2").write_bytes(bz2.compress(rock_salt_cif().encode()))
    (tmp_path / "POSCAR.gz").write_bytes(gzip.compress(POSCAR.encode()))
    (tmp_path / "e.json.gz").write_bytes(gzip.compress(json.dumps(entry("two", structure)).encode()))
    write_alexandria(tmp_path / "f.json.bz2", [entry("three", structure)])
    crystals = read(tmp_path)
    assert len(crystals) == 10
    assert len({crystal.content_hash for crystal in crystals}) == 1
    assert {"one", "two", "three"} < {crystal.material_id for crystal in crystals}


def test_each_data_block_is_a_crystal(tmp_path: Path):
    path = tmp_path / "many.cif"
    blocks = ["# a comment\ndata_global\n_journal_year 2026\n", rock_salt_cif(name="a")]
    blocks += [
        rock_salt_cif("Ca", "O", a=4.81, name="b", occupancy=0.5),
        rock_salt_cif("Li", "F", name="a"),
    ]
    path.write_text("\n".join(blocks))
    mgo, bad, lif = read(path)
    assert (mgo.formula, lif.formula) == ("MgO", "LiF")
    assert isinstance(bad, Rejected)
    assert bad.source == f"{path}, data_b"
    assert "partially occupied" in bad.reason


def test_oxidation_states_are_dropped(tmp_path: Path):
    path = tmp_path / "x.json"
    structure = rock_salt()
    structure.add_oxidation_state_by_element({"Mg": 2, "O": -2})
    path.write_text(json.dumps(structure.as_dict()))
    assert the_crystal(path).species == ("Mg", "O")


def test_an_alexandria_entry_keeps_what_its_source_says(tmp_path: Path):
    path = write_alexandria(tmp_path / "x.json", [entry("agm001", rock_salt(), band_gap_ind=3.25)])
    crystal = the_crystal(path)
    assert crystal.material_id == "agm001"
    assert crystal.properties["band_gap_ind"] == 3.25
    assert crystal.properties["spg"] == 225
    assert "stress" not in crystal.properties
    assert crystal.source == f"{path}, agm001"


def test_an_id_that_is_not_path_safe_is_replaced(tmp_path: Path):
    path = write_alexandria(tmp_path / "x.json", [entry("../../etc/passwd", rock_salt())])
    assert the_crystal(path).material_id.startswith("MgO-")


def test_entries_are_streamed_across_chunks(tmp_path: Path):
    padding = "p" * (CHUNK_CHARACTERS // 3)
    entries = [entry(f"id{i}", rock_salt(a=4 + i / 100), note=padding) for i in range(8)]
    path = write_alexandria(tmp_path / "x.json.bz2", entries)
    assert [crystal.material_id for crystal in read(path)] == [f"id{i}" for i in range(8)]


def test_reading_is_lazy(tmp_path: Path):
    whole = json.dumps({"entries": [entry(f"id{i}", rock_salt()) for i in range(40)]})
    path = tmp_path / "x.json"
    path.write_text(whole[: len(whole) - 50])
    stream = read_source(path)
    assert next(stream).material_id == "id0"
    *good, last = stream
    assert len(good) == 38
    assert "after entry 39" in last.source
    assert "broken JSON" in last.reason


def test_directories_are_read_in_order_and_hidden_files_left_out(tmp_path: Path):
    for name, a in (
        ("b/2.cif", 4.2),
        ("a/1.cif", 4.1),
        ("c.cif", 4.3),
        (".trash/x.cif", 4.0),
        ("notes.txt", 1),
    ):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(rock_salt_cif(a=a))
    assert [Path(crystal.source).name for crystal in read(tmp_path)] == ["c.cif", "1.cif", "2.cif"]


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("x.cif", "", "empty"),
        ("POSCAR", "", "empty"),
        ("x.json", "", "empty"),
        ("x.cif", "not a cif", "no data block"),
        ("x.cif", "data_x\n_cell_length_a 3\n", "no structure"),
        ("x.cif", rock_salt_cif(occupancy=0.5), "partially occupied"),
        ("x.cif", rock_salt_cif(occupancy=1.4), "ccupancy 1.4"),
        ("x.cif", rock_salt_cif(a=0.421), "volume of 0.019 cubic"),
        ("x.cif", rock_salt_cif("Pu", "O"), "no pseudopotential in SG15-1.2-SR for Pu"),
        ("x.cif", rock_salt_cif("Na", "O"), "15 valence electrons"),
        ("x.cif", rock_salt_cif(formula="Mg1 O1 H2"), "no site"),
        ("x.cif", rock_salt_cif(formula="Mg1 O2"), "disagree"),
        ("POSCAR", "some text\nand more", "not a POSCAR"),
        ("POSCAR", POSCAR.replace("Mg O\n", ""), "elements are not named"),
        ("POSCAR", POSCAR.replace("Mg O\n", "Mg Qq\n"), "Qq"),
        ("POSCAR", POSCAR.replace("0.5 0.5 0.5", "0.01 0.0 0.0"), "angstrom apart"),
        ("x.json", "{broken", "broken JSON"),
        ("x.json", "hello", "broken JSON"),
        ("x.json", '{"entries": []}', "no entries"),
        ("x.json", "[]", "no entries"),
        ("x.json", '{"a": 1}', "field structure is missing"),
        ("x.json", "[1]", "not an object"),
        ("x.json", '{"structure": {"sites": 3}}', "field structure"),
        ("x.json.bz2", "not compressed", "broken JSON"),
        ("x.xyz", "2\n", "format is not known"),
        ("x.cif", rock_salt_cif().replace("length_b", "length_b nan #"), "not a usable number"),
        ("x.cif", rock_salt_cif().replace("alpha 60", "alpha 0"), "not a usable number"),
        ("POSCAR", POSCAR.replace("0.5 0.5 0.5", "1e300 0.5 0.5"), "not a usable number"),
        ("POSCAR", POSCAR.replace("0.5 0.5 0.5", "nan 0.5 0.5"), "not a usable number"),
        ("POSCAR", POSCAR.replace("2.105 2.105 0.0", "0.0 2.105 2.105"), "volume of 0.000 cubic"),
        ("x.json", json.dumps(rock_salt().as_dict()).replace("0.5", "NaN"), "not a usable number"),
        ("x.cif.gz", rock_salt_cif(), "damaged"),
    ],
)
def test_what_cannot_be_read_is_named_with_the_reason(tmp_path: Path, name, content, reason):
    path = tmp_path / name
    path.write_text(content)
    assert reason in the_rejection(path).reason


def test_a_compressed_file_that_is_cut_or_damaged_is_named(tmp_path: Path):
    packed = bytearray(gzip.compress(np.random.default_rng(1).bytes(4000)))
    (tmp_path / "cut.cif.gz").write_bytes(packed[:2000])
    packed[10] = 0xFF  # the head of the first block
    (tmp_path / "damaged.cif.gz").write_bytes(packed)
    (tmp_path / "damaged.json.gz").write_bytes(packed)
    cut, damaged, json_file = read(tmp_path)
    assert "damaged: Compressed file ended" in cut.reason
    assert "damaged: Error -3" in damaged.reason
    assert "broken JSON" in json_file.reason


def test_bytes_that_are_no_text_do_not_reach_the_terminal(tmp_path: Path):
    path = tmp_path / "POSCAR"
    path.write_bytes(b"x\n\x1b[2J\x07\n1 0 0\n")
    reason = the_rejection(path).reason
    assert reason.startswith("not a POSCAR")
    assert reason.isprintable()


def test_a_pipe_is_not_waited_for(tmp_path: Path):
    path = tmp_path / "x.cif"
    os.mkfifo(path)
    assert the_rejection(path).reason == "not a regular file"


def test_what_may_not_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    # Tests may run as root, who may read everything.
    def refuse(*_: object, **__: object):
        raise PermissionError(13, "Permission denied", str(tmp_path / "x.cif"))

    (tmp_path / "x.cif").write_text(rock_salt_cif())
    (tmp_path / "x.json").write_text("{}")
    with monkeypatch.context() as patched:
        patched.setattr(Path, "open", refuse)
        reasons = {item.reason for item in read(tmp_path)}
    assert reasons == {"cannot be read: Permission denied"}
    monkeypatch.setattr(os, "scandir", refuse)
    assert the_rejection(tmp_path).reason == "cannot be read: Permission denied"


def test_a_missing_file_and_an_empty_directory_are_named(tmp_path: Path):
    assert "no such file" in the_rejection(tmp_path / "nowhere.cif").reason
    assert "no structure files" in the_rejection(tmp_path).reason


def test_a_magnetic_entry_is_rejected(tmp_path: Path):
    path = write_alexandria(tmp_path / "x.json", [entry("m", rock_salt(), total_mag=-0.4)])
    rejected = the_rejection(path)
    assert "magnetic" in rejected.reason
    assert rejected.source.endswith("m")


def test_a_cif_with_a_length_below_zero_is_rejected(tmp_path: Path):
    path = tmp_path / "x.cif"
    path.write_text(rock_salt_cif().replace("_cell_length_b ", "_cell_length_b -"))
    assert the_rejection(path).reason == "_cell_length_b is negative"
    assert read_simple_cif(path) is None


def test_a_slab_and_a_charged_cell_are_rejected(tmp_path: Path):
    path = tmp_path / "x.json"
    slab, charged, oxidised = (rock_salt().as_dict() for _ in range(3))
    slab["lattice"]["pbc"] = [True, True, False]
    path.write_text(json.dumps(slab))
    assert the_rejection(path).reason == "not periodic in three dimensions"
    charged["charge"] = -1
    path.write_text(json.dumps(charged))
    assert the_rejection(path).reason == "a charge of -1 e a cell"
    # Guessed oxidation states, which pymatgen adds up.
    for site in oxidised["sites"]:
        site["species"][0]["oxidation_state"] = 1
    path.write_text(json.dumps(oxidised | {"charge": 8}))
    assert the_crystal(path).formula == "MgO"


@pytest.mark.parametrize(("n", "n_atoms"), [(5, 250), (9, 1458)])
def test_a_large_cell_is_rejected(tmp_path: Path, n, n_atoms):
    structure = rock_salt().get_primitive_structure() * (n, n, n)
    # One site moved away keeps the cell from being reduced to two atoms.
    structure.translate_sites([0], [0.01, 0, 0])
    path = tmp_path / "x.json"
    path.write_text(json.dumps(structure.as_dict()))
    rejected = the_rejection(path)
    assert f"{n_atoms} atoms" in rejected.reason
    assert "larger than what the protocol can treat" in rejected.reason


def test_a_large_cell_that_reduces_is_taken(tmp_path: Path):
    path = tmp_path / "x.json"
    path.write_text(json.dumps((rock_salt() * (2, 2, 3)).as_dict()))
    assert the_crystal(path).n_atoms == 2


def test_one_bad_file_does_not_stop_the_rest(tmp_path: Path):
    (tmp_path / "1.cif").write_text("garbage")
    (tmp_path / "2.cif").write_bytes(b"\xff\xfe\x00data_")
    (tmp_path / "3.cif").write_text(rock_salt_cif())
    (tmp_path / "4.json").write_bytes(b"\x00\xff\xfe")
    (tmp_path / "5.cif").mkdir()
    (tmp_path / "6.cif").symlink_to(tmp_path / "gone.cif")
    entries = [entry("a", rock_salt()), None, {"structure": None}, entry("b", rock_salt("Ca", "O", 4.8))]
    write_alexandria(tmp_path / "7.json", entries)
    found = read(tmp_path)
    assert [item.formula for item in found if isinstance(item, Crystal)] == ["MgO", "MgO", "CaO"]
    assert len([item for item in found if isinstance(item, Rejected)]) == 6


def test_bundled_crystals_are_what_they_say():
    # Measured densities in g/cm3: CRC Handbook of Chemistry and Physics; 2 % for temperature and purity.
    densities = {"Si": 2.33, "C-diamond": 3.513, "MgO": 3.6, "NaCl": 2.17, "KCl": 1.988, "LiF": 2.64}
    densities |= {
        "CaF2": 3.18,
        "AlN-wurtzite": 3.255,
        "Li2O": 2.013,
        "Se-trigonal": 4.81,
        "BeO-wurtzite": 3.01,
    }
    crystals = read(None)
    assert len(crystals) == 20
    assert len({crystal.material_id for crystal in crystals}) == 20
    for crystal in crystals:
        assert isinstance(crystal, Crystal), crystal
        assert 2 <= crystal.n_atoms <= 4
        assert space_group_number(crystal) == crystal.properties["spg"]
        structure = crystal.to_structure()
        assert len(structure.get_primitive_structure()) == crystal.n_atoms
        assert 1.2 < structure.density < 5
        if crystal.material_id in densities:
            assert structure.density == pytest.approx(densities[crystal.material_id], rel=0.02)
        distances = structure.distance_matrix + 99 * np.eye(len(structure))
        assert distances.min() > 1.1
        assert all(site.specie.Z <= 54 and site.specie.block in "sp" for site in structure)
        assert crystal.source.startswith("bundled: ")
        assert crystal.source.endswith(")")
    assert {12, 152, 186, 191, 194, 216, 225, 227} == {crystal.properties["spg"] for crystal in crystals}


def test_the_azide_ion_has_its_bond_length():
    structure = next(c for c in read(None) if c.material_id == "LiN3").to_structure()
    nitrogens = [i for i, site in enumerate(structure) if site.specie.symbol == "N"]
    shortest = sorted(structure.get_distance(i, j) for i in nitrogens for j in nitrogens if i < j)[:2]
    # Pringle and Noakes: 1.162 angstrom, twice and equal.
    assert shortest == pytest.approx([1.162, 1.162], abs=2e-3)


def test_what_is_cut_out_of_files_can_be_parsed_in_another_process(tmp_path: Path):
    (tmp_path / "a.cif").write_text(rock_salt_cif(name="a") + rock_salt_cif("Ca", "O", a=4.81, name="b"))
    (tmp_path / "POSCAR").write_text(POSCAR)
    write_alexandria(
        tmp_path / "c.json.bz2", [entry("agm1", rock_salt()), entry("agm2", rock_salt(), note=[1])]
    )
    cut = list(cut_source(tmp_path))
    assert [type(item) for item in cut] == [Unparsed] * 5
    assert [parse(pickle.loads(pickle.dumps(item))) for item in cut] == read(tmp_path)  # noqa: S301 - our own


def test_the_meter_ends_at_the_size_of_the_sources(tmp_path: Path):
    text = rock_salt_cif()
    (tmp_path / "a.cif").write_text(text)
    (tmp_path / "b.cif.gz").write_bytes(gzip.compress(text.encode()))
    write_alexandria(
        tmp_path / "sub.json.bz2", [entry(f"id{i}", rock_salt(a=4 + i / 50)) for i in range(20)]
    )
    (tmp_path / "notes.txt").write_text("not read")
    sizes = sum(file.stat().st_size for file in tmp_path.iterdir() if file.suffix != ".txt")
    meter = Meter()
    assert len(list(cut_source(tmp_path, meter))) == 22
    assert meter.n_bytes == source_bytes(tmp_path) == sizes
    assert source_bytes(tmp_path / "a.cif") == len(text)
    assert source_bytes(None) == source_bytes(tmp_path / "gone") == 0


def test_what_nobody_wants_is_not_reduced(tmp_path: Path):
    # A cell whose reduction fails (overlapping sites), so that a reduction shows.
    crushed = rock_salt(a=1.0)
    path = write_alexandria(
        tmp_path / "x.json", [entry("agm1", crushed, band_gap_ind=0.1), entry("../x", crushed)]
    )
    named, unnamed = cut_source(path)
    assert isinstance(parse(named), Rejected)

    def unwanted(elements, properties):
        assert elements == {"Mg", "O"}
        return "too narrow" if properties["band_gap_ind"] < 5 else None

    assert parse(named, unwanted) == Skipped("agm1", "too narrow")
    assert isinstance(parse(unnamed, unwanted), Rejected)
