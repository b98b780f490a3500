"""Bytes to messages and back: Dragonfly's piece frame and its v1 calls.  Sans-IO; see README."""
