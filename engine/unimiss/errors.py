"""What can go wrong, as sentences a user can act on."""


class UnimissError(Exception):
    """Base of every error that the engine raises on purpose; its text is one plain sentence."""

    exit_code = 1


class InputError(UnimissError):
    """A file, option or data set that the user gave cannot be used; its text says what to do."""

    exit_code = 2


class JobError(UnimissError):
    """Work that started properly and could not be finished; what was finished before it is kept."""


class Stopped(UnimissError):
    """The user asked the work to end; what was finished before it is kept."""
