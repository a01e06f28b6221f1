"""The microservice chassis: how a service runs, and nothing of what it does."""

import os

# Before grpc is first imported: its fork handlers crash one in ten of the children that uvloop forks while calls are
# under way (tests/chassis/test_children.py). Nothing here goes on using gRPC in a forked child.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
