"""A part of yum."""
