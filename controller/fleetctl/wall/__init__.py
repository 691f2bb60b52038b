"""The wall: a page on this machine's loopback that shows every VM, fed over gRPC.

Here: what serves the page, and what it is fed with. Not here: pictures, which the page makes itself
(`page/`, TypeScript; what is served of it is in `built/`).
"""
