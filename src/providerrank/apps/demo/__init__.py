"""The show: real endpoints of one real model, broken one by one."""
