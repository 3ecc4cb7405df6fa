"""Our ports over PyGithub; nothing else talks to GitHub.

transport  one request: PyGithub's connection, the pace of writes, every error translated
auth       who we are: the App's JWT, and installation tokens renewed in time
client     requests about a repository: token, renewal, pages, bounded retries
limits     GitHub's size limits, as pure functions on text
wire       the fields of GitHub's JSON that we read
pulls, checks, logs, card, comments, repos   one port each, or half of `Checks`
connect    all of it, put together once
"""
