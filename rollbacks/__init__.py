"""Machines: systems, restore points, the decision matrix, rollbacks and the engine that carries them out."""
