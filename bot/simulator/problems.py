"""How GitHub says no."""

from bot.simulator.state import Json

DOCS = "https://docs.github.com/rest"


class Problem(Exception):
    """An error answer: a status, a message and GitHub's list of errors."""

    def __init__(self, status: int, message: str, errors: list[Json] | None = None) -> None:
        super().__init__(message)
        self.status, self.message, self.errors = status, message, errors

    def body(self) -> Json:
        """Build the error object."""
        shape: Json = {
            "message": self.message,
            "documentation_url": DOCS,
            "status": str(self.status),
        }
        return shape if self.errors is None else {**shape, "errors": self.errors}


def not_found() -> Problem:
    """Say that it is not there, or not for you."""
    return Problem(404, "Not Found")


def forbidden() -> Problem:
    """Say that the App or its token may not do this."""
    return Problem(403, "Resource not accessible by integration")


def invalid(resource: str, field: str, message: str, code: str = "custom") -> Problem:
    """Say which field of which object is wrong."""
    error = {"resource": resource, "code": code, "field": field, "message": message}
    return Problem(422, "Validation Failed", [error])
