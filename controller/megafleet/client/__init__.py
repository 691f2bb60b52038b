"""What other programs are promised: a cluster reached, asked, changed and followed from Python."""
