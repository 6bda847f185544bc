"""Figures with what they are wanted to be, and tables of them."""

from dataclasses import dataclass
from typing import Callable


@dataclass
class Figure:
    """A figure that is due: `must` and `aim` in its unit, `show` prints one in it."""

    name: str
    value: float
    show: Callable[[float], str]
    must: float
    aim: float | None = None
    more_is_better: bool = False

    def meets(self, wanted):
        return self.value >= wanted if self.more_is_better else self.value <= wanted

    @property
    def cells(self):
        aim = "" if self.aim is None else self.show(self.aim)
        return [self.name, self.show(self.value), self.show(self.must), aim, self.verdict]

    @property
    def verdict(self):
        if self.aim is not None and self.meets(self.aim):
            return "better than the aim"
        return "met" if self.meets(self.must) else "**not met**"


@dataclass
class Report:
    """What a part has found out: lines of Markdown, and figures that are due."""

    lines: list[str]
    figures: list[Figure]


def times(value):
    return f"{value:.2f}x"


def percent(value):
    return f"{value:.0%}"


def mebibytes(value):
    return f"{value / 2**20:.1f} MiB"


def milliseconds(value):
    return f"{value * 1e3:.1f} ms"


def table(*rows):
    """Markdown: the first row is the head, and all columns but the first hold figures."""
    head, *body = rows
    yield line(head)
    yield f"|---{'|--:' * (len(head) - 1)}|"
    for row in body:
        yield line(row)


def line(cells):
    return f"| {' | '.join(cells)} |"


def summary(figures):
    """Each figure that is due, beside what it is wanted to be."""
    return table(["figure", "measured", "must", "aim", ""], *(figure.cells for figure in figures))
