"""The batch scripts for Slurm, run by bash with its variables and programs played by stubs."""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
from pathlib import Path

import pytest
from click.testing import CliRunner

from farm.settings import Settings
from workers.cli.worker import worker

SLURM = Path(__file__).parents[2] / "deploy" / "slurm"
BATCH = sorted(SLURM.glob("*.sbatch"))
SHELL = [*BATCH, SLURM / "worker-setup.sh"]
PASSWORD = "not-to-be-seen"  # noqa: S105 - nobody's

# Says with what it was called, waits for a signal where the test wants to send one, and says what came.
ROLE = """#!/bin/bash
trap 'echo "$1 TERM"; exit 0' TERM
printf 'farm'; printf ' %s' "$@"; echo
env | grep -E '^(FARM|OMPI|PRTE|OMP)_' | sort
if [ -n "${WAIT:-}" ]; then echo "$1 waits"; while :; do sleep 0.05; done; fi
"""


class Node:
    """A compute node whose programs are stubs."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.submitted = directory / "submitted"
        shutil.copytree(SLURM, self.submitted)
        self.programs = directory / "programs"
        self.programs.mkdir()
        self.local = directory / "local"
        self.local.mkdir()
        self.secrets = directory / "farm.env"
        self.write_secrets()
        self.program("farm", ROLE)
        self.program("setpriv", '#!/bin/bash\n[ "$1" = --pdeathsig ] && shift 2\nexec "$@"\n')

    def program(self, name: str, text: str) -> None:
        """Put a program on PATH."""
        path = self.programs / name
        path.write_text(text, encoding="utf-8")
        path.chmod(0o755)

    def write_secrets(self, *lines: str, mode: int = 0o600) -> None:
        """The file of secrets."""
        url = f"export FARM_REDIS_URL=rediss://farm:{PASSWORD}@head:6380/0"
        self.secrets.write_text("\n".join((url, *lines, "")), encoding="utf-8")
        self.secrets.chmod(mode)

    def start(self, script: str, **variables: str) -> subprocess.Popen[str]:
        """Start a batch script as slurmd does: bash, in the directory it was submitted from."""
        environment = {
            "PATH": f"{self.programs}:/usr/bin:/bin",
            "HOME": str(self.directory),
            "SLURM_JOB_ID": "7",
            "SLURM_CPUS_PER_TASK": "16",
            "SLURM_TMPDIR": str(self.local),
            **variables,
        }
        return subprocess.Popen(
            ["/bin/bash", str(SLURM / script), str(self.secrets)],
            cwd=self.submitted, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip

    def run(self, script: str = "farm-workers.sbatch", **variables: str) -> tuple[int, list[str], str]:
        """Exit code, lines of output, errors."""
        process = self.start(script, **variables)
        out, err = process.communicate(timeout=30)
        return process.returncode, out.splitlines(), err


@pytest.fixture
def node(tmp_path: Path) -> Node:
    return Node(tmp_path)


def read_until(process: subprocess.Popen[str], *wanted: str) -> None:
    """Read output until all these lines have come."""
    assert process.stdout is not None
    left = set(wanted)
    for line in process.stdout:
        left.discard(line.strip())
        if not left:
            return
    pytest.fail(f"never came: {left}")


@pytest.mark.parametrize("script", SHELL, ids=lambda path: path.name)
def test_every_script_is_proper_bash(script: Path) -> None:
    assert subprocess.run(["bash", "-n", str(script)], check=False).returncode == 0
    if shutil.which("shellcheck"):
        subprocess.run(["shellcheck", "--external-sources", script.name], cwd=SLURM, check=True)


@pytest.mark.parametrize("script", BATCH, ids=lambda path: path.name)
def test_every_job_is_requeued_warned_and_keeps_its_log(script: Path) -> None:
    options = re.findall(r"^#SBATCH (\S+)$", script.read_text(encoding="utf-8"), re.MULTILINE)
    assert {"--requeue", "--open-mode=append", "--nodes=1", "--ntasks=1"} <= set(options)
    assert any(re.fullmatch(r"--signal=B:(TERM|USR1|USR2)@120", option) for option in options)
    # bash stops reading them at the first command.
    text = script.read_text(encoding="utf-8")
    assert text.rindex("#SBATCH") < text.index("\nset -euo pipefail\n")


@pytest.mark.parametrize(
    ("given", "slots", "memory"),
    [
        ({}, 16, None),
        ({"SLURM_MEM_PER_CPU": "2000"}, 16, "2000"),
        ({"SLURM_MEM_PER_NODE": "64000"}, 16, "4000"),
        ({"SLURM_MEM_PER_NODE": "0"}, 16, None),
        ({"FARM_RANKS": "8", "SLURM_MEM_PER_CPU": "2000"}, 2, "16000"),
        ({"FARM_RANKS": "3"}, 5, None),
        ({"FARM_SLOT_MEMORY_MB": "900", "SLURM_MEM_PER_CPU": "2000"}, 16, "900"),
    ],
)
def test_slots_share_what_slurm_gave(
    node: Node, given: dict[str, str], slots: int, memory: str | None
) -> None:
    code, lines, err = node.run(**given)
    assert (code, err) == (0, "")
    assert lines[1] == f"farm worker --slots {slots}"
    assert f"FARM_RANKS={given.get('FARM_RANKS', '1')}" in lines
    assert [line for line in lines if line.startswith("FARM_SLOT_MEMORY_MB")] == (
        [f"FARM_SLOT_MEMORY_MB={memory}"] if memory else []
    )


def test_scratch_is_on_a_local_disk_and_for_its_owner_alone(node: Node) -> None:
    _, lines, _ = node.run()
    [told] = [line for line in lines if line.startswith("FARM_SCRATCH_DIR=")]
    scratch = Path(told.partition("=")[2])
    assert scratch.parent == node.local
    assert scratch.stat().st_mode & 0o777 == 0o700
    _, lines, _ = node.run(SLURM_TMPDIR="", TMPDIR=str(node.directory))
    assert any(line.startswith(f"FARM_SCRATCH_DIR={node.directory}/farm-") for line in lines)
    _, lines, _ = node.run(FARM_SCRATCH_DIR="/shared/scratch")
    assert "FARM_SCRATCH_DIR=/shared/scratch" in lines


def test_a_worker_leaves_idle_nodes(node: Node) -> None:
    _, lines, _ = node.run()
    assert {"FARM_UNTIL_IDLE_S=300", "FARM_GRACE_S=15", "OMP_NUM_THREADS=1"} <= set(lines)
    node.write_secrets("export FARM_UNTIL_IDLE_S=60")
    assert "FARM_UNTIL_IDLE_S=60" in node.run()[1]


@pytest.mark.parametrize("script", BATCH, ids=lambda path: path.name)
def test_secrets_are_read_from_a_file_that_nobody_else_can_read(node: Node, script: Path) -> None:
    node.write_secrets(mode=0o644)
    code, lines, err = node.run(script.name)
    assert (code, lines) == (2, [])
    assert "mode 644: chmod 600" in err
    node.secrets.unlink()
    code, lines, err = node.run(script.name)
    assert (code, lines) == (2, [])
    assert "farm.env: not there" in err


def test_no_secret_is_on_a_command_line(node: Node) -> None:
    node.program("farm", "#!/bin/bash\ntr '\\0' ' ' < /proc/$$/cmdline\n[ -n \"$FARM_REDIS_URL\" ]\n")
    code, lines, _ = node.run()
    assert code == 0
    assert "worker --slots" in " ".join(lines)
    assert PASSWORD not in " ".join(lines)


@pytest.mark.parametrize(
    ("variables", "told"), [({"FARM_RANKS": "32"}, "only 16 cores"), ({"FARM_REDIS_URL": ""}, "")]
)
def test_what_cannot_be_is_refused(node: Node, variables: dict[str, str], told: str) -> None:
    if not told:
        node.secrets.write_text("export FARM_HOME=/shared\n", encoding="utf-8")
        told = "sets no FARM_REDIS_URL"
    code, lines, err = node.run(**variables)
    assert (code, lines) == (2, [])
    assert told in err


def test_a_signal_to_the_job_is_one_to_the_worker(node: Node) -> None:
    with node.start("farm-workers.sbatch", WAIT="1") as process:
        read_until(process, "worker waits")
        process.send_signal(signal.SIGTERM)
        read_until(process, "worker TERM")
        assert process.wait(timeout=10) == 0


@pytest.mark.parametrize(("number", "requeued"), [(signal.SIGTERM, False), (signal.SIGUSR1, True)])
def test_the_head_stops_both_roles_and_queues_itself_again_only_at_its_limit(
    node: Node, number: signal.Signals, requeued: bool
) -> None:
    node.program("scontrol", f'#!/bin/bash\necho "$@" > {node.directory}/scontrol\n')
    with node.start("farm-head.sbatch", WAIT="1") as process:
        read_until(process, "scheduler waits", "writer waits")
        process.send_signal(number)
        read_until(process, "scheduler TERM", "writer TERM")
        assert process.wait(timeout=10) == 0
    asked = node.directory / "scontrol"
    assert (asked.read_text().strip() if asked.exists() else "") == ("requeue 7" if requeued else "")


@pytest.mark.parametrize(
    ("script", "role"), [("farm-head.sbatch", "writer"), ("farm-trainer.sbatch", "trainer")]
)
def test_ranks_and_scratch_of_jobs_do_not_stop_who_runs_none(node: Node, script: str, role: str) -> None:
    node.write_secrets("export FARM_RANKS=8")
    with node.start(script, WAIT="1", SLURM_CPUS_PER_TASK="2") as process:
        read_until(process, f"{role} waits")
        process.send_signal(signal.SIGTERM)
        read_until(process, f"{role} TERM")
        assert process.wait(timeout=10) == 0
    assert not list(node.local.iterdir())


def test_the_head_ends_when_a_role_ends(node: Node) -> None:
    node.program("farm", '#!/bin/bash\n[ "$1" = writer ] && exit 1\nexec sleep 60\n')
    code, _, _ = node.run("farm-head.sbatch")
    assert code == 1


@pytest.mark.parametrize(
    ("array", "left", "walltime"),
    [
        ({}, "3:59:58", " --walltime 3:59:58"),
        ({}, "UNLIMITED", ""),
        ({"SLURM_ARRAY_JOB_ID": "7"}, "59:58", " --walltime 59:58"),
    ],
)
def test_in_a_container_the_end_is_asked_outside(
    node: Node, array: dict[str, str], left: str, walltime: str
) -> None:
    image = node.directory / "farm.sif"
    image.touch()
    node.write_secrets(f"image={image}", f"export FARM_HOME={node.directory}/home")
    job = "7_3" if array else "7"
    node.program("squeue", f'#!/bin/bash\n[ "$2" = --job={job} ] && echo {left}\n')
    node.program("apptainer", '#!/bin/bash\nshift 4\necho "$1"; shift\nexec "$@"\n')
    code, lines, err = node.run(
        "farm-workers-apptainer.sbatch", **array, SLURM_ARRAY_TASK_ID="3" if array else ""
    )
    assert (code, err) == (0, "")
    assert lines[1] == str(image)
    assert lines[2] == f"farm --home {node.directory}/home worker --slots 16{walltime}"


def test_a_container_sees_certificates_and_scratch_and_needs_no_squeue(node: Node) -> None:
    image, scratch = node.directory / "farm.sif", node.directory / "disk" / "farm"
    image.touch()
    node.write_secrets(
        f"image={image}",
        f"export FARM_HOME={node.directory}/home",
        f"export FARM_SCRATCH_DIR={scratch}",
        "export FARM_REDIS_CA_FILE=/shared/farm/ca.pem",
        "export FARM_REDIS_KEY_FILE=client.key",
    )
    node.program("squeue", "#!/bin/bash\nexit 1\n")
    node.program("apptainer", '#!/bin/bash\nprintf "%s\\n" "$@"\nenv | grep ^TMP\n:\n')
    code, lines, err = node.run("farm-workers-apptainer.sbatch", TMPDIR="/local/7")
    assert (code, err) == (0, "")
    assert lines[lines.index("--bind") + 1] == f"{node.directory}/home,{scratch},/shared/farm/ca.pem"
    assert scratch.is_dir()
    assert "--walltime" not in lines
    assert not any(line.startswith("TMP") for line in lines)


def test_without_an_image_it_says_how_one_is_made(node: Node) -> None:
    code, _, err = node.run("farm-workers-apptainer.sbatch")
    assert code == 2
    assert "apptainer build" in err


def test_the_example_names_settings_that_there_are() -> None:
    text = (SLURM / "farm.env.example").read_text(encoding="utf-8")
    named = {name.lower() for name in re.findall(r"export FARM_([A-Z_]+)=", text)}
    assert {"redis_url", "home", "scratch_dir", "until_idle_s"} <= named
    assert named <= set(Settings.model_fields)
    told = CliRunner().invoke(worker, ["--help"]).output
    assert all(option in told for option in ("--slots", "--walltime", "SIGUSR2"))


def test_the_container_has_the_programs_of_the_other_images() -> None:
    definition = (SLURM / "farm.def").read_text(encoding="utf-8")
    docker = (SLURM.parent / "images" / "Dockerfile").read_text(encoding="utf-8")
    for name, version in re.findall(r"ARG (QE|OPENBLAS)_VERSION=(\S+)", docker):
        assert f"={version}" in definition, name
    for line in re.findall(r"^    (\S+) /src/\S+$", definition, re.MULTILINE):
        assert (SLURM.parents[1] / line).exists(), line
