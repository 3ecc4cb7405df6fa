"""The App at the simulated GitHub: its JWT, its installation tokens, and what they may do."""

import time

import github as pygithub
import jwt
import pytest

from bot.simulator.auth import new_key
from tests.support.simulated import (
    REPO,
    app_jwt,
    app_key,
    client,
    installation_token,
    person,
    simulated_github,
    the_app,
)

github = simulated_github(run_workflows=False)
private = simulated_github(run_workflows=False, private=True)


@pytest.mark.parametrize(
    ("how", "expected"),
    [
        pytest.param({}, 200, id="as GitHub asks"),
        pytest.param({"iss": f"Iv1.{424242:016x}"}, 200, id="by client id"),
        pytest.param({"life_s": 600}, 200, id="ten minutes"),
        pytest.param({"life_s": 1200}, 401, id="too long a life"),
        pytest.param({"issued_s": -700, "life_s": 600}, 401, id="expired"),
        pytest.param({"issued_s": 300}, 401, id="issued in the future"),
        pytest.param({"iss": "7"}, 401, id="another App"),
    ],
)
def test_the_jwt_is_really_checked(github, how, expected):
    with client(github, app_jwt(github, **how)) as app:
        assert app.get("/app").status_code == expected


def test_a_jwt_signed_with_another_key_is_refused(github):
    now = int(time.time())
    claims = {"iat": now - 60, "exp": now + 300, "iss": str(github.app_id)}
    forged = jwt.encode(claims, new_key(), algorithm="RS256")
    with client(github, forged) as app:
        assert app.get("/app").status_code == 401


def test_the_key_is_kept_in_a_file_that_only_its_owner_reads(github):
    assert github.key_path.read_text() == app_key()
    assert github.key_path.stat().st_mode & 0o777 == 0o600


def test_an_installation_token_is_long_and_names_its_limits(github):
    with client(github, app_jwt(github)) as app:
        number = app.get(f"/repos/{REPO}/installation").json()["id"]
        wanted = {"repositories": ["widgets"], "permissions": {"checks": "write"}}
        made = app.post(f"/app/installations/{number}/access_tokens", json=wanted).json()
    assert len(made["token"]) == 520
    assert made["permissions"] == {"checks": "write", "metadata": "read"}
    assert [repo["full_name"] for repo in made["repositories"]] == [REPO]


@pytest.mark.parametrize(
    "wanted",
    [
        pytest.param({"permissions": {"workflows": "write"}}, id="permission"),
        pytest.param({"repositories": ["elsewhere"]}, id="repository"),
    ],
)
def test_no_token_reaches_beyond_its_installation(github, wanted):
    with client(github, app_jwt(github)) as app:
        number = app.get(f"/repos/{REPO}/installation").json()["id"]
        assert (
            app.post(f"/app/installations/{number}/access_tokens", json=wanted).status_code == 422
        )


def test_a_narrow_token_may_not_do_more(github):
    number = github.open_pull(REPO, {"a": "1\n"})
    with the_app(github, permissions={"pull_requests": "read"}) as app:
        assert app.get(f"/repos/{REPO}/pulls/{number}").status_code == 200
        refused = app.post(f"/repos/{REPO}/issues/{number}/comments", json={"body": "hello"})
        assert refused.status_code == 403
        assert refused.json()["message"] == "Resource not accessible by integration"
        assert app.get(f"/repos/{REPO}/contents/README.md").status_code == 403
    assert github.comments(REPO, number) == []


def test_an_expired_or_revoked_token_is_nobodys(github):
    with the_app(github) as app:
        assert app.get(f"/repos/{REPO}").status_code == 200
        github.expire_tokens()
        assert app.get(f"/repos/{REPO}").status_code == 401
    with the_app(github) as app:
        assert app.delete("/installation/token").status_code == 204
        assert app.get("/installation/repositories").status_code == 401


def test_strangers_do_not_see_private_repositories(private):
    with person(private, "stranger") as stranger, client(private) as nobody:
        assert stranger.get(f"/repos/{REPO}").status_code == 404
        assert nobody.get(f"/repos/{REPO}").status_code == 404
    with the_app(private) as app:
        assert app.get(f"/repos/{REPO}").status_code == 200


def test_people_hold_the_permissions_they_were_given(github):
    github.set_permission(REPO, "wendy", "write")
    with the_app(github) as app:
        held = {
            login: app.get(f"/repos/{REPO}/collaborators/{login}/permission").json()["permission"]
            for login in ("owner", "wendy", "stranger")
        }
        bot = app.get(f"/repos/{REPO}/collaborators/{github.bot}/permission")
    assert held == {"owner": "admin", "wendy": "write", "stranger": "none"}
    assert bot.status_code == 404


def test_a_suspended_installation_has_no_tokens(github):
    token = installation_token(github)
    with client(github) as control:
        suspend = {"account": "acme", "action": "suspend"}
        assert control.post("/_sim/installation", json=suspend).status_code == 200
    with client(github, token) as app:
        assert app.get(f"/repos/{REPO}").status_code == 403


def test_unknown_operations_are_not_found(github):
    with person(github) as owner:
        answer = owner.get(f"/repos/{REPO}/no/such/thing")
        wrong_method = owner.delete(f"/repos/{REPO}/pulls")
    assert (answer.status_code, answer.json()["message"]) == (404, "Not Found")
    assert wrong_method.status_code == 404


@pytest.mark.parametrize("prefix", ["", "/api/v3"], ids=["root", "enterprise"])
def test_pygithub_finds_its_way(github, prefix):
    number = github.open_pull(REPO, {"src/widget.py": "SIZE = 2\n"}, title="Grow")
    integration = pygithub.GithubIntegration(
        auth=pygithub.Auth.AppAuth(github.app_id, github.private_key),
        base_url=github.url + prefix,
        seconds_between_writes=0,
        seconds_between_requests=0,
    )
    assert integration.get_app().slug == "regreen"
    [installation] = list(integration.get_installations())
    assert [repo.full_name for repo in installation.get_repos()] == [REPO]
    repo = installation.get_github_for_installation().get_repo(REPO)
    pull = repo.get_pull(number)
    assert pull.url == f"{github.url}{prefix}/repos/{REPO}/pulls/{number}"
    assert [changed.patch for changed in pull.get_files()] == ["@@ -1 +1 @@\n-SIZE = 1\n+SIZE = 2"]
    assert [commit.sha for commit in pull.get_commits()] == [github.head(REPO, number)]
    assert list(pull.get_reviews()) == []
    comment = pull.create_issue_comment("working")
    comment.edit("done")
    comment.create_reaction("rocket")
    assert [(c.body, c.user.login) for c in pull.get_issue_comments()] == [("done", github.bot)]
    run = repo.create_check_run("regreen", pull.head.sha, status="completed", conclusion="neutral")
    run.edit(conclusion="success")
    assert [c.conclusion for c in repo.get_commit(pull.head.sha).get_check_runs()] == ["success"]
