"""dfdaemon: lets container engines and other HTTP clients pull through the swarm."""
