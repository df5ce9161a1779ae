"""What is to do and who does it: the jobs in Redis, in order of predicted CPU seconds.

Every change of state is one Lua script in ``lua/`` that names the state it expects. A job that is handed
out carries a *fencing token*; whoever comes back with an older one is refused. Redis can be lost at any
time: seeding again rebuilds everything here, and what the store holds is skipped.

Keys, all below ``<name>:``. A *queue* is an engine and a slot class, ``native.small``.

================= ====== ================================================================================
job:<id>          hash   state, queue, formula, n_atoms, predicted_cpu_s, changed_ms; where there is one:
                         token, owner, stage, reason, cpu_s, place, started_ms, back_<cause>
records           hash   id -> packed crystal and cost prior, until the job is done or a metal
protocols         hash   beginning of a protocol's hash -> packed protocol
ready:<queue>     zset   id -> place in the order (predicted CPU seconds)
dispatched        hash   queue -> jobs handed out and not yet started
leases            zset   id -> expiry in ms of Redis' clock, for dispatched and running jobs
in:<state>        zset   id -> when it reached this final state
outbox            hash   id -> packed result on its way to the store
outbox_at         zset   id -> when it was delivered
counts            hash   state -> number of jobs
cpu               hash   spent, to_go (seconds)
cost_models       hash   what measured jobs taught of the cost of the next (farm.cost_model)
wake              list   one entry where something happened that the scheduler acts on
paused, token     string
workers, holds    hash   name -> what a worker last said of itself; why it takes no jobs (JSON)
stored, refit     hash   what the writer counted in the store; what the trainer does
leader            string the scheduler that acts
================= ====== ================================================================================
"""

from farm.backlog.jobs import RETRIED, STORED, Backlog, Dispatch, Finish, unfinished
from farm.backlog.register import Register
from farm.backlog.roster import Roster
from farm.backlog.views import JobView

__all__ = [
    "RETRIED",
    "STORED",
    "Backlog",
    "Dispatch",
    "Finish",
    "JobView",
    "Register",
    "Roster",
    "unfinished",
]
