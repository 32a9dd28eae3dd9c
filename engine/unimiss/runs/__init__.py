"""Run folders: what a training writes, and how anyone follows, stops and resumes it."""

from unimiss.runs.figures import validated
from unimiss.runs.folder import Run, State
from unimiss.runs.launch import command_line, launch

__all__ = ["Run", "State", "command_line", "launch", "validated"]
