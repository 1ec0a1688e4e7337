"""Forward models: equinox Modules with parameters, `dt` and `step(state, dt)`."""
