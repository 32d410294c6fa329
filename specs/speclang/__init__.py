"""The specification language; see docs/specs.md."""
