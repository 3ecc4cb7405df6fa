"""Our own check run, one for each pull request at a head.

It is found before it is made: by name, by our App's id and by its `external_id`, which names the
pull request (two of them may share a head, and neither may speak for the other). Every step of
showing it may therefore be repeated: what is already there is changed, not made again, and of the
annotations only the missing ones are sent, since GitHub adds them up.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from bot.domain.values import Annotation, Card
from bot.github import wire
from bot.github.client import Client
from bot.github.limits import ANNOTATIONS_PER_REQUEST, fit_bytes, fit_title
from bot.github.transport import attempts

NAME = "regreen"
BUTTONS = {  # command: label of at most 20 characters, description of at most 40
    "fix": ("Fix", "Have Regreen mend this now"),
    "rerun": ("Re-run", "Run the failed jobs again"),
    "stop": ("Stop", "Stop work on this pull request"),
    "approve": ("Approve", "Let the change that waits here go out"),
    "reject": ("Reject", "Throw away the change that waits here"),
}
MOST_BUTTONS = 3
LEVELS = ("notice", "warning", "failure")


class Cards:
    """Creates and updates the check run `regreen`."""

    def __init__(self, client: Client, app_id: int) -> None:
        self._client = client
        self._app_id = app_id

    def show(self, card: Card) -> None:
        """Bring the check run to what *card* says; safe to call twice."""
        attempts()(self._show, card)

    def _show(self, card: Card) -> None:
        repo = card.pull.repo
        found = self._find(card)
        missing = self._missing(repo, found, card.annotations)
        first, *rest = list(_batches(missing)) or [[]]
        if found is None:
            body = {**_body(card, first), "name": NAME, "head_sha": card.head}
            sent = self._client.send("POST", repo, "/check-runs", body=body)
        else:
            path = f"/check-runs/{found.id}"
            sent = self._client.send("PATCH", repo, path, body=_body(card, first))
        shown = sent.read(wire.CheckRun)
        for batch in rest:
            path = f"/check-runs/{shown.id}"
            self._client.send("PATCH", repo, path, body={"output": _output(card, batch)})

    def _find(self, card: Card) -> wire.CheckRun | None:
        found = self._client.pages(
            card.pull.repo,
            f"/commits/{card.head}/check-runs",
            wire.CheckRun,
            items="check_runs",
            check_name=NAME,
            filter="all",
            app_id=self._app_id,
        )
        ours = [
            run
            for run in found
            if run.app and run.app.id == self._app_id and run.external_id == str(card.pull)
        ]
        return max(ours, key=lambda run: run.id, default=None)

    def _missing(
        self, repo: str, found: wire.CheckRun | None, wanted: Sequence[Annotation]
    ) -> list[Mapping[str, Any]]:
        if found is None or not wanted or not found.output.annotations_count:
            present = set()
        else:
            path = f"/check-runs/{found.id}/annotations"
            present = {
                (a.path, a.start_line, a.annotation_level, a.message)
                for a in self._client.pages(repo, path, wire.Annotation)
            }
        notes = [_note(annotation) for annotation in dict.fromkeys(wanted)]
        return [n for n in notes if _identity(n) not in present]


def _body(card: Card, annotations: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    body: dict[str, Any] = {
        "external_id": str(card.pull),
        "output": _output(card, annotations),
        "actions": [],
    }
    if card.conclusion is None:
        return {**body, "status": "in_progress"}
    # GitHub shows them only on a check run that has ended.
    body["actions"] = [_button(name) for name in card.buttons[:MOST_BUTTONS]]
    return {**body, "status": "completed", "conclusion": card.conclusion.value}


def _button(name: str) -> dict[str, str]:
    label, description = BUTTONS[name]
    return {"label": label, "description": description, "identifier": name}


def _output(card: Card, annotations: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    output: dict[str, Any] = {
        "title": fit_title(card.title) or NAME,
        "summary": fit_bytes(card.summary),
    }
    return {**output, "annotations": list(annotations)} if annotations else output


def _note(annotation: Annotation) -> dict[str, Any]:
    line = max(annotation.line, 1)
    return {
        "path": annotation.path,
        "start_line": line,
        "end_line": line,
        "annotation_level": annotation.level if annotation.level in LEVELS else "failure",
        "message": fit_bytes(annotation.message) or NAME,
    }


def _identity(note: Mapping[str, Any]) -> tuple[Any, ...]:
    return tuple(note[key] for key in ("path", "start_line", "annotation_level", "message"))


def _batches(notes: Sequence[Mapping[str, Any]]) -> Iterator[list[Mapping[str, Any]]]:
    for start in range(0, len(notes), ANNOTATIONS_PER_REQUEST):
        yield list(notes[start : start + ANNOTATIONS_PER_REQUEST])
