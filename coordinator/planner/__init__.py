"""Turns a job file into a graph of stages."""

from coordinator.planner.graph import PlannedStage, plan

__all__ = ["PlannedStage", "plan"]
