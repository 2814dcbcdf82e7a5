"""The one exception whose message is meant for the person at the terminal."""

import errno


class UserError(Exception):
  """Bad input, said in one line: what is wrong, where, and what to do.

  `main.py` prints the message without a traceback and exits with status 2.
  Anything else that escapes is a bug and keeps its traceback.
  """

# What writing to a disk that is full, broken or closed to us ends in: said in one line.
DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO, errno.EACCES)
