"""How long a call may take where nobody says otherwise, in seconds, over all replicas together."""

READ_TIMEOUT = 10.0
# A change of the whole fleet is planned and written to the store before it is answered.
CHANGE_TIMEOUT = 30.0
