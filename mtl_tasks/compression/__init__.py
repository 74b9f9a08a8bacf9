"""Smaller models of a finished run: their cost, the candidates, and the choice among them."""
