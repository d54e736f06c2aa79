"""A run by hand, ``mri-consumer infer``: the lab's own work without a broker."""
