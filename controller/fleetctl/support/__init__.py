"""A support bundle: asked for part by part, without secrets, written whole or not at all."""
