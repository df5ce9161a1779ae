# Sourced by the batch scripts, with the file of secrets as argument: who the farm is. Sets `image` where the file
# names one. Workers then call share_node, which sets `slots`; head and trainer run no jobs, so that neither ranks
# nor scratch are a matter of theirs.
# shellcheck shell=bash

refuse() { echo "$*" >&2; exit 2; }
tell() { echo "$(date -Is) ${SLURM_JOB_ID:-no job} on $(hostname): $*"; }

read_secrets() {
  local file=${1:-$HOME/.config/farm/farm.env} mode
  [ -r "$file" ] || refuse "$file: not there; copy farm.env.example and fill it in"
  # Through links, as chmod goes.
  mode=$(stat -L -c %a "$file")
  case $mode in
    600 | 400) ;;
    *) refuse "$file has a password and mode $mode: chmod 600 $file" ;;
  esac
  # shellcheck source=/dev/null
  . "$file"
  [ -n "${FARM_REDIS_URL:-}" ] || refuse "$file sets no FARM_REDIS_URL"
}

# Slots share cores and memory of the allocation, not of the node.
share_allocation() {
  local cpus=${SLURM_CPUS_PER_TASK:-${SLURM_CPUS_ON_NODE:-1}} memory_mb=${SLURM_MEM_PER_NODE:-0}
  export FARM_RANKS=${FARM_RANKS:-1}
  slots=$((cpus / FARM_RANKS))
  [ "$slots" -ge 1 ] || refuse "FARM_RANKS=$FARM_RANKS: only $cpus cores; ask for more with --cpus-per-task"
  [ -z "${SLURM_MEM_PER_CPU:-}" ] || memory_mb=$((SLURM_MEM_PER_CPU * cpus))
  # Without a limit, or with --mem=0, a worker shares out what the machine has.
  [ "$memory_mb" -le 0 ] || export FARM_SLOT_MEMORY_MB="${FARM_SLOT_MEMORY_MB:-$((memory_mb / slots))}"
}

# Local disks: wavefunctions are read and written all the time. One directory for all jobs on a node, so
# that what one leaves the next resumes; finished jobs leave nothing, and each worker sweeps when it begins.
choose_scratch() {
  local disk mine
  [ -z "${FARM_SCRATCH_DIR:-}" ] || return 0
  for disk in "${SLURM_TMPDIR:-}" "${TMPDIR:-}" /local /scratch /tmp; do
    if [ -n "$disk" ] && [ -d "$disk" ] && [ -w "$disk" ]; then
      mine=$disk/farm-$(id -un)
      mkdir -m 700 "$mine" 2>/dev/null || [ -O "$mine" ] || refuse "$mine is somebody else's: set FARM_SCRATCH_DIR"
      export FARM_SCRATCH_DIR="$mine"
      return 0
    fi
  done
  refuse "no local disk to write to: set FARM_SCRATCH_DIR"
}

share_programs() {
  export OMP_NUM_THREADS=1
  # scancel, preemption and drained nodes leave KillWait (30 s) between SIGTERM and SIGKILL.
  export FARM_GRACE_S="${FARM_GRACE_S:-15}"
  # An array that has nothing to do holds no nodes.
  export FARM_UNTIL_IDLE_S="${FARM_UNTIL_IDLE_S:-300}"
}

# What Slurm gave this worker.
share_node() {
  share_allocation
  choose_scratch
  tell "$slots slots of $FARM_RANKS ranks, scratch $FARM_SCRATCH_DIR"
}

read_secrets "${1:-}"
share_programs
