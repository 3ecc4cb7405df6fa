"""Pull requests at the simulated GitHub: what people and the App do to them over REST."""

import base64

import pytest

from bot.simulator.repos import import_repo
from tests.support.simulated import REPO, git, make_repo, person, simulated_github, the_app

github = simulated_github(run_workflows=False)

PULLS = f"/repos/{REPO}/pulls"


def branch_with(github, name, files):
    with person(github) as owner:
        body = {"branch": name, "files": files, "message": f"Make {name}"}
        return owner.post(f"/_sim/repos/{REPO}/commit", json=body).json()["sha"]


def test_a_person_opens_closes_and_reopens_a_pull_request(github):
    sha = branch_with(github, "wide", {"src/widget.py": "SIZE = 3\n"})
    with person(github) as owner:
        opened = owner.post(PULLS, json={"title": "Widen", "head": "wide", "base": "main"})
        again = owner.post(PULLS, json={"title": "Widen", "head": "wide", "base": "main"})
        number = opened.json()["number"]
        closed = owner.patch(f"{PULLS}/{number}", json={"state": "closed"})
        listed = [len(owner.get(PULLS, params={"state": s}).json()) for s in ("open", "closed")]
        reopened = owner.patch(f"{PULLS}/{number}", json={"state": "open"})
    assert opened.status_code == 201
    assert opened.json()["head"]["sha"] == sha
    assert opened.json()["mergeable"] is True
    assert again.status_code == 422
    assert closed.json()["state"] == "closed"
    assert listed == [0, 1]
    assert reopened.json()["state"] == "open"


@pytest.mark.parametrize("method", ["merge", "squash"])
def test_a_merge_lands_on_the_base_branch(github, method):
    number = github.open_pull(REPO, {"new.txt": "new\n"})
    with person(github) as owner:
        merged = owner.put(f"{PULLS}/{number}/merge", json={"merge_method": method})
        pull = owner.get(f"{PULLS}/{number}").json()
        branch = owner.get(f"/repos/{REPO}/branches/main").json()
    assert merged.status_code == 200
    assert (pull["merged"], pull["state"]) == (True, "closed")
    assert branch["commit"]["sha"] == merged.json()["sha"]
    assert len(branch["commit"]["parents"]) == {"merge": 2, "squash": 1}[method]
    assert github.files_at(REPO, merged.json()["sha"], "new.txt") == "new\n"


def test_a_conflict_cannot_be_merged(github):
    number = github.open_pull(REPO, {"README.md": "# Ours\n"})
    branch_with(github, "main", {"README.md": "# Theirs\n"})
    github.push_files(REPO, number, {"README.md": "# Ours again\n"})
    with person(github) as owner:
        assert owner.get(f"{PULLS}/{number}").json()["mergeable"] is False
        assert owner.put(f"{PULLS}/{number}/merge", json={}).status_code == 405


def test_comments_are_told_apart_by_who_wrote_them(github):
    number = github.open_pull(REPO, {"a": "1\n"})
    path = f"/repos/{REPO}/issues/{number}/comments"
    with person(github, "stranger") as stranger, the_app(github) as app:
        theirs = stranger.post(path, json={"body": "/regreen fix"}).json()
        ours = app.post(path, json={"body": "working"}).json()
        own = f"/repos/{REPO}/issues/comments"
        assert stranger.patch(f"{own}/{ours['id']}", json={"body": "hacked"}).status_code == 403
        assert stranger.delete(f"{own}/{theirs['id']}").status_code == 204
        assert app.get(f"{own}/{theirs['id']}").status_code == 404
        assert app.patch(f"{own}/{ours['id']}", json={"body": "done"}).json()["body"] == "done"
        first = app.post(f"{own}/{ours['id']}/reactions", json={"content": "eyes"})
        second = app.post(f"{own}/{ours['id']}/reactions", json={"content": "eyes"})
    assert theirs["performed_via_github_app"] is None
    assert ours["performed_via_github_app"]["slug"] == "regreen"
    assert ours["user"]["type"] == "Bot"
    assert (first.status_code, second.status_code) == (201, 200)
    assert [c["body"] for c in github.comments(REPO, number)] == ["done"]


@pytest.mark.parametrize(
    ("body", "expected"),
    [("x" * 65_536, 201), ("x" * 65_537, 422), ("ü" * 65_536, 201), ("  ", 422)],
    ids=["longest", "too long", "longest in characters", "blank"],
)
def test_comments_have_githubs_length(github, body, expected):
    number = github.open_pull(REPO, {"a": "1\n"})
    with the_app(github) as app:
        answer = app.post(f"/repos/{REPO}/issues/{number}/comments", json={"body": body})
    assert answer.status_code == expected


def test_pages_lead_to_each_other(github):
    number = github.open_pull(REPO, {"a": "1\n"})
    for count in range(7):
        github.comment(REPO, number, f"comment {count}")
    seen: list[str] = []
    links: list[set[str | None]] = []
    with person(github) as owner:
        url = f"/repos/{REPO}/issues/{number}/comments?per_page=3"
        while url:
            answer = owner.get(url)
            seen += [comment["body"] for comment in answer.json()]
            links.append(set(answer.links))
            url = answer.links.get("next", {}).get("url", "")
    assert seen == [f"comment {count}" for count in range(7)]
    assert links == [{"next", "last"}, {"next", "last", "first", "prev"}, {"first", "prev"}]


def test_a_fork_keeps_its_branch_to_itself(github):
    number = github.open_pull(REPO, {"a": "1\n"}, branch="mine", fork=True)
    with the_app(github) as app:
        pull = app.get(f"{PULLS}/{number}").json()
        here = app.get(f"/repos/{REPO}/branches/mine")
        app.post(f"/repos/{REPO}/check-runs", json={"name": "x", "head_sha": pull["head"]["sha"]})
        [run] = app.get(f"/repos/{REPO}/commits/{pull['head']['sha']}/check-runs").json()[
            "check_runs"
        ]
    assert pull["head"]["repo"]["full_name"] == "stranger/widgets"
    assert pull["head"]["repo"]["fork"] is True
    assert here.status_code == 404
    assert run["pull_requests"] == []


def test_a_deleted_fork_leaves_nulls(github):
    number = github.open_pull(REPO, {"a": "1\n"}, fork=True)
    github.delete_fork(REPO, number)
    with the_app(github) as app:
        head = app.get(f"{PULLS}/{number}").json()["head"]
    assert (head["repo"], head["user"], head["label"]) == (None, None, None)
    assert head["sha"] == github.head(REPO, number)


def test_labels_come_and_go(github):
    number = github.open_pull(REPO, {"a": "1\n"})
    path = f"/repos/{REPO}/issues/{number}/labels"
    with person(github) as owner:
        put = owner.post(path, json={"labels": ["bug", "ci"]}).json()
        left = owner.delete(f"{path}/bug").json()
        gone = owner.delete(f"{path}/bug")
    assert [label["name"] for label in put] == ["bug", "ci"]
    assert [label["name"] for label in left] == ["ci"]
    assert gone.status_code == 404


def test_code_is_read_over_rest_as_git_has_it(github):
    number = github.open_pull(
        REPO,
        {"src/widget.py": "SIZE = 2\n", "README.md": None, "src/new.py": "X = 1\n"},
        branch="feature/x",
    )
    head = github.head(REPO, number)
    with the_app(github) as app:
        files = app.get(f"{PULLS}/{number}/files").json()
        compared = app.get(f"/repos/{REPO}/compare/main...feature/x").json()
        listing = app.get(f"/repos/{REPO}/contents/src", params={"ref": head}).json()
        file = app.get(f"/repos/{REPO}/contents/src/new.py", params={"ref": head}).json()
        missing = app.get(f"/repos/{REPO}/contents/README.md", params={"ref": head})
        branch = app.get(f"/repos/{REPO}/branches/feature%2Fx").json()
        ref = app.get(f"/repos/{REPO}/git/ref/heads/feature/x").json()
        commit = app.get(f"/repos/{REPO}/commits/feature/x").json()
        pulls = app.get(f"/repos/{REPO}/commits/{head}/pulls").json()
    assert {f["filename"]: f["status"] for f in files} == {
        "README.md": "removed",
        "src/new.py": "added",
        "src/widget.py": "modified",
    }
    assert (compared["status"], compared["ahead_by"], len(compared["files"])) == ("ahead", 1, 3)
    assert [entry["path"] for entry in listing] == ["src/new.py", "src/widget.py"]
    assert base64.b64decode(file["content"]) == b"X = 1\n"
    assert missing.status_code == 404
    assert branch["commit"]["sha"] == ref["object"]["sha"] == commit["sha"] == head
    assert commit["stats"] == {"total": 4, "additions": 2, "deletions": 2}
    assert [pull["number"] for pull in pulls] == [number]


def test_renames_and_odd_names_are_told_right(github, tmp_path):
    number = github.open_pull(REPO, {"big file.txt": "line\n" * 20, "naïve\n.bin": "\0\1"})
    github.push_files(REPO, number, {"big file.txt": None, "moved.txt": "line\n" * 20})
    with the_app(github) as app:
        [commit] = app.get(f"{PULLS}/{number}/commits").json()[1:]
        files = app.get(f"/repos/{REPO}/commits/{commit['sha']}").json()["files"]
        whole = app.get(f"{PULLS}/{number}/files").json()
    assert [(f["filename"], f["status"], f["previous_filename"]) for f in files] == [
        ("moved.txt", "renamed", "big file.txt")
    ]
    assert "patch" not in next(f for f in whole if f["filename"].startswith("naïve"))


def test_a_detached_working_copy_is_served_as_main(tmp_path):
    source = make_repo(tmp_path / "source")
    git(source, "checkout", "--quiet", "--detach")
    git(source, "branch", "--delete", "--force", "main")
    repo = import_repo(source, tmp_path / "bare.git")
    assert repo.branch("main") == git(source, "rev-parse", "HEAD")
