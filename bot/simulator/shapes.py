"""GitHub's JSON objects for accounts, the App, repositories, commits and files.

Each object is written once and used in REST answers and in webhooks alike. `Shapes` knows the
base of the API as the caller addresses it, so that every URL leads back to this server.
"""

import base64
from dataclasses import dataclass
from typing import Any

from bot.simulator.clock import stamp, stamp_or_none
from bot.simulator.repos import Change, Commit, Entry, Person
from bot.simulator.state import App, Installation, Json, Repo, State, User

_USER_URLS = {
    "url": "",
    "followers_url": "/followers",
    "following_url": "/following{/other_user}",
    "gists_url": "/gists{/gist_id}",
    "starred_url": "/starred{/owner}{/repo}",
    "subscriptions_url": "/subscriptions",
    "organizations_url": "/orgs",
    "repos_url": "/repos",
    "events_url": "/events{/privacy}",
    "received_events_url": "/received_events",
}
_REPO_URLS = {
    "url": "",
    "archive_url": "/{archive_format}{/ref}",
    "assignees_url": "/assignees{/user}",
    "blobs_url": "/git/blobs{/sha}",
    "branches_url": "/branches{/branch}",
    "collaborators_url": "/collaborators{/collaborator}",
    "comments_url": "/comments{/number}",
    "commits_url": "/commits{/sha}",
    "compare_url": "/compare/{base}...{head}",
    "contents_url": "/contents/{+path}",
    "contributors_url": "/contributors",
    "deployments_url": "/deployments",
    "downloads_url": "/downloads",
    "events_url": "/events",
    "forks_url": "/forks",
    "git_commits_url": "/git/commits{/sha}",
    "git_refs_url": "/git/refs{/sha}",
    "git_tags_url": "/git/tags{/sha}",
    "hooks_url": "/hooks",
    "issue_comment_url": "/issues/comments{/number}",
    "issue_events_url": "/issues/events{/number}",
    "issues_url": "/issues{/number}",
    "keys_url": "/keys{/key_id}",
    "labels_url": "/labels{/name}",
    "languages_url": "/languages",
    "merges_url": "/merges",
    "milestones_url": "/milestones{/number}",
    "notifications_url": "/notifications{?since,all,participating}",
    "pulls_url": "/pulls{/number}",
    "releases_url": "/releases{/id}",
    "stargazers_url": "/stargazers",
    "statuses_url": "/statuses/{sha}",
    "subscribers_url": "/subscribers",
    "subscription_url": "/subscription",
    "tags_url": "/tags",
    "teams_url": "/teams",
    "trees_url": "/git/trees{/sha}",
}


@dataclass(frozen=True, slots=True)
class Shapes:
    """Builders of the basic objects; `site` is the address of the pages, `api` of the REST API."""

    state: State
    site: str
    api: str

    def user(self, user: User) -> Json:
        """Build a simple user."""
        url = f"{self.api}/users/{user.login}"
        return {
            "login": user.login,
            "id": user.id,
            "node_id": f"U_{user.id}",
            "avatar_url": f"{self.site}/avatars/{user.id}",
            "gravatar_id": "",
            "html_url": f"{self.site}/{user.login}",
            "type": user.kind,
            "site_admin": False,
            **{key: url + tail for key, tail in _USER_URLS.items()},
        }

    def user_or_none(self, user: User | None) -> Json | None:
        """Build a simple user, or null."""
        return None if user is None else self.user(user)

    def full_user(self, user: User) -> Json:
        """Build the answer to `GET /user`."""
        texts = ("bio", "blog", "company", "email", "location", "twitter_username")
        counts = ("followers", "following", "public_gists", "public_repos")
        return {
            **self.user(user),
            **dict.fromkeys(texts),
            **dict.fromkeys(counts, 0),
            "name": user.login,
            "hireable": None,
            "created_at": "2020-01-01T00:00:00Z",
            "updated_at": "2020-01-01T00:00:00Z",
        }

    def app(self, app: App) -> Json:
        """Build the App."""
        return {
            "id": app.id,
            "slug": app.slug,
            "client_id": f"Iv1.{app.id:016x}",
            "node_id": f"A_{app.id}",
            "owner": self.user(app.owner),
            "name": app.name,
            "description": None,
            "external_url": f"{self.site}/apps/{app.slug}",
            "html_url": f"{self.site}/apps/{app.slug}",
            "created_at": stamp(app.created_at),
            "updated_at": stamp(app.created_at),
            "permissions": app.permissions,
            "events": list(app.events),
        }

    def installation(self, app: App, installation: Installation) -> Json:
        """Build an installation of the App."""
        account, at = installation.account, stamp(installation.created_at)
        whole = {"name": account.login, "slug": account.login, "created_at": at, "updated_at": at}
        return {
            "id": installation.id,
            "account": {**self.user(account), **whole},  # the listing describes it as both
            "repository_selection": "selected",
            "access_tokens_url": f"{self.api}/app/installations/{installation.id}/access_tokens",
            "repositories_url": f"{self.api}/installation/repositories",
            "html_url": f"{self.site}/settings/installations/{installation.id}",
            "app_id": app.id,
            "app_slug": app.slug,
            "target_id": account.id,
            "target_type": account.kind,
            "permissions": app.permissions,
            "events": list(app.events),
            "created_at": at,
            "updated_at": at,
            "single_file_name": None,
            "has_multiple_single_files": False,
            "single_file_paths": [],
            "suspended_by": None,
            "suspended_at": stamp_or_none(installation.suspended_at),
        }

    def repo_url(self, repo: Repo) -> str:
        """Return the API address of a repository."""
        return f"{self.api}/repos/{repo.full_name}"

    def repo(self, repo: Repo) -> Json:
        """Build a repository: every field that answers and webhooks ask for."""
        url, page = self.repo_url(repo), f"{self.site}/{repo.full_name}"
        open_pulls = sum(pull.open for pull in self.state.pulls if pull.repo is repo)
        forks = sum(other.parent is repo for other in self.state.repos.values())
        return {
            "id": repo.id,
            "node_id": f"R_{repo.id}",
            "name": repo.name,
            "full_name": repo.full_name,
            "private": repo.private,
            "visibility": "private" if repo.private else "public",
            "owner": self.user(repo.owner),
            "description": None,
            "homepage": None,
            "language": None,
            "license": None,
            "mirror_url": None,
            "topics": [],
            "fork": repo.parent is not None,
            "html_url": page,
            "clone_url": f"{page}.git",
            "git_url": f"{page}.git",
            "ssh_url": f"git@localhost:{repo.full_name}.git",
            "svn_url": page,
            **{key: url + tail for key, tail in _REPO_URLS.items()},
            "default_branch": repo.default_branch,
            "created_at": stamp(repo.created_at),
            "updated_at": stamp(repo.created_at),
            "pushed_at": stamp(repo.pushed_at),
            **dict.fromkeys(("archived", "disabled", "is_template"), False),
            **dict.fromkeys(("has_issues", "has_downloads", "allow_forking"), True),
            **dict.fromkeys(("has_projects", "has_wiki", "has_pages", "has_discussions"), False),
            "web_commit_signoff_required": False,
            "size": 0,
            "stargazers_count": 0,
            "watchers_count": 0,
            "watchers": 0,
            "forks_count": forks,
            "forks": forks,
            "open_issues_count": open_pulls,
            "open_issues": open_pulls,
        }

    def full_repo(self, repo: Repo) -> Json:
        """Build the answer to `GET /repos/{owner}/{repo}`."""
        shape = {
            **self.repo(repo),
            "network_count": 0,
            "subscribers_count": 0,
            "allow_merge_commit": True,
            "allow_squash_merge": True,
            "allow_rebase_merge": False,
            "allow_auto_merge": False,
            "delete_branch_on_merge": False,
        }
        if repo.parent is not None:
            shape |= {"parent": self.repo(repo.parent), "source": self.repo(repo.parent)}
        return shape

    def author(self, person: Person) -> Json | None:
        """Build the account behind a commit's identity, or null when none has its address."""
        for user in self.state.users.values():
            if person.email == user.email:
                return self.user(user)
        return None

    def commit(self, repo: Repo, commit: Commit) -> Json:
        """Build a commit without its files."""
        url, page = self.repo_url(repo), f"{self.site}/{repo.full_name}/commit"
        git_url = f"{url}/git/commits/{commit.sha}"
        return {
            "sha": commit.sha,
            "node_id": f"C_{commit.sha}",
            "url": f"{url}/commits/{commit.sha}",
            "html_url": f"{page}/{commit.sha}",
            "comments_url": f"{url}/commits/{commit.sha}/comments",
            "author": self.author(commit.author),
            "committer": self.author(commit.committer),
            "parents": [
                {"sha": p, "url": f"{url}/commits/{p}", "html_url": f"{page}/{p}"}
                for p in commit.parents
            ],
            "commit": {
                "url": git_url,
                "author": _identity(commit.author),
                "committer": _identity(commit.committer),
                "message": commit.message,
                "tree": {"sha": commit.tree, "url": f"{url}/git/trees/{commit.tree}"},
                "comment_count": 0,
                "verification": {
                    "verified": False,
                    "reason": "unsigned",
                    "signature": None,
                    "payload": None,
                    "verified_at": None,
                },
            },
        }

    def simple_commit(self, commit: Commit) -> Json:
        """Build the short form used by check suites and workflow runs."""
        return {
            "id": commit.sha,
            "tree_id": commit.tree,
            "message": commit.message,
            "timestamp": commit.committer.at,
            "author": {"name": commit.author.name, "email": commit.author.email},
            "committer": {"name": commit.committer.name, "email": commit.committer.email},
        }

    def change(self, repo: Repo, sha: str, change: Change) -> Json:
        """Build one file of a diff."""
        page, url = f"{self.site}/{repo.full_name}", self.repo_url(repo)
        shape: Json = {
            "sha": change.blob,
            "filename": change.path,
            "status": change.status,
            "additions": change.additions,
            "deletions": change.deletions,
            "changes": change.additions + change.deletions,
            "blob_url": f"{page}/blob/{sha}/{change.path}",
            "raw_url": f"{page}/raw/{sha}/{change.path}",
            "contents_url": f"{url}/contents/{change.path}?ref={sha}",
        }
        optional = {"patch": change.patch, "previous_filename": change.previous}
        return shape | {key: value for key, value in optional.items() if value is not None}

    def entry(self, repo: Repo, ref: str, entry: Entry) -> Json:
        """Build one entry of a directory."""
        url, page = self.repo_url(repo), f"{self.site}/{repo.full_name}"
        own = f"{url}/contents/{entry.path}?ref={ref}"
        kind = "trees" if entry.kind == "dir" else "blobs"
        git_url = f"{url}/git/{kind}/{entry.sha}"
        html = f"{page}/{'tree' if entry.kind == 'dir' else 'blob'}/{ref}/{entry.path}"
        return {
            "name": entry.path.rsplit("/", 1)[-1],
            "path": entry.path,
            "sha": entry.sha,
            "size": entry.size,
            "type": entry.kind,
            "url": own,
            "html_url": html,
            "git_url": git_url,
            "download_url": f"{page}/raw/{ref}/{entry.path}" if entry.kind == "file" else None,
            "_links": {"self": own, "git": git_url, "html": html},
        }

    def content(self, repo: Repo, ref: str, entry: Entry, data: bytes) -> Json:
        """Build a file with its content; over 1 MB the content is left out, as at GitHub."""
        small = len(data) <= 1 << 20
        return {
            **self.entry(repo, ref, entry),
            "encoding": "base64" if small else "none",
            "content": base64.encodebytes(data).decode() if small else "",
        }

    def branch(self, repo: Repo, name: str, commit: Commit) -> Json:
        """Build a branch."""
        url = f"{self.repo_url(repo)}/branches/{name}"
        return {
            "name": name,
            "commit": self.commit(repo, commit),
            "_links": {"self": url, "html": f"{self.site}/{repo.full_name}/tree/{name}"},
            "protected": False,
            "protection": {
                "enabled": False,
                "required_status_checks": {
                    "enforcement_level": "off",
                    "contexts": [],
                    "checks": [],
                },
            },
            "protection_url": f"{url}/protection",
        }


def _identity(person: Person) -> dict[str, Any]:
    return {"name": person.name, "email": person.email, "date": person.at}
