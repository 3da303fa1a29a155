"""Tasks with an answer that can be checked, filled in from a beacon; one file per task type."""
