"""What a method is told and what it answers: one module per hook, in the order of the data flow.

An author reads the module of the one hook that the method uses: ``images``, ``patches``, ``merging``, ``tokens``,
``layers`` or ``cache``; ``common`` holds what all of them share. :class:`vtprune_eval.methods.base.Method` joins them.
"""
