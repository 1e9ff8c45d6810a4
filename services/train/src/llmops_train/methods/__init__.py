"""The methods of training: what is put on a model, what its loss is, and what of it is kept."""
