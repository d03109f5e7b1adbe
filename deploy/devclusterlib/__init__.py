"""A whole HPC site on one machine, from Debian packages. Standard library only.

`main`, `rootfs` and `namespace` run on the host; `inside` and what it imports run in the site.
"""
