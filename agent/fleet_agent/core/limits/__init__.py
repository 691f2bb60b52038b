"""The limits of a dense dom0 as data: read, judged, lifted, and recognised in logs.

Reading and writing the host belong to `dom0`.
"""
