"""Our methods and tasks inside other evaluation harnesses. Nothing here is imported by any other package."""
