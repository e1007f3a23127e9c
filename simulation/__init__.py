"""A shop and its magazine with known tastes: seeded logs, and the truth behind them."""

from simulation.config import DirtConfig, SimulationConfig, SimulationReport
from simulation.run import simulate

__all__ = ["DirtConfig", "SimulationConfig", "SimulationReport", "simulate"]
