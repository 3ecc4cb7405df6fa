"""`make bench`: what the product costs, measured on this machine now."""

from rich.console import Console

from tests.benchmarks import classify, intake, trees

if __name__ == "__main__":
    classify.run(Console())
    intake.run(Console())
    trees.run(Console())
