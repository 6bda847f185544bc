"""What is told while it goes on; the tables alone go to the standard output."""

import sys


def say(*words):
    print(*words, file=sys.stderr, flush=True)
