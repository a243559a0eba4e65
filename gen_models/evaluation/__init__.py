"""Functions that measure models and data: likelihoods, modes, layers, receptive fields; `measures` put them to use."""
