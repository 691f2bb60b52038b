"""Texts with a grammar of their own: releases, and patterns that guests' texts are to match."""
