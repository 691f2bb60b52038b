"""Images on their way from host to host, led by the leader: hosts are told whom they fetch from and
whom they give to, for as long as it takes. Nothing of it is kept: what is wanted follows from
assignments and from who waits."""
