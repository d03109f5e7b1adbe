"""The node agent: stages inputs in, runs the container, stages outputs out, on the compute node.

Copied to a site as the package `ctsagent`; imports the standard library only, runs on Python 3.9
and later, and knows of the rest of the gateway nothing but `docs/node-protocol.md`. Plain strings
are used for paths and NamedTuples for models: pathlib and dataclasses cost 5 to 10 ms each at every
start, and a container starts the agent four times.
"""
