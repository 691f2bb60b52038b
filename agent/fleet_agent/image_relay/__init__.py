"""Images handed on between hosts: chunks fetched from those that the leader names, and given to
those that it names. Not here: which ones, and how images are kept."""
