"""What a model is asked without being asked to change anything, and what its answer is good for.

A plan is a short checklist for whoever mends. A synthesis makes one plan out of several. An
analysis judges a change before it goes out: its first line is the verdict, and an answer without
one, or with both, is of no use. What other models wrote is fenced like everything else that nobody
vouches for.
"""

from collections.abc import Iterator, Mapping

import msgspec

from bot.backends import prompt
from bot.domain.answers import Answer, Ending
from bot.domain.values import Purpose, Question

MOST = 8_000  # characters kept of an answer
_DIFF = 60_000
_OPINION = 8_000
_PLAN = """\
Write the plan: a numbered checklist of at most twelve lines, and nothing else.
- The cause, and which line of the log or of the files shows it. Say so when you are not sure.
- Each file to change, and what changes there.
- How it is proved: the command or the test that fails now and passes then.
- What not to do.
Write no code and no diff."""
_SYNTHESIS = """\
Several planners have each written a plan. Make one plan of them. Where they differ, keep what the \
log and the files bear out, and leave out what only one of them supposes."""
_ANALYSIS = """\
Judge a change before it goes out. Does it do what the plan says, no more and no less? Does it \
mend the cause, or only hide the symptom? It hides the symptom when it weakens, skips or deletes a \
test, swallows an error, silences a check, or answers the failing case by itself. Without a plan, \
judge by the failing checks alone. Files that you see hold the change already.
The first line of your answer is exactly `VERDICT: yes` or `VERDICT: no`. After it come at most \
ten lines of reasons that name files; with a no, say what to do instead."""
TASKS: Mapping[Purpose, str] = {
    Purpose.PLAN: _PLAN,
    Purpose.SYNTHESIS: f"{_SYNTHESIS}\n{_PLAN}",
    Purpose.ANALYSIS: _ANALYSIS,
}
_LAST: Mapping[Purpose, str] = {
    Purpose.PLAN: "Now write the plan.",
    Purpose.SYNTHESIS: "Now write the one plan.",
    Purpose.ANALYSIS: "Now judge the change; the verdict comes first.",
}


def posed(question: Question) -> str:
    """Return the question with all that is known."""
    return "\n\n".join(_sections(question))


def answered(name: str, question: Question, answer: Answer) -> Answer:
    """Return backend *name*'s answer, with `NO_CHANGE` and a clean text when it is of use.

    The text of an analysis begins with the line `VERDICT: yes` or `VERDICT: no`.
    """
    text, detail = prompt.clean(_spoken(answer.text)).strip(), ""
    if answer.ending not in {Ending.EDITED, Ending.NO_CHANGE}:
        return msgspec.structs.replace(answer, text=prompt.capped(text, MOST))
    if not text:
        detail = f"{name} said nothing"
    elif question.purpose is Purpose.ANALYSIS:
        verdicts = {one for line in text.splitlines() if (one := _verdict(line))}
        if len(verdicts) == 1:
            text = _from_verdict(text)
        else:
            detail = f"{name} gave {'both verdicts' if verdicts else 'no verdict'}"
    ending = Ending.INVALID if detail else Ending.NO_CHANGE
    return msgspec.structs.replace(
        answer, ending=ending, text=prompt.capped(text, MOST), detail=detail
    )


def again(posed: str, answer: Answer) -> str:
    """Return the question for a second time, with what was wrong with the answer."""
    return (
        f"{posed}\n\nYou were asked this before, and your answer was of no use: {answer.detail}."
        " Answer once more, in the form that is asked for."
    )


def _sections(question: Question) -> Iterator[str]:
    task, judging = question.task, question.purpose is Purpose.ANALYSIS
    yield TASKS[question.purpose]
    yield f"The pull request is {task.pull}."
    yield from prompt.facts(task)
    yield from prompt.plan(task, "The plan" if judging else "The plan so far")
    yield from prompt.lessons(task)
    for number, opinion in enumerate(question.opinions, start=1):
        yield prompt.untrusted(f"Plan {number}", opinion, _OPINION)
    if judging:
        yield prompt.untrusted("The change", question.diff, _DIFF)
    yield _LAST[question.purpose]


def _spoken(text: str) -> str:
    """Return *text* without the thoughts that some models print before their answer."""
    thoughts, end, rest = text.partition("</think>")
    return rest if end and thoughts.lstrip().startswith("<think>") else text


def _from_verdict(text: str) -> str:
    """Return the text from its verdict on, as a line by itself; programs print more before it."""
    lines = text.splitlines()
    at = next(number for number, line in enumerate(lines) if _verdict(line))
    return "\n".join((f"VERDICT: {_verdict(lines[at])}", *lines[at + 1 :]))


def _verdict(line: str) -> str:
    """Return the verdict that a line is, "" when it is none; emphasis around it is forgiven."""
    word = " ".join(line.replace("*", "").replace("`", "").strip(" \t#_.").casefold().split())
    return word.removeprefix("verdict: ") if word in {"verdict: yes", "verdict: no"} else ""
