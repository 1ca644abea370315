"""Methods of other libraries through our hooks; a name with a colon (``kvpress:knorm``) says which library."""
