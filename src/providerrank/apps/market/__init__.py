"""Neurons as processes: composed from the configuration, served, and run until told to stop."""
