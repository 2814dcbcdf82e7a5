"""Whether this process is one of several, and joining the others.

Training and evaluation run as one program over the devices of all hosts. They do so only
where that is configured or plainly there; the first of these that applies decides:

    flags        --coordinator, --num_processes, --process_id, or HTMTL_COORDINATOR,
                 HTMTL_NUM_PROCESSES, HTMTL_PROCESS_ID; in a pod of an indexed Kubernetes Job
                 (as of a JobSet) JOB_COMPLETION_INDEX stands in for the last
    Slurm        a step of srun with more than one task
    Cloud TPU    a slice of several hosts, told by TPU_WORKER_HOSTNAMES (GKE) or by the
                 metadata server of a TPU VM; or HTMTL_MULTIHOST=1, which launch/ sets there

A process that is not heard of for HTMTL_HEARTBEAT_SECONDS (100) is given up, and with it the
run: the others end with an error, and all start again from the last checkpoint.

What the processes then say to each other is in `hosts.py`.
"""

from collections.abc import Callable, Iterator, Mapping
import contextlib
import dataclasses
import errno
import glob
import math
import os
import sys
import threading
import traceback
import urllib.error
import urllib.request

from htmtl_jax.errors import DISK_ERRORS, UserError

EX_TEMPFAIL = 75  # of sysexits.h, after SIGTERM
FLAGS = ("coordinator", "num_processes", "process_id")
_goodbye: threading.Thread | None = None  # that waits for the others at the end
_GOODBYE_SECONDS = 30  # the others, if they have met the same, are here by then
_HEARTBEAT = "HTMTL_HEARTBEAT_SECONDS"
_JOB_INDEX = "JOB_COMPLETION_INDEX"  # set by Kubernetes in the pods of an indexed Job
_SLURM = ("SLURM_JOB_ID", "SLURM_STEP_NODELIST", "SLURM_NTASKS", "SLURM_PROCID", "SLURM_LOCALID")
_TPU_DEVICES = ("/dev/accel[0-9]*", "/dev/vfio/[0-9]*")
_TPU_HOSTS_URL = (
  "http://metadata.google.internal/computeMetadata/v1/instance/attributes/worker-network-endpoints"
)


@dataclasses.dataclass(frozen=True)
class Cluster:
  """Where several processes were found.

  Attributes:
    source: for people.
    num_processes, process_id: of this run, where they are known before JAX asks.
    coordinator: HOST:PORT of process 0; None where JAX finds it by itself.
    method: JAX's name for how it finds what is None here.
  """

  source: str
  num_processes: int | None = None
  process_id: int | None = None
  coordinator: str | None = None
  method: str | None = None

  def describe(self) -> str:
    """One line."""
    if self.process_id is None:
      return f"several hosts, found by {self.source}"
    at = "" if self.coordinator is None else f", coordinator {self.coordinator}"
    return (
      f"several hosts, found by {self.source}: process {self.process_id} of "
      f"{self.num_processes}{at}"
    )


def detect(
  flags: Mapping[str, str | None],
  environment: Mapping[str, str],
  tpu_hosts: Callable[[], int] | None = None,
) -> Cluster | None:
  """Decides whether this process is one of several; None if it is alone.

  Args:
    flags: values of `FLAGS`; what is None or missing is looked up in the environment.
    environment: variables.
    tpu_hosts: counts the hosts of the TPU slice that this machine is in; for tests.

  Raises:
    UserError: flags that say too little, or what cannot be.
  """
  explicit = _explicit(flags, environment)
  if explicit is not None:
    return explicit if explicit.num_processes > 1 else None
  if all(name in environment for name in _SLURM) and int(environment["SLURM_NTASKS"]) > 1:
    count, index = (int(environment[name]) for name in ("SLURM_NTASKS", "SLURM_PROCID"))
    return Cluster("Slurm", count, index, method="slurm")
  hosts = [name for name in environment.get("TPU_WORKER_HOSTNAMES", "").split(",") if name]
  if len(hosts) > 1 or environment.get("MEGASCALE_COORDINATOR_ADDRESS"):
    return Cluster("TPU_WORKER_HOSTNAMES")
  if environment.get("HTMTL_MULTIHOST") == "1":
    return Cluster("HTMTL_MULTIHOST=1")
  if environment.get("JAX_PLATFORMS", "tpu").split(",")[0] == "tpu":
    count = (tpu_hosts or _count_tpu_hosts)()
    if count > 1:
      return Cluster(f"the TPU VM's metadata ({count} hosts)")
  return None


@contextlib.contextmanager
def joined(flags: Mapping[str, str | None]) -> Iterator[None]:
  """Inside, JAX's devices are those of all hosts, if there are several.

  Leaving it in peace waits for the others, for as long as `hosts.meet` would; after an error,
  see `leave`.

  Raises:
    UserError: see `detect`; or the others were not met.
  """
  cluster = detect(flags, os.environ)
  if cluster is None:
    yield
    return
  _start(cluster)
  try:
    yield
  except Exception as error:
    if isinstance(error, UserError) or getattr(error, "errno", None) in (*DISK_ERRORS, errno.EPIPE):
      raise  # `main` has a line for it, and leaves
    traceback.print_exc()
    leave(1)
  else:
    _say_goodbye()  # the first may be writing still


def leave(status: int) -> int:
  """Returns the exit status; where somebody would be waited for, ends the process with it.

  An error that all have met lets all leave together, each with its own line. If it was this
  process alone, the others wait for it in a collective operation: it goes after a moment, and
  they end when they miss its heartbeat. Python itself would wait for them for minutes; and
  after a SIGTERM for a step that still compiles in a thread.
  """
  jax = sys.modules.get("jax")
  has_others = jax is not None and jax.distributed.is_initialized()
  if has_others:
    _say_goodbye(_GOODBYE_SECONDS)
  if has_others or status == EX_TEMPFAIL:
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)
  return status


def _say_goodbye(seconds: float | None = None) -> None:
  """Waits until all have come to their end, in peace or by an error, so that nobody is missed.

  In a thread, since a signal would have to wait for JAX otherwise; and only once.
  """
  global _goodbye
  if _goodbye is None:
    import jax

    _goodbye = threading.Thread(target=jax.distributed.shutdown, daemon=True)
    _goodbye.start()
  _goodbye.join(seconds)


def _start(cluster: Cluster) -> None:
  global _goodbye
  import jax

  from htmtl_jax import hosts, progress

  _goodbye = None
  hours = hosts.wait_hours()

  # SIGTERM is ours (`interruption.py`); JAX's service would take it away from us.
  jax.config.update("jax_enable_preemption_service", False)
  try:
    jax.distributed.initialize(
      cluster.coordinator,
      cluster.num_processes if cluster.coordinator else None,
      cluster.process_id if cluster.coordinator else None,
      cluster_detection_method="deactivate" if cluster.coordinator else cluster.method,
      heartbeat_timeout_seconds=int(os.environ.get(_HEARTBEAT, 100)),
      shutdown_timeout_seconds=math.ceil(hours * 3600),
    )
  except (RuntimeError, ValueError) as error:
    raise UserError(
      f"{cluster.describe()}, but the others were not met ({' '.join(str(error).split())[:200]}); "
      "start all of them within five minutes, with the same coordinator, or unset what was found"
    ) from error
  if jax.process_index() == 0:
    print(
      f"htmtl_jax: {cluster.describe()}; {jax.process_count()} processes, "
      f"{jax.device_count()} devices",
      file=sys.stderr,
    )
  else:
    progress.silence()  # one voice is enough; warnings and errors come from everyone


def _explicit(flags, environment) -> Cluster | None:
  values = {}
  for name in FLAGS:
    value = flags.get(name) or environment.get(f"HTMTL_{name.upper()}")
    if value:
      values[name] = value
  if set(values) & {"coordinator", "num_processes"} and "process_id" not in values:
    if environment.get(_JOB_INDEX):
      values["process_id"] = environment[_JOB_INDEX]
  if not values:
    return None
  if set(values) == {"num_processes"} and values["num_processes"] == "1":
    return Cluster("its settings", 1, 0)
  missing = [f"--{name}" for name in FLAGS if name not in values]
  if missing:
    raise UserError(
      f"{' and '.join(missing)} missing: several processes need --coordinator=HOST:PORT, "
      "--num_processes=N and --process_id=I together (or HTMTL_COORDINATOR and so on)"
    )
  host, _, port = values["coordinator"].rpartition(":")
  if not host or not port.isdecimal() or not 0 < int(port) < 65536:
    raise UserError(f"--coordinator={values['coordinator']} is not HOST:PORT, as in node1:8476")
  for name in ("num_processes", "process_id"):
    if not values[name].isdecimal():
      raise UserError(f"--{name}={values[name]} is not a whole number")
  count, index = int(values["num_processes"]), int(values["process_id"])
  if not index < count:
    raise UserError(f"--process_id={index} must be from 0 to {count - 1}, --num_processes={count}")
  return Cluster("its settings", count, index, values["coordinator"])


def _count_tpu_hosts() -> int:
  """Hosts of the slice by the metadata server, asked only on a machine that has a TPU."""
  if not any(glob.glob(pattern) for pattern in _TPU_DEVICES) or os.environ.get(
    "TPU_SKIP_MDS_QUERY"
  ):
    return 1
  request = urllib.request.Request(_TPU_HOSTS_URL, headers={"Metadata-Flavor": "Google"})
  try:
    with urllib.request.urlopen(request, timeout=2) as answer:
      return len(answer.read().decode().split(","))
  except (urllib.error.URLError, OSError, ValueError):
    return 1
