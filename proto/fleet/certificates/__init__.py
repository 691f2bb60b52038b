"""What a certificate says of itself: whom it names, and when it ends.

What belongs here reads certificates; who may do what with one is decided by those who are called.
"""
