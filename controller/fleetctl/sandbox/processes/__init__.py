"""The processes of a sandbox: their command lines, their starts and ends, their readiness."""
