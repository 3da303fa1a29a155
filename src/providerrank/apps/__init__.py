"""The composition root: configuration, command line, admin API and page."""
