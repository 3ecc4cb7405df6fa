# ruff: noqa: E501 (patterns and log lines are quoted whole, with the signs that tools print)
"""Evidence of runners, memory, disks, images, deployments and time limits."""

from functools import partial

from bot.domain.values import FailureType
from bot.failures.taxonomy import rule

row = partial(rule, FailureType.INFRA)

RULES = (
    row(
        "runner-lost",
        "github",
        0.98,
        r"The runner has received a shutdown signal|lost communication with the server|The hosted runner .*(lost|encountered an error)|We stopped hearing from agent|The self-hosted runner.* lost|No hosted parallelism|runner was not acquired|did not connect to the internet",
        "##[error]The runner has received a shutdown signal.",
    ),
    row(
        "cancelled",
        "github",
        0.93,
        r"The operation was cancell?ed\.?|^Build was (aborted|canceled)|^Finished: ABORTED|Aborted by |The job was cancell?ed|The run was cancell?ed|^Canceling since a higher priority",
        "##[error]The operation was canceled.",
    ),
    row(
        "time-limit",
        "",
        0.97,
        r"exceeded the maximum (execution time|time limit|log length)|has timed out after \d+ (minutes|seconds)|max run time exceeded|No output has been received in the last|execution took longer than|[Bb]uild timed out|Too long with no output|(?i)job (has )?(exceeded|timed out)|exceeded maximum execution time|##\[error\].*\btimed out after \d+|Timeout has been exceeded|timed out waiting for the condition",
        "##[error]The job running on runner x has exceeded the maximum execution time of 360 minutes.",
        "[taskcluster:error] Task aborted - max run time exceeded",
        but_not=("pip._vendor.urllib3 read timed out",),
    ),
    row(
        "disk-full",
        "",
        0.98,
        r"(?i)no space left on device|\bENOSPC\b|disk quota exceeded|not enough (free )?(disk )?space|There is not enough space on the disk|You are running out of disk space",
        "write /a: no space left on device",
    ),
    row(
        "memory",
        "",
        0.96,
        r"(?i)cannot allocate memory|JavaScript heap out of memory|java\.lang\.OutOfMemoryError|OOMKilled|oom-kill|out of memory: kill|\bout of memory\b|std::bad_alloc|Allocation failed - |ENOMEM\b|virtual memory exhausted|MemoryError$|The container .*memory limit|runtime: out of memory",
        "FATAL ERROR: Reached heap limit Allocation failed - JavaScript heap out of memory",
    ),
    row(
        "killed",
        "",
        0.95,
        r"(exit(ed)?( with)?( code| status)?:?|code|status|exit value) 137\b|signal: killed|signal: 9, SIGKILL|\bSIGKILL\b|^(.*: line \d+: +\d+ )?Killed\b|cc1plus: fatal error: Killed",
        "##[error]Process completed with exit code 137.",
        but_not=("137 passed",),
    ),
    row(
        "terminated",
        "",
        0.85,
        r"(exit(ed)?( with)?( code| status)?:?) 143\b|signal: terminated|received SIGTERM",
        "##[error]Process completed with exit code 143.",
    ),
    row(
        "system-failure",
        "gitlab",
        0.96,
        r"Job failed \(system failure\)|runner system failure|ERROR: Preparation failed|failed to start (the )?(job|container|vm)|hudson\.remoting|ChannelClosedException|Agent (was removed|went offline)|node .*is offline|Cannot contact \S+: |SystemError: .*runner",
        "ERROR: Job failed (system failure): prepare environment: x",
    ),
    row(
        "docker-daemon",
        "docker",
        0.97,
        r"Cannot connect to the Docker daemon|Is the docker daemon running|failed to create shim|OCI runtime (create|exec) failed|error during connect: ",
        "Cannot connect to the Docker daemon at unix:///var/run/docker.sock. Is the docker daemon running?",
    ),
    row(
        "image-missing",
        "docker",
        0.955,
        r"manifest unknown|manifest for \S+ not found|no matching manifest for|ErrImagePull|ImagePullBackOff|pull access denied|repository does not exist|\S+: not found: manifest|failed to resolve reference .*not found|Unable to find image .*|: not found$.*docker\.io",
        "Error response from daemon: manifest for x:9 not found: manifest unknown",
    ),
    row(
        "docker-response",
        "docker",
        0.72,
        r"^(docker: )?Error response from daemon: |Error: Failed to (initialize|start) container|One or more containers failed to start|service \S+ (failed to|didn't) (build|complete)|container .* (is unhealthy|exited \([1-9])|dependency failed to start",
        "docker: Error response from daemon: driver failed programming external connectivity",
    ),
    row(
        "port",
        "",
        0.7,
        r"EADDRINUSE|(?i)address already in use|port is already allocated",
        "Error: listen EADDRINUSE: address already in use :::3000",
    ),
    row(
        "deployment",
        "",
        0.93,
        r"(?i)(Failed to create|Creating Pages) deployment|\bdeployment (has )?failed\b|failed to deploy|UPGRADE FAILED|exceeded its progress deadline|CrashLoopBackOff|ROLLBACK_(COMPLETE|IN_PROGRESS|FAILED)|failed to (create|update) (the )?stack|UPDATE_FAILED|CREATE_FAILED|rollout .*(failed|timed out)|failed to become (healthy|ready|available)|health ?check failed",
        "Error: UPGRADE FAILED: x",
        "Deployment failed with error code 1",
    ),
    row(
        "io",
        "",
        0.92,
        r": (I/O error|Input/output error|Read-only file system|Structure needs cleaning|Stale file handle)|\bEIO: ",
        "tee: /tmp/a.out: I/O error",
    ),
    row(
        "handles",
        "",
        0.85,
        r"(?i)too many open files|\bEMFILE\b|Resource temporarily unavailable|unable to create native thread|device or resource busy|fork: retry",
        "OSError: [Errno 24] Too many open files",
    ),
    row(
        "not-there",
        "",
        0.8,
        r"returned error: 404\b|^(ERROR|curl|wget).*\b404:? Not Found|Error 404|Received status code 404|HTTP (error )?404",
        "curl: (22) The requested URL returned error: 404",
    ),
    row(
        "apt-lock",
        "apt",
        0.93,
        r"Could not get lock /var/lib|Unable to (acquire|lock) the (dpkg|administration)|dpkg was interrupted",
        "E: Could not get lock /var/lib/dpkg/lock-frontend",
    ),
    row(
        "display",
        "",
        0.75,
        r"(?i)(cannot|unable to|could not) (open|connect to) (the )?(X )?display|no usable sandbox|Failed to launch (the )?browser|no emulators? (found|detected)|emulator: ERROR|device offline|DevToolsActivePort file doesn't exist",
        "Error: Failed to launch the browser process!",
    ),
    row(
        "runner-missing",
        "github",
        0.96,
        r"(?i)\bno runners? (is |are )?(matched|matching|match|online|available|found)|not acquired by Runner of type|no runner matching the specified labels",
        "The job was not started because no runner matched the labels: gpu",
        "The job was not acquired by Runner of type hosted even after multiple attempts",
    ),
)
