"""What an image is when it travels: its manifest, its chunks, and how they are packed. Shared by
whoever hands one in and by hosts that hand it on. Not here: where images are kept."""
