"""The one exception that means: what was given cannot work, and here is what to do."""


class MaxEntError(RuntimeError):
    """One sentence that says what was wrong and what to do; the command line prints it without a traceback."""


class DivergedError(MaxEntError):
    """Learning went wrong for good: the state of the run is not worth saving over the last checkpoint."""
