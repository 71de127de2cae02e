"""Errors that the user can fix: what was given, what was expected, how to fix it."""


class KdtoolError(Exception):
    """An error that the user can fix; shown as one message, without a traceback."""

    exit_code = 1


class RecipeError(KdtoolError):
    """A recipe that cannot be used; lists all its problems at once."""


class DataError(KdtoolError):
    """Images or labels that are missing, damaged or contradict each other."""


class StudyError(KdtoolError):
    """A study folder that cannot be used as asked."""


class ModelFileError(KdtoolError):
    """A model file that is missing, damaged, or cannot be used as asked."""


class GateError(KdtoolError):
    """A finished model failed a check, so its file was not written."""

    exit_code = 3


class InterruptedRunError(KdtoolError):
    """Ctrl-C; the same command resumes, and nothing finished is lost."""

    exit_code = 130


def reason(error: BaseException) -> str:
    """Return why another library failed, in words for a message: no error number, no object.

    Args:
        error: Of the system, Python or a library.
    """
    if isinstance(error, UnicodeDecodeError):
        byte = error.object[error.start]
        return f"byte {byte:#04x} at position {error.start} is not {error.encoding.upper()}"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror  # without the number and the name of the file
    if isinstance(error, KeyError) and error.args:
        return str(error.args[0])  # `str` of it adds quotes
    return " ".join(str(error).split()) or type(error).__name__
