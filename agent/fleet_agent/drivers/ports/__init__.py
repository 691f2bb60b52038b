"""The ports that every driver implements, and the lanes its blocking acts run in."""
