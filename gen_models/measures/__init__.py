"""What can be measured of a trained model. A measure is a small frozen object, and an experiment is a list of them."""
