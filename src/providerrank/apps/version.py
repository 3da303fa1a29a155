"""The version of this program; the package is built with the same one."""

VERSION = "0.1.0"
