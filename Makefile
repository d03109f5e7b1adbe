# make demo: a real job from S3 to S3 on a dev cluster.   make test: everything.   Both set up what they need.
.PHONY: venv up demo test lint docs unit cluster faults bench scale cold large down

venv:
	@deploy/bootstrap

up: venv
	@deploy/devcluster up

demo: up
	@deploy/demo

test: lint docs unit cluster

lint: venv
	.venv/bin/ruff check gateway slurm_templates tests deploy
	.venv/bin/mypy
	.venv/bin/lint-imports
	.venv/bin/vermin -q -t=3.9- --no-tips --violations --exclude compression --exclude compression.zstd gateway/agent
	.venv/bin/vermin -q -t=3.9- --no-tips --violations gateway/errors.py gateway/slurm/trees.py gateway/slurm/hands.py gateway/slurm/serve.py gateway/slurm/far.py

docs: venv
	.venv/bin/ruff check docs
	.venv/bin/mypy docs/conf.py
	.venv/bin/sphinx-build -E -W -q -b html docs build/docs/html
	.venv/bin/sphinx-build -E -W -q -b man docs build/docs/man

unit: venv
	.venv/bin/pytest -q -n 2 -m "not cluster"

# Most of it is waiting for Slurm, so some files run at one time; the faults then have the cluster to themselves.
cluster: up
	.venv/bin/pytest -q -n 3 --dist loadfile -m cluster --ignore=tests/faults
	.venv/bin/pytest -q -m "cluster and not long" tests/faults

faults: up
	.venv/bin/pytest -q -m cluster tests/faults

bench: up
	@.venv/bin/python tests/bench/overhead.py
	@.venv/bin/python -u tests/bench/slurm.py
	@.venv/bin/python -u tests/bench/transfer.py --write

scale: up
	@.venv/bin/python tests/bench/scale.py

cold: up
	@.venv/bin/python -u tests/bench/cold.py

large: up
	@.venv/bin/python tests/bench/large.py

down:
	@deploy/devcluster down
