"""The words everyone shares.

delivery    one webhook POST as received
event       the same after parsing
run         one repair of one pull request, from red until it ends
pass        one stretch of a run's work; between passes a run waits for CI, a delay or a person
attempt     one trip through the pipeline, counted in the pull request's comments
trigger     what an attempt answers: the pull request, its head, and which try on that head
signal      a classified failing check
backend     something that can change code: fixers, a patch worker, a command, an agent
provider    one way to reach a backend's model: its own key, address, model and flags
lane        a backend with one of its providers; health is kept for each
standing    the lane that a chain works with now
fix drain   the job that consumes a chain of backends to mend code
gatekeeper  verification of a patch in a fresh tree; its evidence is an artifact
generation  a number per pull request that grows whenever work under way has become stale
tenant      one installation of the App
"""
