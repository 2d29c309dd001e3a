"""Running programs that a model wrote.

``run`` starts and watches the process, ``inside`` is what runs in it first. What is and is not protected, and in which
mode, stands in ``run``.
"""
