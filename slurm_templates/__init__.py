"""Batch script templates, one a site flavour; `gateway.slurm.render` reads them."""
