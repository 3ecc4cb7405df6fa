"""What waits for a limit holds up nobody else."""

from tests.support.scenes import UNLINTED

SLOTS = 2  # backends at work at one time


def test_pull_requests_that_wait_for_a_limit_leave_room_for_others(bot, github):
    waiting = [github.open_pull(UNLINTED) for _ in range(SLOTS + 1)]
    for pull in waiting:
        path = rf"/issues/{pull.number}/comments$"
        github.fault("POST", path, status=429, headers={"Retry-After": "8"})
    bot.wait_for(
        lambda: bot.server.log.count("waiting") >= len(waiting), "all of them to be limited"
    )
    other = github.open_pull(UNLINTED)
    bot.wait_for(other.bodies, "the other one to be worked at")
    assert [pull.bodies() for pull in waiting] == [[]] * len(waiting)

    bot.settle(90)
    assert [pull.conclusion() for pull in (*waiting, other)] == ["success"] * (len(waiting) + 1)
