"""Mailings of a simulated shop whose tastes are known: `make bench-mail-policies`."""
