"""Prove a change: in a sandbox of ours, or by the repository's own checks on a scratch branch.

Every verification leaves its artifact, whatever its end: refused, not finished, timed out.
"""

from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path

import msgspec

from bot.domain import effects
from bot.domain.effects import Outcome
from bot.domain.errors import BotError, Broken, Gone
from bot.domain.ports import Ports
from bot.domain.values import (
    Check,
    CheckState,
    Command,
    CommandResult,
    Ground,
    PullRef,
    Review,
    ReviewFinding,
    Stage,
    Verification,
)
from bot.failures.classify import classify
from bot.repair.guard import diff_fingerprint, redact
from bot.repair.messages import command_name
from bot.runtime import counting

LOGS_READ = 3  # failing checks on a scratch branch whose logs are read
_EXCERPT = 4_000  # characters of such a log

NOWHERE = Ground()
Stop = Callable[[], bool]


class Prover:
    """Performs the effects that prove; `sandbox` names the driver for the proof's record."""

    def __init__(self, ports: Ports, sandbox: str) -> None:
        self._ports = ports
        self._sandbox = sandbox
        self._heads = counting.Heads()

    def verify(self, effect: effects.Verify, stop: Stop) -> Outcome:
        """Run the commands over a fresh tree with the change applied."""
        ports, pull = self._ports, effect.pull
        key = diff_fingerprint(effect.diff)
        results: Sequence[CommandResult] = ()
        weakened: tuple[str, ...] = ()
        reason = ""
        try:
            remote = ports.repos.remote(pull.repo, write=False)
            with ports.trees.open(pull.repo, effect.head, remote) as tree:
                tree.apply(effect.diff)
                ground = Ground(pull.repo, effect.trusted)
                results = ports.gatekeeper.verify(tree.path, effect.commands, stop, ground)
                after = counting.changed(ports, effect, tree.path, results, stop)
            weakened = self._heads.weakened(ports, effect, remote, after, stop)
            if stop():
                reason = ports.runs.fence(pull).reason
                self._judged(effect.run, key, results, f"superseded: {reason}")
                return effects.Superseded(reason)
        except Broken as error:
            reason = f"the change does not apply: {error}"
        except BotError as error:
            self._judged(effect.run, key, results, f"not finished: {error}")
            raise
        verdict, at = self._judged(effect.run, key, results, reason, weakened=weakened)
        return effects.Verified(verdict, at)

    def preflight(
        self,
        run: str,
        tree: Path,
        diff: str,
        commands: Sequence[Command],
        stop: Stop,
        *,
        ground: Ground = NOWHERE,
    ) -> Verification | None:
        """Run the commands in the tree of the backend, once its change was taken from there."""
        if not commands or not diff.strip():
            return None
        results = self._ports.gatekeeper.verify(tree, commands, stop, ground)
        reason = "superseded" if stop() else ""
        key = diff_fingerprint(diff)
        return self._judged(run, key, results, reason, Stage.PREFLIGHT)[0]

    def record(self, effect: effects.Record) -> Outcome:
        """Write an artifact, or write it again with what was found since."""
        now = self._ports.clock.now()
        verdict = self._written(effect.run, effect.verification, effect.verification.at or now)
        return effects.Recorded(verdict, now)

    def offer(self, effect: effects.OfferScratch) -> Outcome:
        """Push a commit to its scratch branch."""
        repo = effect.pull.repo
        remote = self._ports.repos.remote(repo, write=True)
        ended = self._ports.trees.offer(repo, effect.branch, effect.commit, remote)
        if ended == "pushed":
            return effects.Pushed(self._ports.clock.now())
        return effects.Refused(f"{effect.branch} cannot be pushed: {ended}")

    def drop(self, effect: effects.DropScratch) -> Outcome:
        """Delete a scratch branch."""
        repo = effect.pull.repo
        remote = self._ports.repos.remote(repo, write=True)
        ended = self._ports.trees.withdraw(repo, effect.branch, remote)
        if ended == "gone":
            return effects.Done()
        return effects.Refused(f"{effect.branch} cannot be deleted: {ended}")

    def read(self, effect: effects.ReadProof) -> Outcome:
        """Read the checks on a scratch branch; the base branch's only when some of them fail."""
        checks, repo = self._ports.checks, effect.pull.repo
        found = tuple(checks.at(repo, effect.commit))
        failed = [one for one in found if one.state is CheckState.FAILED]
        red = self._red(effect.pull, effect.base_branch) if self._matters(found) else frozenset()
        own = [one for one in failed if one.name not in red][:LOGS_READ]
        logs = tuple((one.name, self._excerpt(repo, one)) for one in own)
        upstream = tuple(sorted(red))
        return effects.ProofRead(found, upstream, logs, self._ports.clock.now())

    def _matters(self, found: Sequence[Check]) -> bool:
        """Say whether the base branch's colours can matter: not while nothing has ended."""
        return any(one.state is not CheckState.PENDING for one in found)

    def _red(self, pull: PullRef, branch: str) -> frozenset[str]:
        try:
            tip = self._ports.repos.tip(pull.repo, branch)
        except Gone:  # the branch was deleted: then nothing of it is broken
            return frozenset()
        found = self._ports.checks.at(pull.repo, tip)
        return frozenset(one.name for one in found if one.state is CheckState.FAILED)

    def _excerpt(self, repo: str, check: Check) -> str:
        text = self._ports.checks.log(repo, check)
        signal = classify(text, step=check.name, failed_steps=check.failed_steps)
        return (signal.excerpt or text.decode(errors="replace"))[-_EXCERPT:]

    def _judged(
        self,
        run: str,
        fingerprint: str,
        results: Sequence[CommandResult],
        reason: str,
        stage: Stage = Stage.GATEKEEPER,
        weakened: tuple[str, ...] = (),
    ) -> tuple[Verification, datetime]:
        """Return the verdict on what ran, with its artifact written."""
        at = self._ports.clock.now()
        failed = [one for one in results if not one.passed and not one.allow_fail]
        if failed and not reason:
            how = "timed out" if failed[0].timed_out else f"failed ({failed[0].exit_code})"
            where = " in the preflight" if stage is Stage.PREFLIGHT else ""
            reason = f"{command_name(failed[0])} {how}{where}"
        if not results and not reason:
            reason = "no command was run"
        verdict = Verification(
            approved=not reason,
            reason=reason or "every command passed",
            results=tuple(results),
            diff_fingerprint=fingerprint,
            sandbox=self._sandbox,
            weakened=tuple(redact(one) for one in weakened),
            stage=stage,
            at=at,
        )
        return self._written(run, verdict, at), at

    def _written(self, run: str, verdict: Verification, at: datetime) -> Verification:
        """Write the artifact without secrets, and return the verdict as it was written."""
        clean = msgspec.structs.replace(
            verdict,
            reason=redact(verdict.reason),
            results=tuple(_clean(one) for one in verdict.results),
            review=_clean_review(verdict.review),
            evidence=tuple((name, redact(text)) for name, text in verdict.evidence),
            at=at,
        )
        artifact = self._ports.gatekeeper.record(run, clean, at)
        return msgspec.structs.replace(clean, artifact=artifact)


def _clean(result: CommandResult) -> CommandResult:
    return msgspec.structs.replace(
        result, command=redact(result.command), output=redact(result.output)
    )


def _clean_review(review: Review | None) -> Review | None:
    if review is None:
        return None
    findings = tuple(
        ReviewFinding(redact(one.severity), redact(one.message), redact(one.file))
        for one in review.findings
    )
    return msgspec.structs.replace(review, reason=redact(review.reason), findings=findings)
