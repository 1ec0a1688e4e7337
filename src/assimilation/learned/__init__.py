"""Learned methods: training pairs, one training loop, networks and heads."""
