"""A screen to live in: fleets, hosts, VMs, events and problems as panes.

`rows` says what a pane's list is, `lists` and `vm_list` are those there are, `acts` what is done
with a row; none of them draws. `app` and what it shows are Textual's, which is loaded by nobody
else. What rows and details look like belongs to `views` and `tables`.
"""
