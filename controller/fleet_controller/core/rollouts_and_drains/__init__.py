"""VMs that change on purpose: moved off a host, made anew with a template, restarted, stopped."""
