"""Where the splits of a read are carried out: on threads of this process."""
