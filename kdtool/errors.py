"""Errors that the user can fix: what was given, what was expected, how to fix it."""

import errno
import re
from collections.abc import Iterable

TRACEBACK = "Traceback (most recent call last):"
NOTHING_LOST = "interrupted; nothing is lost: run the same command again"


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
    """A finished model failed a check: its file was not written, or the study stopped."""

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
        return str(error.strerror)  # without the number and the name of the file
    if isinstance(error, KeyError) and error.args:
        return str(error.args[0])  # `str` of it adds quotes
    said = str(error).strip()
    if TRACEBACK in said:  # of another process, such as Ray's
        said = said.splitlines()[-1]
    text = re.sub(r"""b'(?:[^'\\]|\\.)*'|b"(?:[^"\\]|\\.)*\"""", _bytes_in_words, said)
    text = re.sub(r"<urlopen error (?:\[Errno -?\d+\] )?([^>]*)>", r"\1", text)
    text = re.sub(r"\w*Path\('([^']*)'\)", r"\1", text)
    text = re.sub(r"<_io\.\w+[^>]*>", "the file", text)
    return " ".join(text.split()) or type(error).__name__


# What the system lacks or refuses, which no bug of a program causes -> how to mend it.
OF_SYSTEM = {
    errno.EMFILE: "the limit of open files is too low; raise it with `ulimit -n 1024`",
    errno.ENFILE: "the system has too many open files; close other programs",
    errno.ENOSPC: "free some space and run the same command again",
    errno.EDQUOT: "free some of your quota and run the same command again",
    errno.EFBIG: "the limit of file sizes is too low; raise it with `ulimit -f unlimited`",
    errno.EROFS: "use a folder on a disk that can be written",
    errno.EACCES: "change its permissions, or run as the user who owns it",
    errno.EPERM: "change its permissions, or run as the user who owns it",
    errno.ENAMETOOLONG: "give a shorter name",
    errno.ELOOP: "its links lead to each other; repair them",
    errno.EIO: "the disk or the connection to it fails",
    errno.ENOMEM: "close other programs, or use a machine with more memory",
    errno.EAGAIN: "the limit of processes is too low; raise it with `ulimit -u unlimited`",
    errno.EPIPE: "its reader has ended",
}


def of_machine(error: BaseException) -> str | None:
    """Return the message for an error of the machine, such as a full disk; None: it is a bug.

    Args:
        error: Raised by anything, perhaps by a library that could not be loaded.
    """
    said = str(error)
    number = getattr(error, "errno", None)
    if isinstance(error, MemoryError):
        number, said = errno.ENOMEM, "out of memory"
    elif isinstance(error, ImportError) and "Too many open files" in said:
        number, said = errno.EMFILE, "too many open files"
    elif isinstance(error, ImportError) and "failed to map segment" in said:
        number, said = errno.ENOMEM, f"out of memory while a library was loaded ({said})"
    elif isinstance(error, RuntimeError) and "can't start new thread" in said:
        number, said = errno.EAGAIN, "no further thread can be started"
    elif "No usable temporary directory" in said:
        return (
            "there is no folder for temporary files; set the environment variable TMPDIR to one "
            "that can be written"
        )
    elif isinstance(error, OSError) and error.strerror:
        name = str(error.filename or "")
        name = f"{name[:80]}..." if number == errno.ENAMETOOLONG and name[80:] else name
        said = f"{name}: {error.strerror}" if name else error.strerror
    return f"{said}; {OF_SYSTEM[number]}" if number in OF_SYSTEM else None


def did_you_mean(given: str, known: Iterable[str], form: str = '"{}"', cutoff: float = 0.6) -> str:
    """Return the end of an error message that names the closest known word; "" if none is close.

    Args:
        given: What the user wrote.
        known: What is allowed.
        form: How the message shows a word.
        cutoff: How close, in [0, 1]; see `nearest`.
    """
    close = nearest(given, known, cutoff)
    return f"; did you mean {form.format(close)}?" if close else ""


def nearest(given: str, known: Iterable[str], cutoff: float = 0.6) -> str:
    """Return the known word that is closest to `given`; "" if none is close.

    Args:
        given: What the user wrote.
        known: What is allowed.
        cutoff: The least similarity that is close, in [0, 1], of `difflib.get_close_matches`.
    """
    import difflib  # only an error needs it

    return next(iter(difflib.get_close_matches(given, list(known), n=1, cutoff=cutoff)), "")


def _bytes_in_words(literal: re.Match[str]) -> str:
    import ast  # only an error needs it

    content = ast.literal_eval(literal[0])
    text = content.decode("ascii", "ignore")
    return f"'{text}'" if text.isprintable() and len(text) == len(content) else f"0x{content.hex()}"
