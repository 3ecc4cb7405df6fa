"""`make bench`: what the product costs, measured on this machine now."""

from rich.console import Console

from tests.benchmarks import classify, gateway, intake, routing, sandbox, setups, trees

if __name__ == "__main__":
    classify.run(Console())
    routing.run(Console())
    intake.run(Console())
    gateway.run(Console())
    sandbox.run(Console())
    trees.run(Console())
    setups.run(Console())
