"""What to do: one file per procedure, data and plain functions. The engine that carries them out is runner.py."""
