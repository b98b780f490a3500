"""The supernode's REST API (protocol 2): everything 1.0.6 routes, and all that it documents."""
