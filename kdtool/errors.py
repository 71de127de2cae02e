"""Errors that the user can mend: what was given, what was expected, how to fix it."""


class KdtoolError(Exception):
    """An error that the user can mend; shown as one message, without a traceback."""

    exit_code = 1


class RecipeError(KdtoolError):
    """A recipe that cannot be used; lists all its problems at once."""


class DataError(KdtoolError):
    """Images or labels that are missing, damaged or do not fit together."""


class StudyError(KdtoolError):
    """A study folder that cannot be used as asked."""


class ModelFileError(KdtoolError):
    """A model file that is missing, damaged, or cannot be used as asked."""


class GateError(KdtoolError):
    """A check of a finished model failed, so that its file was not given its name."""

    exit_code = 3


class InterruptedRunError(KdtoolError):
    """Ctrl-C; nothing that was finished is lost."""

    exit_code = 130
