"""Our methods and tasks inside other harnesses and engines.

Nothing here is imported by any other package; only the plug-in for vLLM is, by the engine that runs it.
"""
