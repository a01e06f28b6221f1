"""The whole system on one machine: the boot table of `make run`, the demo, the end-to-end tests and benchmarks."""
