"""Networks, trained with JAX and evaluated with NumPy: the member `deep`, and two towers that find candidates."""
