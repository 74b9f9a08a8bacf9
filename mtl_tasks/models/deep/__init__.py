"""The member `deep`: a network of all tasks, trained with JAX and evaluated with NumPy."""
