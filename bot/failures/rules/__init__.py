"""The evidence table: every row of every kind."""

from bot.failures.rules import (
    builds_compiled,
    builds_scripted,
    machine,
    network,
    policy,
    quota,
    schema,
    security,
    style_compiled,
    style_scripted,
    systems,
    tests_compiled,
    tests_scripted,
    types,
)

RULES = (
    *machine.RULES,
    *quota.RULES,
    *network.RULES,
    *security.RULES,
    *policy.RULES,
    *schema.RULES,
    *types.RULES,
    *style_scripted.RULES,
    *style_compiled.RULES,
    *tests_scripted.RULES,
    *tests_compiled.RULES,
    *builds_scripted.RULES,
    *builds_compiled.RULES,
    *systems.RULES,
)
