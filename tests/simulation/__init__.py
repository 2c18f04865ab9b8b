"""A simulator for roles/guard/files/guard: virtual clocks and network, servers, repmgrd, systemd; see docs/guard.md, "In the simulator"."""
