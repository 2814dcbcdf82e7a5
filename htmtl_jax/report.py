"""`--mode=report`: the HTML reports of a workdir, made again from the files that lie there.

No model is opened and nothing is locked, so a training that is going on can be looked at.
"""

import os
import pathlib

from htmtl_jax.config import load_saved_config
from htmtl_jax.errors import UserError
from htmtl_jax.evaluation.saved import EVALUATION, RESULTS
from htmtl_jax.metrics import METRICS_FILE
from htmtl_jax.reports.evaluation_report import write_evaluation_report
from htmtl_jax.reports.run_report import write_run_report


def run_report(workdir: str) -> list[str]:
  """Writes the reports of every evaluation in the workdir, then that of its training.

  The reports of single documents stay as they are: they need the model.

  Returns:
    The paths, which are printed, too.

  Raises:
    UserError: if there is nothing to report on, or files are damaged.
  """
  config = load_saved_config(workdir)
  # Workdirs of earlier versions have no such key.
  reports = 0 if config is None else config.evaluate.get("reports", 0)
  root = pathlib.Path(workdir) / EVALUATION
  folders = sorted({p.parent for own in ("*", "*/*") for p in root.glob(f"{own}/{RESULTS}")})
  paths = [write_evaluation_report(os.fspath(folder), reports) for folder in folders]
  if os.path.exists(os.path.join(workdir, METRICS_FILE)):  # last: it links to the others
    paths.append(write_run_report(workdir))
  if not paths:
    raise UserError(
      f"--workdir={workdir} holds neither a training nor an evaluation to report on; train first with "
      "--mode=train"
    )
  for path in paths:
    print(f"report: {path}")
  return paths
