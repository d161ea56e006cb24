"""Exercises of the lessons: `check` an answer, ask for a `hint`.

Each lesson has a catalogue, a file of this folder in which all of an exercise stands together; an
exercise's name begins with the name of that file. Which files there are is found out, not listed.
"""

from ._engine import Exercise, Mistake, check, diagnose, exercises, hint

__all__ = ["Exercise", "Mistake", "check", "diagnose", "exercises", "hint"]
