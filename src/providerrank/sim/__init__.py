"""Provider endpoints that behave like recorded ones, over real sockets or in virtual time."""
