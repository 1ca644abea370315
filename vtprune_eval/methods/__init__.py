"""One file per method; the file name is the method's name. Shared maths lives in ``kernels/``."""
