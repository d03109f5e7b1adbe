"""The node agent: stages inputs in, runs the container, stages outputs out, on the compute node.

Copied to a site as the package `ctsagent`; imports the standard library only, runs on Python 3.9
and later, and knows of the rest of the gateway nothing but `docs/node-protocol.md`. A container
starts the agent four times: concurrent.futures and dataclasses, which cost 10 to 25 ms each on
Python 3.14, are done without (`pool.py`, NamedTuples), and each phase imports what it needs.
"""
