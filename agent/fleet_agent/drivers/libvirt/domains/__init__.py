"""The acts on one domain of libvirt; each looks first and acts only on what carries this very kin's
mark. Not here: which domains there are, and who waits for them."""
