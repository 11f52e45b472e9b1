"""The base of every error that a user can fix."""


class UserError(ValueError):
    """Something a user can fix. The message is one line: what is wrong, where, and what to do.

    The command line prints that line and exits with 2. Any other exception is a fault of moon2 and keeps its traceback.
    """
