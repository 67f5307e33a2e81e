"""Measures the supervisor and its peers side by side; see docs/benchmarks.md."""
