"""The admin port: rankings, readiness, metrics, the page."""
