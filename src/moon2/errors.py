"""The base of every error that a user can fix, and how another library's error is quoted in one."""


class UserError(ValueError):
    """Something a user can fix. The message is one line: what is wrong, where, and what to do.

    The command line prints that line and exits with 2. Any other exception is a fault of moon2 and keeps its traceback.
    """


def one_line(error: object) -> str:
    """The message of another library's error, or its kind where it has none, as a line of at most 200 characters."""
    return " ".join(str(error).split())[:200] or type(error).__name__
