"""What a sandbox is tried for from inside before anything untrusted runs in it.

One shell script looks for every hole that is known and prints a line for each that is open. The
tree that it runs in is hostile: its links lead through `/oldroot` to a folder of the host, so that
whatever is mounted below the tree is made on the host where bubblewrap is older than 0.12
(CVE-2026-87766).
"""

import socket
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from secrets import token_hex

from bot.domain.ports import Finished

_TRAPS = ("usr", "etc", "proc", "dev", "tmp", "home", "run", "old", ".git", "node_modules")
_TRIED = "tried everything"
_SCRIPT = rf"""
secret=$1 socket=$2 limits=$3
known='^(PATH|HOME|TMPDIR|LANG|HOSTNAME|TERM|container)='
tr '\0' '\n' < /proc/1/environ | grep -qvE "$known" && echo "the caller's environment is visible"
[ "$(id -u)" = 0 ] && echo "commands run as root"
grep -q '^CapPrm:[[:space:]]*0*$' /proc/self/status || echo "capabilities are left"
grep -q '^NoNewPrivs:[[:space:]]*1' /proc/self/status || echo "set-uid programs gain rights"
grep -qvE 'Inter|face|^ *lo:' /proc/net/dev && echo "a network device is visible"
grep -q "$socket" /proc/net/unix && echo "abstract sockets of the host are visible"
(: > /usr/canary) 2>/dev/null && echo "the system is writable"
(: > canary) 2>/dev/null || echo "the tree is not writable"
[ -e "$secret" ] && echo "the host's files are visible"
[ -e /var/run/docker.sock ] && echo "a container engine can be reached"
(: < /dev/tty) 2>/dev/null && echo "a terminal is open"
for each in /proc/self/fd/*; do
  case $each in
    */[012]) ;;
    *) [ -e "$each" ] && echo "an open file of the server is visible" ;;
  esac
done
for each in $limits; do
  grep -q "^Max $(echo $each | tr _ ' ')  *unlimited" /proc/self/limits && echo "no limit: $each"
done
for each in /tmp /dev/shm "$HOME"; do
  size=$(df -Pk "$each" | tail -n 1 | (read -r _ size _ && echo "$size"))
  [ -w "$each" ] && [ "$size" -gt 4194304 ] && echo "no limit: the size of $each"
done
unshare -Ur true 2>/dev/null && echo "note: commands can make user namespaces"
set -- /proc/[0-9]*
[ $# -gt 8 ] && echo "processes of others are visible"
echo "{_TRIED}"
"""


def found(
    run: Callable[[Sequence[str], Path], Finished], where: Path | None, limits: Sequence[str]
) -> tuple[str, ...]:
    """Return the holes that are open where *run* runs a command in a tree, none when all hold.

    The tree is made in *where*. What begins with `note:` is no hole by itself. *limits* are those
    of `/proc/self/limits`, such as `file_size`, that must not be unlimited.
    """
    with (
        tempfile.TemporaryDirectory(prefix="regreen-", dir=where) as folder,
        socket.socket(socket.AF_UNIX) as listener,
    ):
        tree, host = Path(folder) / "tree", Path(folder) / "host"
        tree.mkdir()
        host.mkdir()
        for name in _TRAPS:
            (tree / name).symlink_to(f"/oldroot{host}")
        (host / "secret").write_text("CANARY")
        name = f"regreen-{token_hex(8)}"
        listener.bind(f"\0{name}")
        words = (str(host / "secret"), name, " ".join(limits))
        ended = run(("sh", "-c", _SCRIPT, "sh", *words), tree)
        made = [path.name for path in host.iterdir()] != ["secret"]
    told = ended.output.splitlines()
    if _TRIED not in told:
        return (f"the self-test did not run: {ended.output.strip() or ended.exit_code}",)
    trap = ("mount points follow links of the tree onto the host (CVE-2026-87766)",)
    return (*(line for line in told if line != _TRIED), *(trap if made else ()))
