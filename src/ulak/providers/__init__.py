"""Pure translators: one file a vendor; what we mean in, bytes out; bytes in, what they meant out."""
