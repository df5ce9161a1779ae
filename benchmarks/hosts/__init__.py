"""Several hosts on one machine, for `five_hosts.py`."""
