"""Logs without the marks of Actions: what Travis, GitLab, Jenkins, Buildkite draw around steps."""

import re

from bot.failures.patterns import Pattern

Span = tuple[int, int, str]  # first line, line behind the last, command

MAX_REGIONS = 4
TRAVIS_EXIT = re.compile(rb'The command "(.{0,400})" (?:failed and )?exited with (\d+)')
SUCCESS = Pattern(
    r"^(?:Finished: SUCCESS|Job succeeded|Done\. Your build exited with 0\.?|exit 0|exit code:? 0"
    r"|.{0,40}Successful task run with exit code: 0.*|Build succeeded\.?|BUILD SUCCESSFUL.*"
    r"|\[INFO\] BUILD SUCCESS|The command \".*\" exited with 0\.)$"
)
GITLAB_SECTION = Pattern(r"section_start:\d+:(\w+)")
GITLAB_AFTER = ("after_script", "upload_artifacts", "cleanup", "archive_cache", "restore_cache")
GITLAB_FAILED = b"ERROR: Job failed"
JENKINS_STAGE = Pattern(r"^\[Pipeline\] (?:\{ \((.+)\)|stage$)")
JENKINS_AFTER = Pattern(r"^\[Pipeline\] \{ \(Declarative: Post Actions\)")
BUILDKITE_GROUP = (b"--- ", b"+++ ", b"~~~ ")
BUILDKITE_FAILED = Pattern(
    r"(?:🚨 Error: )?The (?:command|plugin .*|\S+ command hook) exited with"
    r" (?:status|an error:) [1-9]"
)
SHELL = Pattern(r"^(?:\S{0,60} ?)?\$ (\S.*)$")
ENDING = 60  # lines in which a job says how it ended


def failed_spans(raw: list[bytes], lines: list[bytes]) -> list[Span]:
    """Return where the steps that failed begin and end, with their commands, the first first.

    *raw* holds the same lines before they were cleaned, in pieces.
    """
    first = raw[0] if raw else b""
    exits = any(b"exited with" in piece for piece in raw)
    found = _travis(lines) if exits else []
    if not found and b"section_start:" in first:
        found = _gitlab(b"\n".join(raw).split(b"\n"), lines)
    if not found and b"[Pipeline] " in first:
        found = _jenkins(lines)
    if not found and exits:
        found = _buildkite(lines)
    return found[:MAX_REGIONS]


def passed(lines: list[bytes]) -> bool:
    """Return whether a log says that the whole of it went well."""
    return any(SUCCESS.matches(line) for line in [one for one in lines[-ENDING:] if one][-12:])


def last_command(lines: list[bytes]) -> str:
    """Return the last command that a shell's prompt shows near the beginning of a log."""
    prompts = [line for line in lines[:400] if b"$ " in line]
    found = next(filter(None, map(SHELL.groups, reversed(prompts))), None)
    return found[0] if found else ""


def _travis(lines: list[bytes]) -> list[Span]:
    """Return each command that Travis says has failed, from its echo to its exit line."""
    found: list[Span] = []
    echoes: dict[bytes, int] = {}
    for index, line in enumerate(lines):
        if line.startswith(b"$ "):
            echoes[line[:62]] = index
        exit_line = TRAVIS_EXIT.search(line) if b'The command "' in line else None
        if exit_line is None:
            continue
        if exit_line[2] != b"0":
            echo = b"$ " + exit_line[1].split(b"\\n")[0]
            start = echoes.get(echo[:62], found[-1][1] if found else 0)
            found.append((start, index + 1, exit_line[1].decode("utf-8", "replace")))
        echoes.clear()
    return found


def _gitlab(raw: list[bytes], lines: list[bytes]) -> list[Span]:
    """Return the last section of the job's script, when the job failed in it."""
    start, end, open_ = 0, len(lines), True
    for index, line in enumerate(raw):
        section = GITLAB_SECTION.groups(line) if b"section_start:" in line else None
        if section and section[0].startswith(GITLAB_AFTER):
            end, open_ = (index, False) if open_ else (end, False)
        elif section:
            start, end, open_ = index, len(lines), True
    if not any(line.startswith(GITLAB_FAILED) for line in lines[-ENDING:]):
        return []
    if any(b"system failure" in line for line in lines[-ENDING:]):
        return [(start, len(lines), "")]
    return [(start, end, last_command(lines[start : start + 50]))]


def _jenkins(lines: list[bytes]) -> list[Span]:
    """Return the first stage in which a script failed; what comes after it is cleaning up."""
    if b"Finished: SUCCESS" in lines[-ENDING:]:
        return []
    start = 0
    for index, line in enumerate(lines):
        if not line.startswith(b"[Pipeline] "):
            continue
        if JENKINS_AFTER.matches(line):
            return [(start, index, "")]
        if JENKINS_STAGE.matches(line):
            if any(b"skipped due to earlier failure" in one for one in lines[index : index + 4]):
                return [(start, index, "")]
            start = index if b"(" in line else start
    return []


def _buildkite(lines: list[bytes]) -> list[Span]:
    """Return the groups that ended with an error."""
    found: list[Span] = []
    start = 0
    for index, line in enumerate(lines):
        if line.startswith(BUILDKITE_GROUP):
            start = index
        elif b"exited with" in line and BUILDKITE_FAILED.matches(line):
            found.append((start, index + 1, ""))
            break
    return found
