"""The gate reads what git really writes."""

import subprocess

from hypothesis import given, settings
from hypothesis import strategies as st

from bot.repair.guard import changed


@given(
    st.dictionaries(
        st.sampled_from(["a.py", "d/b.txt", "-- c", "sp é.txt"]), st.text(max_size=80), min_size=1
    )
)
@settings(max_examples=15)
def test_what_git_writes_is_read_whole(tmp_path_factory, files):
    """Every path that git names in a diff is a path that the gate sees."""
    folder = tmp_path_factory.mktemp("tree")
    for name, text in files.items():
        path = folder / "new" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n", newline="", encoding="utf-8", errors="replace")
    (folder / "old").mkdir()
    ran = subprocess.run(
        ["git", "diff", "--no-index", "--binary", "old", "new"],
        cwd=folder,
        capture_output=True,
        check=False,
    )
    seen = {
        change.path.removeprefix("new/")
        for change in changed(ran.stdout.decode("utf-8", "replace"))
    }
    assert seen == set(files)
