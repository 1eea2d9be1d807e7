"""Minutes of mixed load on a real stack, with faults on purpose.

Judges that no edit is lost or hangs, and that every process keeps its memory, threads and descriptors.
"""
