# ruff: noqa: E501 (patterns and log lines are quoted whole, with the signs that tools print)
"""Evidence of broken set-ups: packages, containers, infrastructure as code, git, shell, workflows."""

from functools import partial

from bot.domain.values import FailureType
from bot.failures.taxonomy import rule

row = partial(rule, FailureType.RUNTIME)

RULES = (
    # --- packages of the system, containers, infrastructure as code
    row(
        "apt-missing",
        "apt",
        0.9,
        r"^E: (Unable to locate package|Package '\S+' has no installation candidate|Version '.*' for '\S+' was not found|Unmet dependencies|Unable to correct problems)|has no installation candidate",
        "E: Unable to locate package libfoo",
    ),
    row(
        "rpm",
        "rpm",
        0.93,
        r"^No match for argument|nothing provides |Failed to resolve the transaction|^Problem: .*(cannot install|conflicting requests|nothing provides)|error: Bad (file|exit status)|^ *Requirement not satisfied: |Failed build dependencies:|Unable to find a match",
        "No match for argument: pkgconfig(x) >= 2.0.0",
        "error: Bad exit status from /var/tmp/rpm-tmp.x (%build)",
    ),
    row(
        "brew",
        "brew",
        0.85,
        r"^Error: (No (available formula|formulae found)|.*: no bottle available|The `brew link` step)",
        'Error: No available formula with the name "foo".',
    ),
    row(
        "docker-build",
        "docker",
        0.6,
        r"^ERROR: failed to (solve|build)|^(ERROR: )?failed to solve: |returned a non-zero code: [1-9]|did not complete successfully: exit code: [1-9]|executor failed running",
        'ERROR: failed to solve: process "/bin/sh -c make" did not complete successfully: exit code: 2',
    ),
    row(
        "docker-context",
        "docker",
        0.93,
        r"failed to compute cache key|failed to calculate checksum|COPY failed: |dockerfile parse error|unknown instruction: |failed to read dockerfile|Cannot locate specified Dockerfile|invalid reference format",
        'failed to compute cache key: "/x": not found',
    ),
    row(
        "compose-config",
        "docker",
        0.85,
        r"service \"\S+\" (refers to undefined|has neither)|yaml: (line \d+|unmarshal errors)|invalid compose project",
        "yaml: line 3: mapping values are not allowed in this context",
    ),
    row(
        "terraform",
        "terraform",
        0.85,
        r"^(│ |╷ )?Error: (Unsupported|Invalid|Missing|Reference to undeclared|Failed to|Error|Inconsistent|Duplicate|No (value|valid)|Module not)",
        "│ Error: Unsupported argument",
    ),
    row(
        "helm",
        "helm",
        0.85,
        r"^Error: (INSTALLATION FAILED|chart |template: |parse error|execution error|YAML parse)|error validating data|error converting YAML",
        "Error: template: a/templates/x.yaml:3:5: executing",
    ),
    # --- git, shell, workflow
    row(
        "git-state",
        "git",
        0.88,
        r"^CONFLICT \(|Automatic merge failed|cannot rebase: |Your local changes .*would be overwritten|could not apply [0-9a-f]{7}|fatal: (not a git repository|couldn't find remote ref|ambiguous argument|no upstream|refusing to merge|No url found for submodule|Not possible to fast-forward|bad revision|invalid reference|pathspec|reference is not a tree|remote error: upload-pack: not our ref)|^error: pathspec|\(non-fast-forward\)|\(fetch first\)|nothing to commit",
        "CONFLICT (content): Merge conflict in a.py",
        "error: cannot rebase: Your index contains uncommitted changes.",
        but_not=("nothing to report",),
    ),
    row(
        "command-missing",
        "shell",
        0.85,
        r"(: |^)\S+: (command )?not found$|command not found: \S+$|is not recognized as (an internal or external command|the name of a cmdlet)|executable file not found in \$PATH|env: .*No such file or directory|/usr/bin/env: |spawn \S+ ENOENT",
        "/home/runner/work/_temp/x.sh: line 1: foo: command not found",
        "sh: 1: jest: not found",
    ),
    row(
        "shell-syntax",
        "shell",
        0.88,
        r"syntax error(:| near unexpected token| in conditional)|unexpected EOF while looking for|unbound variable$|bad substitution",
        "a.sh: line 3: syntax error near unexpected token `fi'",
    ),
    row(
        "file-missing",
        "shell",
        0.55,
        r": No such file or directory$|(?i)^(error: )?(cannot|can't|could not|unable to) (open|find|access|stat|read|load) ",
        "cat: a.txt: No such file or directory",
    ),
    row(
        "permission-file",
        "shell",
        0.6,
        r": Permission denied$|\bEACCES\b",
        "bash: ./run.sh: Permission denied",
    ),
    row(
        "crash",
        "",
        0.9,
        r"(?i)\bsegmentation fault\b|\(core dumped\)|SIGSEGV|SIGABRT|AddressSanitizer: |stack smashing detected|exit(ed with)? code 139\b|double free or corruption",
        "Segmentation fault (core dumped)",
        "##[error]Process completed with exit code 139.",
    ),
    row(
        "process-crash",
        "mochitest",
        0.955,
        r"^(.* - )?PROCESS-CRASH |application crashed \[@",
        "12:00:01  ERROR - PROCESS-CRASH | a.js | application crashed [@ foo]",
    ),
    row(
        "action-missing",
        "github",
        0.88,
        r"Unable to resolve action|Can't find 'action\.yml'|Invalid workflow file|Input required and not supplied|Unrecognized named-value|The template is not valid|Unexpected (value|input\(s\))|No files were found with the provided path|Artifact not found for name",
        "##[error]Unable to resolve action `x/y@v9`, unable to find version `v9`",
    ),
    row(
        "setup-version",
        "github",
        0.85,
        r"(?i)(version|unable to find) .*(with (arch|architecture) .*|for .*) (was )?not found|Unable to find (Node|Go|Python|Java) version|Could not find satisfied version",
        "##[error]The version '3.5' with architecture 'x64' was not found for Ubuntu 24.04.",
    ),
    row(
        "build-failed-words",
        "",
        0.45,
        r"(?i)^(##\[error\]|error: ?)?(the )?(build|compilation|compile) (has )?(failed|errors?)\b",
        "Build failed",
        "##[error]Compilation failed",
    ),
    row(
        "error-line",
        "",
        0.42,
        r"^ *(❌ ?|✘ ?|✗ ?)?(error|Error|ERROR|fatal|FATAL|Fatal|FAILURE)( \w+)*(:|!| - ) ?\S",
        "Error: something went wrong",
        "fatal: boom",
        but_not=("0 errors", "error count 0"),
    ),
    row("actions-error", "", 0.41, r"^##\[error\]", "##[error]Something went wrong"),
    row(
        "browser-missing",
        "playwright",
        0.85,
        r"Executable doesn't exist at |Please run the following command to download new browsers|Could not find Chrome(ium)? \(ver",
        "browserType.launch: Executable doesn't exist at /home/a/.cache/ms-playwright/chrome",
    ),
)
