"""The programs: dfget, supernode, dfdaemon, dfsim, and the demo."""
