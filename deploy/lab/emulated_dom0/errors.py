"""The one error that people see: a sentence that says what failed and what to do."""


class LabError(Exception):
    """Printed without a traceback by the command line, which then exits 1."""
