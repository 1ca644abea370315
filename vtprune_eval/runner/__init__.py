"""Many samples: what a run is, in which order its cells are answered, and by which workers.

``pipeline/`` is one sample; this package is the loop around it. It is not called ``run`` because a sub-package of that
name would replace the function :func:`vtprune_eval.run` as soon as it is imported.
"""
