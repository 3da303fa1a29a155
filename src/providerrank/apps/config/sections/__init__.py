"""What each section of a configuration must satisfy beyond its shape."""
